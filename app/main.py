"""create_app(): the only place where the parts are joined."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from app import tracing
from app.api import loop, operations, problems, results, schema, studies, trials
from app.api.dependencies import callers
from app.api.desk import Desk
from app.api.later import Later
from app.api.middleware import Guarded, Limited, Observed
from app.db.keys import Uses
from app.db.session import Most, Store
from app.services.learning import learning
from app.services.memory import Memory
from app.services.speculate import Speculation
from app.services.upkeep import upkeep
from app.settings import Settings

#: Loaded first: what training scripts call. The busiest are tried first.
FIRST = (loop, trials, studies, results, operations)


def routes_of_the_rest() -> list[BaseRoute]:
    from app.api import adapt, audit, datasets, events, exchange, insight, keys, knowledge, learners, nas, projects

    rest = (insight, exchange, events, keys, projects, audit, knowledge, nas, datasets, learners, adapt)
    return [route for part in rest for route in part.router.routes]


def routes_of_a_worker() -> list[BaseRoute]:
    """What a process with the worker role alone answers."""
    from app.api import adapt, nas

    return [route for part in (operations, nas, adapt) for route in part.router.routes]


def end_streams_on_signal(closing: asyncio.Event) -> None:
    """Event streams never end by themselves and would hold up the drain: the signal that stops the server ends them."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(closing.set)
            if callable(before):
                before(received, frame)

        signal.signal(number, handle)


def paces(settings: Settings) -> list[Middleware]:
    if not settings.rate_per_key and not settings.rate_per_address:
        return []
    from app.api.pace import Paced  # here: most servers count nothing, and start without it

    return [
        Middleware(
            Paced,
            per_key=settings.rate_per_key,
            per_address=settings.rate_per_address,
            storage=settings.rate_storage,
        )
    ]


def create_app(settings: Settings | None = None, *, is_worker: bool = False, at_once: bool = True) -> FastAPI:
    """The API on the database of the settings, which must be migrated (`metatune-server` does so at its start).

    `is_worker`: of a process with the worker role, which answers what only a worker can, and nothing else.
    `at_once`: with all routes; a server that is to be ready soon loads most of them afterwards (`app.api.later`).
    """
    settings = settings or Settings.from_environment()
    traces = tracing.start(settings.traces) if settings.traces else None
    store = Store(
        settings.database,
        most=Most(settings.max_studies_per_project, settings.max_trials_per_study),
        answer_seconds=settings.answer_seconds,
    )
    later: Later | None = None  # made below, when there is an app

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store.check()
        app.state.closing = asyncio.Event()
        end_streams_on_signal(app.state.closing)
        uses = Uses()
        app.state.callers = callers(store, settings, uses)
        if is_worker:
            yield
            app.state.closing.set()
            store.dispose()
            return
        memory = Memory()
        lessons = learning(store, memory)
        speculation = Speculation(store, memory) if settings.speculate else None
        app.state.desk = Desk(store, settings.ask_threads, memory, speculation, lessons)
        app.state.insights = None
        sweeps = upkeep(store, settings.sweep_seconds, uses)
        sweeps.start()
        lessons.start()
        if speculation is not None:
            speculation.start()
        if later is not None:
            later.load_soon()
        yield
        app.state.closing.set()
        if speculation is not None:
            speculation.stop()
        lessons.stop()
        sweeps.stop()
        store.dispose()
        if traces is not None:
            tracing.stop(traces)

    app = FastAPI(
        title="metatune",
        version=operations.VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # half a dozen calls a request, for nobody yet
        openapi_url=None if is_worker else "/openapi.json",
        routes=routes_of_a_worker() if is_worker else [route for part in FIRST for route in part.router.routes],
        middleware=[
            Middleware(Observed),
            Middleware(Guarded, hosts=settings.hosts),
            *paces(settings),
            Middleware(Limited, most=settings.max_body_bytes, most_of_file=settings.max_artefact_bytes),
        ],
    )
    app.state.settings = settings
    app.state.store = store
    app.state.is_worker = is_worker
    app.state.multiprocess = operations.MULTIPROCESS in os.environ
    problems.install(app)
    if not is_worker:
        operations.install_docs(app)
        if at_once:
            app.router.routes += routes_of_the_rest()
        else:
            later = Later(app.router, routes_of_the_rest)
            app.router.routes.append(later)

        def document() -> dict[str, Any]:
            if later is not None:
                later.load()
            return schema.document(app)

        app.openapi = document  # type: ignore[method-assign]  # as FastAPI wants its document replaced
    return app
