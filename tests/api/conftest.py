"""Fixtures of the calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.db.session import Store
from app.main import create_app
from app.settings import Settings
from tests.api.fewshot import FewShot


@pytest.fixture
def few(client: TestClient, store: Store, database_url: str) -> Iterator[FewShot]:
    app = create_app(Settings(database=database_url), is_worker=True)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as worker:
        yield FewShot(client, worker, store)


@pytest.fixture
def trained(few: FewShot) -> FewShot:
    few.upload()
    few.train()
    few.run()
    return few
