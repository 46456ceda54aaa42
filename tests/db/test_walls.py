"""PostgreSQL's own wall: a query that forgets its project sees nothing of another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Table, delete, event, func, select, text, update
from sqlalchemy.exc import ProgrammingError
from starlette.testclient import TestClient

from app.db import adaptations, artefacts, jobs
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Base, Project, Study, Upload
from app.main import create_app
from app.settings import Settings
from tests.conftest import Api

#: Asked who calls before there is a project to set, so that no project can be set for them; and who serves them all.
OUTSIDE = {"projects", "api_keys", "workers"}
WALLED = [table for table in Base.metadata.sorted_tables if table.name not in OUTSIDE]
#: Nobody's but PostgreSQL's and Alembic's.
OTHERS = {"alembic_version"}


@pytest.fixture
def url(migrated_postgresql: Callable[[], str]) -> str:
    return migrated_postgresql()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.dispose()


@pytest.fixture
def theirs(url: str, store: Store) -> int:
    """Another project; project `default` has rows in every table."""
    with TestClient(create_app(Settings(database=url, sweep_seconds=3600)), base_url="http://127.0.0.1:8000") as client:
        api = Api(client)
        api.create(pruning={"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}, tags={"a": "b"})
        api.call("POST", f"{api.base}/ask", {}, status=200, headers={"Idempotency-Key": "once"})
        api.report(1, step=1, value=0.5)
        api.tell(1, value=1)
        api.call("PATCH", f"{api.base}/trials/1", {"value": 2}, status=200)
        past, new = Api(client, "past"), Api(client, "new")
        past.create(algorithm="random")
        past.add(trials=[{"params": {"x": k / 8}, "value": k} for k in range(6)])
        past.patch(state="stopped")
        new.create()
        new.one()
    fill_jobs(store)
    with store.write(EVERY_PROJECT) as session:
        project = Project(name="theirs", created_at=session.execute(select(database_now())).scalar_one())
        session.add(project)
        session.flush()
        return project.id


def fill_jobs(store: Store) -> None:
    artefact_id = artefacts.write(store, 1, [b"x"], most=10)
    with store.write(1) as session:
        here = jobs.insert(session, jobs.Address(1, "test", "one"), {}, "light")
        session.add(Upload(project_id=1, kind="k", name="n", summary={}, artefact_id=artefact_id, created_at=here.now))
        adaptations.keep(here, "a", artefact_id, {})
        jobs.add_parts(here, [(1, {})])
        here.log("a line")


def count(session: Any, table: Table) -> int:
    return int(session.execute(select(func.count()).select_from(table)).scalar_one())


def test_the_role_of_the_tests_is_one_that_row_level_security_holds_for(store: Store) -> None:
    with store.glance() as connection:
        role = text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert connection.execute(role).scalar_one() is False


def test_a_server_says_when_the_wall_does_not_hold_for_its_role(
    url: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.check()
    assert not caplog.records
    root = Store(url.replace("metatune:@", "postgres:@"))
    root.check()
    root.dispose()
    assert "connect as an ordinary role" in caplog.text


def test_every_table_but_projects_and_keys_is_walled_for_its_owner_too(store: Store) -> None:
    with store.glance() as connection:
        found = connection.execute(
            text(
                "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        ).all()
    assert {name for name, is_walled in found if not is_walled} == OUTSIDE | OTHERS


def test_a_query_without_a_project_filter_sees_nothing_of_another(store: Store, theirs: int) -> None:
    for table in WALLED:
        with store.read(EVERY_PROJECT) as session:
            assert count(session, table) > 0, f"there is nothing in {table.name} to be seen"
        with store.read(1) as session:
            assert count(session, table) > 0, f"{table.name} is hidden from its own project"
        with store.read(theirs) as session:
            assert count(session, table) == 0, table.name
        with store.glance() as connection:
            assert count(connection, table) == 0, table.name
        with store.engine.begin() as connection:
            assert count(connection, table) == 0, table.name


def test_nothing_of_another_project_is_changed_deleted_or_put_there(store: Store, theirs: int) -> None:
    for table in reversed(WALLED):
        column = next(iter(table.columns))
        for statement in (update(table).values({column.name: column}), delete(table)):
            if table.name == "audit_log":
                continue  # nobody changes it, see tests/api/test_audit.py
            with store.write(theirs) as session:
                assert session.connection().execute(statement).rowcount == 0, table.name
        with store.read(1) as session:
            row = dict(session.execute(select(table)).mappings().first() or {})
        with pytest.raises(ProgrammingError, match="row-level security"), store.write(theirs) as session:
            session.connection().execute(table.insert().values(row))


def test_the_project_of_a_transaction_is_forgotten_with_it(url: str, theirs: int) -> None:
    store = Store(url, pool_size=1)  # the same connection again and again
    for _ in range(7):  # more often than the driver takes to prepare a statement
        with store.read(1) as session:
            assert set(session.scalars(select(Study.name))) == {"study", "past", "new"}
        with store.engine.begin() as connection:
            assert connection.execute(select(Study.name)).all() == []
        with store.read(theirs) as session:
            assert session.scalars(select(Study.name)).all() == []
    store.dispose()


def test_setting_the_project_costs_no_way_to_the_database(store: Store) -> None:
    said: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda c, cursor, statement, *_: said.append(statement))
    with store.write(7) as session:
        session.execute(text("SELECT 1"))
    assert said == ["BEGIN; SET LOCAL metatune.project = '7'", "SELECT 1"]
