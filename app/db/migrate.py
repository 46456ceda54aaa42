"""Alembic from inside: bring the schema to head, or tell whether it is there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, select

from app.db.keys import DEFAULT_PROJECT
from app.db.session import Store, database_now
from app.db.tables import Project
from app.errors import Unavailable

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
#: One number for all: whoever migrates a PostgreSQL database holds this advisory lock.
_LOCK = 7_151_201_907


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


def head() -> str:
    revision = ScriptDirectory.from_config(configuration()).get_current_head()
    assert revision is not None  # noqa: S101  (the scripts ship with the package)
    return revision


def current(store: Store) -> str | None:
    with store.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def is_at_head(store: Store) -> bool:
    return current(store) == head()


def migrate(store: Store) -> None:
    """Brings the database to head and makes project `default`; of several at once one does it and the others wait.

    Raises: Unavailable, if the database was made by a newer version.
    """
    script = ScriptDirectory.from_config(configuration())
    known = {revision.revision for revision in script.walk_revisions()}
    writer = store.engine.execution_options(metatune_write=True)
    with writer.begin() as connection:
        if not store.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        here = MigrationContext.configure(connection).get_current_revision()
        if here is not None and here not in known:
            raise Unavailable(
                f"the database is at revision {here}, which this version does not know; start the newer version"
            )
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.execute(select(Project.id).where(Project.name == DEFAULT_PROJECT)).first() is None:
            connection.execute(insert(Project).values(name=DEFAULT_PROJECT, created_at=database_now()))
