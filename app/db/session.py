"""The engine and the two kinds of transaction: `read` and `write`.

Decision: nothing outside this module begins or ends a transaction.
Context: SQLite lets one writer in at a time, and a transaction that starts reading and then writes can die with
SQLITE_BUSY_SNAPSHOT. PostgreSQL's READ COMMITTED gives two statements two snapshots.
Decision: `write` takes SQLite's lock at once (BEGIN IMMEDIATE), after a mutex of this process, so that threads queue
fairly instead of sleeping in SQLite's busy loop; on PostgreSQL rows are locked by the queries. `read` is one snapshot
on both (REPEATABLE READ on PostgreSQL). Price: writers of one process take turns on SQLite, which they did anyway.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, TypeDecorator, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.functions import FunctionElement

from app.errors import Invalid, Unavailable

#: Seconds a transaction waits for another process's lock before it answers "not now".
LOCK_WAIT_SECONDS = 20
POOL_SIZE = 20
#: What `PRAGMA synchronous` answers for FULL.
FULL = 2


class UtcDateTime(TypeDecorator[datetime]):
    """timestamptz on PostgreSQL; on SQLite text in UTC, whose order is the order of time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class database_now(FunctionElement[datetime]):
    """The database's clock, which alone decides over leases; it goes on inside a transaction."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **_: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(database_now, "postgresql")
def _postgresql_now(element: Any, compiler: Any, **_: Any) -> str:
    return "clock_timestamp()"


def normalise_url(url: str) -> str:
    """`postgres://` and `postgresql://` mean psycopg 3.  Raises: Invalid, for a URL or database that is not served."""
    given = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    try:
        backend = make_url(given).get_backend_name()
    except ArgumentError as problem:
        raise Invalid(
            f"cannot read the database URL; write sqlite:///file.db or postgresql://host/name ({problem})"
        ) from problem
    if backend not in ("sqlite", "postgresql"):
        raise Invalid(f"the database is SQLite or PostgreSQL, not {backend!r}")
    return given


class Store:
    """One database. Threads may share it; `read()` and `write()` each give a session in one transaction."""

    def __init__(self, url: str, *, pool_size: int = POOL_SIZE) -> None:
        self.url = make_url(normalise_url(url))
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and not self.url.database:
            raise Invalid("an SQLite database needs a file: write sqlite:///metatune.db")
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=2 * pool_size,
            pool_timeout=LOCK_WAIT_SECONDS,
            connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False}
            if self.is_sqlite
            else {"connect_timeout": 10},
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            reader: Engine = self.engine
            writer: Engine = self.engine.execution_options(metatune_write=True)
            self._glancer: Engine = self.engine
        else:
            reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            writer = self.engine
            self._glancer = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reader = sessionmaker(reader, expire_on_commit=False, autoflush=False)
        self._writer = sessionmaker(writer, expire_on_commit=False, autoflush=False)
        self._turn = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One snapshot; nothing written in it is kept."""
        with self._reader() as session:
            yield session

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For single questions: each statement is a snapshot of its own, and costs one way to the database."""
        with self._glancer.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, undone if it raises.

        Raises: Unavailable, if SQLite's turn does not come in time.
        """
        if not self.is_sqlite:
            with self._writer.begin() as session:
                yield session
            return
        if not self._turn.acquire(timeout=LOCK_WAIT_SECONDS):
            raise Unavailable("the database is busy; try again", retry_after_seconds=2)
        try:
            with self._writer.begin() as session:
                yield session
        finally:
            self._turn.release()

    def check(self) -> None:
        """Asserts the promises of durability.  Raises: Unavailable, if this database does not keep them."""
        with self.engine.connect() as connection:
            if self.is_sqlite:
                journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
                synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
                timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
                if journal != "wal" or synchronous != FULL or not timeout:
                    raise Unavailable(
                        "SQLite must run with WAL, synchronous FULL and a busy timeout, "
                        f"got {journal!r}, {synchronous!r} and {timeout!r}"
                    )
            else:
                for setting in ("synchronous_commit", "fsync"):
                    value = connection.exec_driver_sql(f"SHOW {setting}").scalar()
                    if value == "off":
                        raise Unavailable(
                            f"PostgreSQL runs with {setting} = off, so an acknowledged result could be lost; turn it on"
                        )

    def dispose(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver would begin by itself, and too late
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("metatune_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
