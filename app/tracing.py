"""Traces: a span of every request, of every visit to the database, and of every point that a model makes.

Decision: three spans of our own instead of the ready-made ones of the framework and of SQLAlchemy.
Context: those carry paths, query strings, addresses and SQL, so names of studies and whatever a caller typed leave for
a collector that may belong to somebody else. Ours carry routes, status, durations and the request's id, and of an
exception its type. Price: no span of single SQL statements.

Off unless METATUNE_TRACES names a collector; OpenTelemetry's SDK is imported only then. (FastAPI itself imports its
API, some 30 ms of every start, and cannot be told not to; `app.main` turns the framework's own spans off.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from app.errors import Invalid

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span, Tracer

_tracer: Tracer | None = None
_OFF: AbstractContextManager[None] = nullcontext()


def check() -> None:
    """Raises: Invalid, without the SDK."""
    if not all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter")):
        raise Invalid("METATUNE_TRACES needs: pip install 'metatune-server[otel]'")


def start(collector: str) -> TracerProvider:
    """Sends spans to a collector's address for OTLP over HTTP, until `stop`.  Raises: Invalid, without the SDK."""
    check()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return start_with(BatchSpanProcessor(OTLPSpanExporter(endpoint=collector)))


def start_with(processor: SpanProcessor) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    global _tracer
    # ours alone, not the process's: whoever embeds the application has one
    provider = TracerProvider(
        resource=Resource.create({"service.name": "metatune", "service.version": version("metatune-server")}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("metatune")
    return provider


def stop(provider: TracerProvider) -> None:
    """Sends what is left."""
    global _tracer
    _tracer = None
    provider.shutdown()


def span(name: str, attributes: Mapping[str, str] | None = None) -> AbstractContextManager[Span | None]:
    """Of the request at work, if there is one.

    It is nobody's parent: a session may be closed in another thread than it was opened in.
    """
    return _OFF if _tracer is None else _span(_tracer, name, attributes)


@contextmanager
def _span(tracer: Tracer, name: str, attributes: Mapping[str, str] | None) -> Iterator[Span]:
    made = tracer.start_span(name, attributes=attributes)
    try:
        yield made
    except Exception as fault:
        _blame(made, type(fault).__qualname__)
        raise
    finally:
        made.end()


def request(traceparent: str | None) -> AbstractContextManager[Span | None]:
    """Parent of all spans of one request; a part of the caller's trace, if it names one."""
    return _OFF if _tracer is None else _request(_tracer, traceparent)


@contextmanager
def _request(tracer: Tracer, traceparent: str | None) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    above = TraceContextTextMapPropagator().extract({"traceparent": traceparent} if traceparent else {})
    with tracer.start_as_current_span(
        "request", above, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as made:
        yield made


def answered(made: Span, *, method: str, route: str, status: int, request_id: str) -> None:
    made.update_name(f"{method} {route}")
    made.set_attribute("http.request.method", method)
    made.set_attribute("http.route", route)
    made.set_attribute("http.response.status_code", status)
    made.set_attribute("metatune.request_id", request_id)
    if status >= 500:
        _blame(made, str(status))


def _blame(made: Span, kind: str) -> None:
    """Without the exception's words: they show what the caller sent."""
    from opentelemetry.trace import StatusCode

    made.set_attribute("error.type", kind)
    made.set_status(StatusCode.ERROR)
