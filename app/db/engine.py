"""The durable engine's place in our database: its tables, and the entries in its queues.

Decision: DBOS Transact keeps workflows and queues in tables of its own beside ours, and a job's row and its entry in
the queue are one transaction. Context: of two databases one may say that a job is there and the other not. Arguments
are ids alone, as portable JSON: by default the engine would pickle. What a job is and how it stands is in our tables
(`jobs`, `job_parts`); the engine brings it to a worker, and to another one if that dies.

DBOS takes a second to import, so that a process does so when it has the first job to enqueue. Where it is not
installed (the slim API process), the row alone is written, and a worker makes the entry, see `app.worker.watch`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from sqlalchemy import column, inspect, select, table
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from dbos import DBOSClient

    from app.db.session import Store

#: Of the engine's tables; what `migrate` brings them to. The dbos that is installed must agree.
REVISION: Final = 125
#: The engine's tables on SQLite, where they lie among ours; on PostgreSQL they have a schema of their own.
TABLES: Final = frozenset(
    {
        "dbos_migrations", "workflow_status", "notifications", "workflow_events", "streams", "queues",
        "workflow_events_history", "workflow_schedules", "application_versions", "workflow_input", "workflow_output",
        "operation_outputs",
    }
)  # fmt: skip
SCHEMA: Final = "dbos"
APPLICATION: Final = "metatune"
#: Workflows go on only under the version that began them. Ours keep nothing in the engine that a newer program could
#: not read, so that an upgrade continues them; a version that cannot says so by another number here.
VERSION: Final = "1"
#: The engine's names of what it runs: a whole job, and a part of one.
JOB, PART = "job", "part"
#: Queues: `light` is for what mostly waits, such as the job that hands out evaluations; `heavy` for what computes, as
#: many at a time as a worker has room for.
LIGHT, HEAVY = "light", "heavy"

_STAMP = table("dbos_migrations", column("version"), schema=None)
_SCHEMA_STAMP = table("dbos_migrations", column("version"), schema=SCHEMA)


def is_installed() -> bool:
    try:
        return find_spec("dbos") is not None
    except ModuleNotFoundError:
        return False


def is_at_head(store: Store) -> bool:
    with store.engine.connect() as connection:
        there = inspect(connection).has_table("dbos_migrations", schema=None if store.is_sqlite else SCHEMA)
        stamp = _STAMP if store.is_sqlite else _SCHEMA_STAMP
        return there and connection.execute(select(stamp.c.version)).scalar_one_or_none() == REVISION


def migrate(store: Store) -> None:
    """Makes the engine's tables, or brings them to what the engine that is installed needs."""
    if is_at_head(store) or not is_installed():
        return
    from dbos import DBOS

    DBOS.migrate(address_of(store), schema=SCHEMA)  # of several at once the engine lets one do it, on both databases


def address_of(store: Store) -> str:
    """The database's URL in the engine's words."""
    url = store.url if store.is_sqlite else store.url.set(drivername="postgresql")
    return url.render_as_string(hide_password=False)


def enqueue(store: Store, session: Session, entry: str, queue: str, workflow: str, *ids: str | int) -> None:
    """Writes the entry in the session's transaction. `entry` is its name: one that was there is not made again."""
    _client(store).enqueue_in_transaction(
        session,
        {"workflow_name": workflow, "queue_name": queue, "workflow_id": entry, "app_version": VERSION},
        *ids,
    )


@lru_cache(8)
def _client(store: Store) -> DBOSClient:
    """It only says what to insert; connections and transactions are the store's."""
    from dbos import DBOSClient, DBOSPortableJSONSerializer

    return DBOSClient(
        system_database_engine=store.engine,
        dbos_system_schema=None if store.is_sqlite else SCHEMA,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APPLICATION,
        lazy=True,
    )
