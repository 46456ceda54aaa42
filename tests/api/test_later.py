"""A server answers the busiest routes before the rest is loaded, and nobody can tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.api import later
from app.api.later import Later
from app.main import create_app
from app.settings import Settings
from tests.waiting import until


def app_of(database_url: str, *, at_once: bool = False) -> FastAPI:
    return create_app(Settings(database=database_url, sweep_seconds=3600), at_once=at_once)


def client_of(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8000")


def waits(app: FastAPI) -> bool:
    return any(isinstance(route, Later) for route in app.routes)


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/nas/searches", 200), ("/v1/keys", 200), ("/v1/nowhere", 404), ("/v1/recommend", 405)]
)
def test_what_is_loaded_later_answers_the_first_request_for_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    monkeypatch.setattr(Later, "load_soon", lambda self: None)
    app = app_of(database_url)
    with client_of(app) as client:
        assert client.get("/readyz").status_code == 200
        assert waits(app)
        answer = client.get(path)
        assert not waits(app)
    assert answer.status_code == status
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)


def test_the_document_is_that_of_a_server_that_loaded_all_at_once(database_url: str) -> None:
    with client_of(app_of(database_url)) as soon, client_of(app_of(database_url, at_once=True)) as at_once:
        assert soon.get("/openapi.json").json() == at_once.get("/openapi.json").json()


def test_the_rest_is_loaded_although_nobody_asks_for_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(later, "SECONDS", 0.0)
    app = app_of(database_url)
    with client_of(app):
        until(lambda: not waits(app))


def test_the_first_routes_need_nothing_of_the_rest(tmp_path: Path) -> None:
    script = (
        "import sys; from app.main import create_app; create_app(at_once=False); "
        "print([name for name in ('app.api.nas', 'app.api.learners', 'app.api.knowledge') if name in sys.modules])"
    )
    environment = {**os.environ, "METATUNE_DATABASE": f"sqlite:///{tmp_path}/none.db"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout == "[]\n", done.stderr
