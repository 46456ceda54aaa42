"""The engine and the two kinds of transaction: `read` and `write`.

Decision: nothing outside this module begins or ends a transaction.
Context: SQLite lets one writer in at a time, and a transaction that starts reading and then writes can die with
SQLITE_BUSY_SNAPSHOT. PostgreSQL's READ COMMITTED gives two statements two snapshots.
Decision: `write` takes SQLite's lock at once (BEGIN IMMEDIATE), after a mutex of this process, so that threads queue
fairly instead of sleeping in SQLite's busy loop; on PostgreSQL rows are locked by the queries. `read` is one snapshot
on both (REPEATABLE READ on PostgreSQL). Price: writers of one process take turns on SQLite, which they did anyway.

Decision: every transaction says whose project it serves, and PostgreSQL shows it no row of another.
Context: a query that forgets its project must not cross the wall. Row-level security asks for a setting of the
transaction. So that this costs no way to the database, our own BEGIN carries it, and the driver begins nothing. What
serves all projects says `EVERY_PROJECT`, by that name. Price: see docs/decisions/projects.md.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal

from sqlalchemy import Connection, DateTime, Dialect, Engine, TypeDecorator, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.functions import FunctionElement

from app import tracing
from app.errors import Invalid, Unavailable

logger = logging.getLogger("metatune.database")

#: Seconds a transaction waits for another process's lock before it answers "not now".
LOCK_WAIT_SECONDS = 20
#: Seconds after which PostgreSQL ends a transaction that does nothing: a replica that hangs lets go of its locks.
IDLE_SECONDS = 60
POOL_SIZE = 20
#: In place of a project: what serves them all, such as the sweep of leases and the command line.
EVERY_PROJECT: Final = "every"
#: The setting that the policies of row-level security ask for; unset, they show nothing.
PROJECT_SETTING: Final = "metatune.project"
Whose = int | Literal["every"]
#: Projects whose engines are remembered; a new one takes some microseconds.
PROJECTS_KEPT = 1024
#: A connection whose other end says nothing to the kernel's questions is given up; a long query is no silence.
NOTICE_CUTS: Final = {
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
#: What `PRAGMA synchronous` answers for FULL.
FULL = 2


_STANDS_ABOVE = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"


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


@dataclass(frozen=True)
class Most:
    """How much the database takes in, so that one who floods it does not fill it."""

    studies_per_project: int = 100_000
    trials_per_study: int = 1_000_000


def most(session: Session) -> Most:
    found: Most = session.info["most"]
    return found


class Store:
    """One database. Threads may share it; `read()` and `write()` each give a session in one transaction."""

    def __init__(
        self, url: str, *, pool_size: int = POOL_SIZE, most: Most | None = None, answer_seconds: float | None = None
    ) -> None:
        """`answer_seconds`: PostgreSQL must have answered a statement; None waits for as long as it takes."""
        self.url = make_url(normalise_url(url))
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and not self.url.database:
            raise Invalid("an SQLite database needs a file: write sqlite:///metatune.db")
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=2 * pool_size,
            pool_timeout=LOCK_WAIT_SECONDS,
            hide_parameters=True,  # or the text of an error, and so the log, would hold tokens and what callers wrote
            connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False}
            if self.is_sqlite
            else {"connect_timeout": 10, **NOTICE_CUTS},
            **({} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}),  # we begin by ourselves, see above
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            self._glancer: Engine = self.engine
        else:
            event.listen(self.engine, "connect", _prepare_postgresql)
            event.listen(self.engine, "begin", _begin_postgresql)
            if answer_seconds is not None:
                _wait_no_longer(self.engine, answer_seconds)
            self._glancer = self.engine.execution_options(metatune_begin=None)
        self._session = sessionmaker(expire_on_commit=False, autoflush=False, info={"most": most or Most()})
        self._engine_of = lru_cache(PROJECTS_KEPT)(self._make_engine)
        self._turn = threading.Lock()
        self._traced = {"db.system.name": self.url.get_backend_name()}

    def _make_engine(self, project: Whose, write: bool) -> Engine:
        if self.is_sqlite:
            return self.engine.execution_options(metatune_write=write)
        begin = "BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        return self.engine.execution_options(metatune_begin=begin, metatune_project=project)

    @contextmanager
    def read(self, project: Whose) -> Iterator[Session]:
        """One snapshot; nothing written in it is kept."""
        engine = self._engine_of(project, False)
        with tracing.span("database read", self._traced), self._session(bind=engine) as session:
            yield session

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """For single questions: each statement is a snapshot of its own, and costs one way to the database.

        No project is set, so that it sees only what belongs to none: projects and keys.
        """
        with tracing.span("database glance", self._traced), self._glancer.connect() as connection:
            yield connection

    @contextmanager
    def write(self, project: Whose) -> Iterator[Session]:
        """One transaction: committed at the end of the block, undone if it raises.

        Raises: Unavailable, if SQLite's turn does not come in time.
        """
        engine = self._engine_of(project, True)
        with tracing.span("database write", self._traced):  # the wait for the turn included
            if not self.is_sqlite:
                with self._session(bind=engine) as session, session.begin():
                    yield session
                return
            if not self._turn.acquire(timeout=LOCK_WAIT_SECONDS):
                raise Unavailable("the database is busy; try again", retry_after_seconds=2)
            try:
                with self._session(bind=engine) as session, session.begin():
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
                if connection.exec_driver_sql(_STANDS_ABOVE).scalar():
                    logger.warning(
                        "the database's role is a superuser or has BYPASSRLS, so PostgreSQL's wall between projects "
                        "does not hold for it; connect as an ordinary role that owns the database"
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


def _prepare_postgresql(connection: Any, _: Any) -> None:
    connection.execute(
        f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'; SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
    )
    connection.commit()


def _wait_no_longer(engine: Engine, seconds: float) -> None:
    from app.db.silence import impatient

    connections = impatient(seconds)

    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        return connections.connect(*arguments, **options)

    event.listen(engine, "do_connect", connect)


def _begin_postgresql(connection: Any) -> None:
    options = connection.get_execution_options()
    begin, project = options.get("metatune_begin", "BEGIN"), options.get("metatune_project")
    if begin is None:
        return
    if project is not None:
        begin += f"; SET LOCAL {PROJECT_SETTING} = '{EVERY_PROJECT if project == EVERY_PROJECT else int(project)}'"
    connection.exec_driver_sql(begin)
