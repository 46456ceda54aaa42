"""The server itself: is it up, is it ready, how does it fare, who am I to it, and what does it offer."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest, multiprocess
from prometheus_client import REGISTRY as DEFAULT_REGISTRY
from sqlalchemy.exc import SQLAlchemyError

from app.api.dependencies import CallerDep, StoreDep, router_of
from app.api.problems import MEDIA_TYPE, problem
from app.api.trials import MAX_AT_ONCE
from app.api.wire import Answer
from app.db import trials
from app.db.migrate import is_at_head
from app.db.session import EVERY_PROJECT, Store
from app.search.space import MAX_PARAMETERS

router = router_of()

VERSION = version("metatune-server")
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


class Welcome(Answer):
    name: str = "metatune"
    version: str = VERSION
    documentation: str = "/docs"
    openapi: str = "/openapi.json"
    studies: str = "/v1/studies"


@router.get("/", summary="What is here", tags=["operations"])
async def welcome() -> Welcome:
    return Welcome()


class Health(Answer):
    status: str = "ok"


@router.get("/healthz", summary="Is the process up?", tags=["operations"])
async def healthz() -> Health:
    return Health()


@router.get(
    "/readyz",
    summary="Does the database answer, with its migrations at head?",
    tags=["operations"],
    response_model=Health,
    responses={503: {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}},
)
def readyz(request: Request, store: StoreDep) -> Health | JSONResponse:
    if request.app.state.closing.is_set():
        return problem(503, "stopping", "the server is stopping", headers={"Retry-After": "5"})
    try:
        ready = is_at_head(store)
    except SQLAlchemyError:
        return problem(503, "database-unavailable", "the database does not answer", headers={"Retry-After": "2"})
    if not ready:
        return problem(503, "migrations-missing", "run: metatune-server migrate", headers={"Retry-After": "5"})
    return Health()


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    tags=["operations"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request, store: StoreDep) -> Response:
    registry = DEFAULT_REGISTRY
    if request.app.state.multiprocess:
        _forget_dead_processes(Path(os.environ[MULTIPROCESS]))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    text = generate_latest(registry) + generate_latest(_live_trials(store))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _live_trials(store: Store) -> CollectorRegistry:
    """Looked up now, and the same on every replica; left out while the database does not answer."""
    registry = CollectorRegistry()
    gauge = Gauge("metatune_trials", "Trials of all studies yet to finish, by state", ["state"], registry=registry)
    try:
        with store.read(EVERY_PROJECT) as session:
            counts = trials.live_counts(session)
    except SQLAlchemyError:
        return registry
    for state, n in counts.items():
        gauge.labels(state).set(n)
    return registry


def _forget_dead_processes(folder: Path) -> None:
    """The open asks of a process that was killed are open no more."""
    for path in folder.glob("gauge_live*_*.db"):
        process_id = int(path.stem.rpartition("_")[2])
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]


class Limits(Answer):
    max_body_bytes: int
    max_json_depth: int
    max_json_values: int
    trials_per_call: int
    studies_per_project: int
    trials_per_study: int
    parameters_per_space: int
    #: As `600/minute`; null: no limit.
    rate_per_key: str | None
    rate_per_address: str | None


class Me(Answer):
    version: str
    project: str
    scopes: list[str]
    limits: Limits


@router.get("/v1/me", summary="Who am I here?", tags=["operations"])
async def me(request: Request, caller: CallerDep) -> Me:
    settings = request.app.state.settings
    return Me(
        version=VERSION,
        project=caller.project,
        scopes=sorted(caller.scopes),
        limits=Limits(
            max_body_bytes=settings.max_body_bytes,
            max_json_depth=settings.max_json_depth,
            max_json_values=settings.max_json_values,
            trials_per_call=MAX_AT_ONCE,
            studies_per_project=settings.max_studies_per_project,
            trials_per_study=settings.max_trials_per_study,
            parameters_per_space=MAX_PARAMETERS,
            rate_per_key=settings.rate_per_key or None,
            rate_per_address=settings.rate_per_address or None,
        ),
    )


def install_docs(app: FastAPI) -> None:
    """`/docs` from files that ship with a package: the page loads nothing from outside."""
    app.mount("/ui/swagger", StaticFiles(directory=str(files("fastapi_offline") / "static")), name="swagger")
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="metatune",
        swagger_js_url="/ui/swagger/swagger-ui-bundle.js",
        swagger_css_url="/ui/swagger/swagger-ui.css",
        swagger_favicon_url="/ui/swagger/favicon.png",
    ).body
    scripts = re.findall(rb"<script>(.*?)</script>", bytes(page), re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(bytes(page), headers={"Content-Security-Policy": policy})
