"""The schema goes up from nothing and down again, and is the one that the models describe."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

from app.db import engine
from app.db import migrate as module
from app.db.migrate import HEAD, configuration, current, is_at_head, is_ours, migrate
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Base, Project
from app.errors import Unavailable

COMPARED = {"compare_type": True, "compare_server_default": True, "include_name": is_ours}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database without any table."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        import psycopg

        server = request.getfixturevalue("postgresql_server")
        name = f"empty_{tmp_path.name.lower().replace('-', '_')}"[:60]
        with psycopg.connect(server.format(name="postgres"), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
        url = server.format(name=name)
    store = Store(url)
    yield store
    store.dispose()


def downgrade(store: Store, to: str) -> None:
    with store.engine.execution_options(metatune_write=True).begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, to)


def test_the_schema_goes_up_from_nothing_down_to_nothing_and_up_again(empty: Store) -> None:
    assert current(empty) is None
    migrate(empty)
    assert is_at_head(empty)
    tables = set(inspect(empty.engine).get_table_names())
    assert tables >= {table.name for table in Base.metadata.sorted_tables}
    downgrade(empty, "base")
    assert current(empty) is None
    assert set(inspect(empty.engine).get_table_names()) - engine.TABLES <= {"alembic_version", "sqlite_sequence"}
    migrate(empty)
    assert (current(empty), set(inspect(empty.engine).get_table_names())) == (HEAD, tables)


def test_the_models_and_the_migrated_schema_are_the_same(empty: Store) -> None:
    migrate(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=COMPARED)
        assert compare_metadata(context, Base.metadata) == []


def test_check_constraints_are_in_the_database(store: Store) -> None:
    wanted = {
        (table.name, str(constraint.name))
        for table in Base.metadata.sorted_tables
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    there = {
        (table, constraint["name"])
        for table in inspect(store.engine).get_table_names()
        for constraint in inspect(store.engine).get_check_constraints(table)
    }
    assert wanted
    assert wanted <= there


def test_a_migrated_database_has_project_default_once(empty: Store) -> None:
    for _ in range(2):
        migrate(empty)
    with empty.read(EVERY_PROJECT) as session:
        assert session.scalars(select(Project.name)).all() == ["default"]


def test_several_that_migrate_at_once_wait_for_each_other(empty: Store) -> None:
    stores = [Store(empty.url.render_as_string(hide_password=False)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, stores))
    assert all(is_at_head(store) for store in stores)
    for store in stores:
        store.dispose()


def test_a_database_made_by_a_newer_version_is_refused(store: Store) -> None:
    with store.write(EVERY_PROJECT) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not is_at_head(store)
    with pytest.raises(Unavailable, match="9999"):
        migrate(store)


def test_the_scripts_form_one_line_up_to_head() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(configuration())
    assert script.get_heads() == [HEAD]
    assert all(revision.doc for revision in script.walk_revisions())
    assert module.SCRIPTS.is_dir()


def upgrade(store: Store, to: str) -> None:
    with store.engine.execution_options(metatune_write=True).begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def insert(store: Store, table: str, **row: object) -> None:
    with store.write(EVERY_PROJECT) as session:
        names = ", ".join(row)
        session.execute(text(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in row)})"), row)


def test_rungs_carries_over_what_studies_reported_before_and_goes_down_again(empty: Store) -> None:
    upgrade(empty, "0001")
    then = {"created_at": "2026-01-01 00:00:00"}
    counters = ("waiting", "running", "paused", "complete", "pruned", "failed", "infeasible", "lost", "imported")
    insert(empty, "projects", id=1, name="p", **then)
    insert(
        empty, "studies", id=1, project_id=1, uid="u", name="s", state="active", outcomes="[]", algorithm="{}", seed=1,
        objectives='[{"name": "v", "direction": "maximize"}]', space_version=1, description="", tags="{}", stop="{}",
        pruning='{"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}', metafeatures="{}", warm_start="off",
        max_retries=3, next_number=4, revision=0, paused_seconds=0, **{f"n_{state}": 0 for state in counters}, **then,
    )  # fmt: skip
    for number, state in ((1, "complete"), (2, "removed"), (3, "complete")):
        insert(
            empty, "trials", id=number, study_id=1, number=number, state=state, attempt=1, params="{}",
            is_partial=False, space_version=1, in_space=True, metadata="{}", origin="{}", expiries=0,
            stop_requested=False, **then,
        )  # fmt: skip
    for trial, attempt, step, value in (
        (1, 1, 1, 0.5),
        (1, 1, 4, 0.7),
        (1, 2, 1, 0.6),
        (1, 2, 5, None),
        (2, 1, 1, 0.9),
    ):
        measured = '{"v": "nan"}' if value is None else f'{{"v": {value}}}'
        insert(
            empty, "reports", trial_id=trial, attempt=attempt, step=step, value=value, measured=measured, **then
        )  # fmt: skip
    upgrade(empty, "0002")
    with empty.read(EVERY_PROJECT) as session:
        rungs = session.execute(
            text("SELECT trial_id, rung, bracket, step, loss, may_go_on FROM rung_values ORDER BY trial_id, rung")
        ).all()
        assert [tuple(row) for row in rungs] == [(1, 0, 0, 1, -0.6, False), (1, 1, 0, 4, -0.7, False)]
        current = session.execute(
            text("SELECT trial_id, attempt, step FROM reports WHERE study_id = 1 AND is_current ORDER BY 1, 3")
        ).all()
        assert [tuple(row) for row in current] == [(1, 2, 1), (1, 1, 4), (1, 2, 5)]
        assert session.execute(text("SELECT last_step FROM trials WHERE id = 1")).scalar_one() == 4
    downgrade(empty, "0001")
    with empty.read(EVERY_PROJECT) as session:
        assert session.execute(text("SELECT count(*) FROM reports")).scalar_one() == 5
        assert session.execute(text("SELECT count(*) FROM trials")).scalar_one() == 3


def test_migrate_also_brings_the_engines_tables_to_what_the_installed_engine_needs(empty: Store) -> None:
    from dbos._migration import get_dbos_migrations, sqlite_migrations

    assert not engine.is_at_head(empty)
    migrate(empty)
    assert engine.is_at_head(empty)
    needed = sqlite_migrations if empty.is_sqlite else get_dbos_migrations("dbos", True)
    assert len(needed) == engine.REVISION
    ours = {table.name for table in Base.metadata.sorted_tables}
    assert not engine.TABLES & ours
    if empty.is_sqlite:
        there = set(inspect(empty.engine).get_table_names())
        assert there - ours - {"alembic_version", "sqlite_sequence"} == engine.TABLES
