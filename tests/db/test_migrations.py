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

from app.db import migrate as module
from app.db.migrate import configuration, current, head, is_at_head, migrate
from app.db.session import Store
from app.db.tables import Base, Project
from app.errors import Unavailable


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
    assert set(inspect(empty.engine).get_table_names()) <= {"alembic_version", "sqlite_sequence"}
    migrate(empty)
    assert (current(empty), set(inspect(empty.engine).get_table_names())) == (head(), tables)


def test_the_models_and_the_migrated_schema_are_the_same(empty: Store) -> None:
    migrate(empty)
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
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
    with empty.read() as session:
        assert session.scalars(select(Project.name)).all() == ["default"]


def test_several_that_migrate_at_once_wait_for_each_other(empty: Store) -> None:
    stores = [Store(empty.url.render_as_string(hide_password=False)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, stores))
    assert all(is_at_head(store) for store in stores)
    for store in stores:
        store.dispose()


def test_a_database_made_by_a_newer_version_is_refused(store: Store) -> None:
    with store.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not is_at_head(store)
    with pytest.raises(Unavailable, match="9999"):
        migrate(store)


def test_the_scripts_form_one_line(empty: Store) -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(configuration())
    assert len(script.get_heads()) == 1
    assert all(revision.doc for revision in script.walk_revisions())
    assert module.SCRIPTS.is_dir()
