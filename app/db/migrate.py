"""Alembic from inside: bring the schema to head, or tell whether it is there.

Alembic and the scripts are loaded only when there is something to migrate: most starts find the schema at `HEAD`, and
whether it is there is asked by every probe of readiness.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, String, column, insert, inspect, select, table

from app.db import engine
from app.db.keys import DEFAULT_PROJECT
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Project
from app.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

#: The last of the scripts.
HEAD = "0011"
SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
#: One number for all: whoever migrates a PostgreSQL database holds this advisory lock.
_LOCK = 7_151_201_907
#: Alembic's own table, of one row.
_STAMP = table("alembic_version", column("version_num", String))


def configuration() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


def current(store: Store) -> str | None:
    with store.engine.connect() as connection:
        return _revision(connection)


def is_at_head(store: Store) -> bool:
    return current(store) == HEAD


def is_known(revision: str) -> bool:
    """Can this version serve, or bring to head, what is at the revision?"""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(configuration())
    return any(script.revision == revision for script in scripts.walk_revisions())


def migrate(store: Store) -> None:
    """Brings the database to head and makes project `default`; of several at once one does it and the others wait.

    Raises: Unavailable, if the database was made by a newer version.
    """
    writer = store.engine.execution_options(metatune_write=True, metatune_project=EVERY_PROJECT)
    with writer.begin() as connection:
        if not store.is_sqlite:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # whoever migrates may take its time
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        here = _revision(connection)
        if here != HEAD:
            _upgrade(connection, here)
        if connection.execute(select(Project.id).where(Project.name == DEFAULT_PROJECT)).first() is None:
            connection.execute(insert(Project).values(name=DEFAULT_PROJECT, created_at=database_now()))
    engine.migrate(store)


def is_ours(name: str | None, kind: str, parents: object) -> bool:
    """For Alembic's comparison: the engine's tables, which on SQLite lie among ours, are none of its business."""
    return not (kind == "table" and name in engine.TABLES)


def _revision(connection: Connection) -> str | None:
    """Where Alembic says that the schema is; None: it was never here."""
    if not inspect(connection).has_table(_STAMP.name):
        return None
    return connection.execute(select(_STAMP.c.version_num)).scalar_one_or_none()


def _upgrade(connection: Connection, here: str | None) -> None:
    from alembic import command

    if here is not None and not is_known(here):
        raise Unavailable(
            f"the database is at revision {here}, which this version does not know; start the newer version"
        )
    config = configuration()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
