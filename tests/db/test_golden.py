"""Databases that older versions really wrote (see golden/make.py) are brought to head, and go on as if nothing were."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import update
from starlette.testclient import TestClient

from app.db.migrate import HEAD, configuration, current, is_at_head, is_ours, migrate
from app.db.session import Store
from app.db.tables import Base, IdempotencyKey, Trial
from app.main import create_app
from app.settings import Settings

GOLDEN = Path(__file__).parent / "golden"
COMPARED = {"compare_type": True, "compare_server_default": True, "include_name": is_ours}
FILES = sorted(path.name for path in GOLDEN.glob("*.sql"))
_numbers = itertools.count(1)


def test_every_revision_has_its_golden_databases() -> None:
    revisions = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
    needed = revisions - {HEAD}  # which may still change, until it is released or followed
    missing = {f"{revision}.{kind}.sql" for revision in needed for kind in ("sqlite", "postgresql")} - set(FILES)
    assert not missing, "make them, with the new revision at head: python -m tests.db.golden.make"


@pytest.fixture(params=FILES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, str, str]]:
    """The database as it was written, its revision, and a key for it."""
    revision, kind, _ = request.param.split(".")
    statements = (GOLDEN / request.param).read_text()
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "golden.db")) as file:
            file.executescript(statements)
        store = Store(f"sqlite:///{tmp_path / 'golden.db'}")
    else:
        import psycopg

        server = request.getfixturevalue("postgresql_server")
        name = f"golden_{next(_numbers)}"
        with psycopg.connect(server.format(name="postgres"), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
        with psycopg.connect(server.format(name=name), autocommit=True) as connection:
            connection.execute(statements.encode())
        store = Store(server.format(name=name))
    yield store, revision, statements.splitlines()[0].removeprefix("-- key: ")
    store.dispose()


def test_a_golden_database_is_brought_to_head_and_goes_on(golden: tuple[Store, str, str]) -> None:
    store, revision, key = golden
    assert current(store) == revision
    migrate(store)
    assert is_at_head(store)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=COMPARED)
        assert compare_metadata(context, Base.metadata) == []

    with store.write("every") as session:  # as if it had been written today
        today = datetime.now(UTC)
        session.execute(
            update(Trial).where(Trial.state == "running").values(lease_expires_at=today + timedelta(days=1))
        )
        session.execute(update(IdempotencyKey).values(created_at=today))

    settings = Settings(database=store.url.render_as_string(hide_password=False), sweep_seconds=3600, speculate=False)
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000", headers=headers) as http:
        study = http.get("/v1/studies/golden").json()
        assert study["description"] == "Grüße aus der Vergangenheit"
        assert study["tags"] == {"team": "vision"}
        counts = {state: n for state, n in study["counts"].items() if n}
        assert counts == {"complete": 3, "failed": 1, "running": 1, "waiting": 1}
        assert study["best"]["number"] == 2
        trials = {trial["number"]: trial for trial in http.get("/v1/studies/golden/trials").json()["items"]}
        values = {number: trial["values"]["value"] for number, trial in trials.items() if trial["state"] == "complete"}
        assert values == {2: 0.9, 3: 0.6, 7: 0.1}
        assert (trials[2]["cost"], trials[4]["reason"]) == (2.5, "out of memory")
        again = http.post("/v1/studies/golden/ask", json={"worker": "w"}, headers={"Idempotency-Key": "ask-2"})
        assert [trial["number"] for trial in again.json()["trials"]] == [2]
        assert http.post("/v1/studies/golden/trials/5/tell", json={"value": 0.95}).status_code == 200
        (waiting,) = http.post("/v1/studies/golden/ask", json={}).json()["trials"]
        assert (waiting["number"], waiting["params"]["lr"]) == (6, 0.01)
        (new,) = http.post("/v1/studies/golden/ask", json={}).json()["trials"]
        assert new["number"] == 8
        front = http.get("/v1/studies/two/pareto").json()
        assert [trial["number"] for trial in front["trials"]] == [1]
