"""Traces: off by default; what a span says, and what it keeps to itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app import tracing
from app.errors import Invalid
from tests.conftest import Api

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = tracing.start_with(SimpleSpanProcessor(exporter))
    yield exporter
    tracing.stop(provider)


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def children(exporter: InMemorySpanExporter, parent: ReadableSpan) -> set[str]:
    assert parent.context is not None
    return {
        span.name
        for span in exporter.get_finished_spans()
        if span.parent is not None and span.parent.span_id == parent.context.span_id
    }


def test_an_ask_is_a_request_with_its_transactions_and_its_model(api: Api, exporter: InMemorySpanExporter) -> None:
    api.create(algorithm={"name": "gp"})
    for k in range(12):
        api.add(params={"x": (k + 0.5) / 12}, value=k)
    exporter.clear()
    answer = api.client.post(f"{api.base}/ask", json={}, headers={"X-Request-Id": "mine"})
    assert answer.json()["trials"][0]["origin"]["source"] == "gp"
    (request,) = named(exporter, "POST /v1/studies/{study}/ask")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/studies/{study}/ask",
        "http.response.status_code": 200,
        "metatune.request_id": "mine",
    }
    assert children(exporter, request) >= {"database read", "database write", "model point"}
    (point,) = named(exporter, "model point")
    assert point.attributes == {"metatune.point": "first", "metatune.source": "gp"}
    write = named(exporter, "database write")[-1]
    assert write.attributes is not None
    assert write.attributes["db.system.name"] in ("sqlite", "postgresql")


def test_a_request_joins_the_trace_that_its_caller_names(api: Api, exporter: InMemorySpanExporter) -> None:
    api.client.get("/healthz", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    api.client.get("/healthz", headers={"traceparent": "nonsense"})
    joined, own = named(exporter, "GET /healthz")
    assert joined.context is not None
    assert f"{joined.context.trace_id:032x}" == TRACE
    assert joined.parent is not None
    assert own.parent is None


def test_spans_hold_no_word_that_a_caller_sent(api: Api, exporter: InMemorySpanExporter) -> None:
    api.study = "canary-study"
    api.client.headers["Authorization"] = "Bearer canary-key"
    api.client.get("/v1/canary-path?canary-query=1", headers={"User-Agent": "canary-agent"})
    api.create(space={"canary-x": {"type": "float", "low": 0, "high": 1}})
    api.one(worker="canary-worker")
    api.tell(1, value=1.0, metadata={"canary": "canary"})
    api.tell(1, value=2.0, status=409)
    api.client.get("/v1/studies/canary-missing")
    spans = exporter.get_finished_spans()
    assert len(spans) >= 10
    for span in spans:
        assert "canary" not in span.to_json()
        assert not span.events


def test_a_transaction_that_failed_says_with_what_kind_of_error(api: Api, exporter: InMemorySpanExporter) -> None:
    api.get(status=404)
    (failed,) = [span for span in exporter.get_finished_spans() if span.status.status_code is StatusCode.ERROR]
    assert failed.name == "database read"
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "StudyNotFound"
    assert failed.status.description is None


def test_nothing_is_traced_and_the_sdk_not_imported_unless_asked_for() -> None:
    code = (
        "import sys, app.serve; from app.main import create_app; from app.settings import Settings;"
        "create_app(Settings(database='sqlite:///unused.db'));"
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_extra_the_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with pytest.raises(Invalid, match=r"metatune-server\[otel\]"):
        tracing.start("http://127.0.0.1:4318/v1/traces")
