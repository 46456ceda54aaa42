"""A job, or a part of one, in the hands of this process: what the code of a kind sees of the engine.

Each method is one transaction. The database may be away for a while: they wait for it, since a training of hours must
not end because PostgreSQL was restarted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.db import artefacts, jobs
from app.db.jobs import MAX_ERROR, OpenJob
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Job, JobPart
from app.errors import Unavailable
from app.lifecycle import MAX_STALLED, UNFINISHED

logger = logging.getLogger("metatune.jobs")
Outcome = TypeVar("Outcome")

#: Progress is written at most so often; whether the job was cancelled is looked up every time.
WRITE_SECONDS = 0.5
#: Between two looks at the parts that others run.
POLL_SECONDS = 0.1
#: Waits for a database that is away grow up to this.
MAX_PAUSE_SECONDS = 15.0
_AWAY = (OperationalError, InterfaceError, PoolTimeout, Unavailable)


class Ended(Exception):
    """No error: this attempt has nothing more to do."""


class Cancelled(Ended):
    """Somebody cancelled the job, or deleted it."""


class Superseded(Ended):
    """This process was taken for dead, and another attempt goes on."""


class Leaving(Ended):
    """This process is told to stop; another one goes on."""


@dataclass(frozen=True)
class Done:
    """What a job came to; `model` is kept as an artefact of the job."""

    result: Mapping[str, Any]
    model: bytes | None = None


@dataclass
class Unit:
    """One attempt at a job (`number` is None) or at one of its parts."""

    store: Store
    project_id: int
    kind: str
    uid: str
    number: int | None
    attempt: int
    #: What the job was asked for, and what this part of it is to do.
    body: Mapping[str, Any]
    task: Mapping[str, Any]
    max_artefact_bytes: int
    #: Set when this process is told to stop.
    leaving: threading.Event = field(default_factory=threading.Event)
    #: Since the job was taken up for the first time, until this attempt began.
    seconds_before: float = 0.0
    _checkpoint_id: str | None = None
    _began_at: float = field(default_factory=time.monotonic)
    _written_at: float = field(default=0.0)

    # --- what code says while it runs ---

    def check(self) -> None:
        """To be called within every epoch.  Raises: Cancelled, Superseded, Leaving."""
        self.look(lambda here: None)

    def look(self, read: Callable[[OpenJob], Outcome]) -> Outcome:
        """A question of the kind's own; also a `check`.  Raises: Ended."""

        def transaction() -> Outcome:
            with self.store.read(self.project_id) as session:
                here = jobs.by_uid(session, self.uid)
                self._row(here)
                assert here is not None  # noqa: S101  (or `_row` had raised)
                return read(here)

        return self._patiently(transaction)

    def within(self, write: Callable[[OpenJob], Outcome]) -> Outcome:
        """A transaction of the kind's own, while the job is locked and this attempt's.  Raises: Ended."""

        def transaction() -> Outcome:
            with self._writing() as (here, _):
                return write(here)

        return self._patiently(transaction)

    def seconds(self) -> float:
        """Since the job was taken up for the first time."""
        return self.seconds_before + time.monotonic() - self._began_at

    def progress(self, fraction: float, line: str | None = None) -> None:
        """Says how far it is, in [0, 1]; also a `check`.  Raises: Ended."""
        now = time.monotonic()
        if line is None and now - self._written_at < WRITE_SECONDS:
            self.check()
            return
        self._written_at = now

        def write() -> None:
            with self._writing() as (here, row):
                row.progress, row.stalled = max(row.progress, min(1.0, fraction)), 0
                if line is not None:
                    here.log(line)
                elif isinstance(row, Job):
                    here.changed()

        self._patiently(write)

    def save(self, checkpoint: bytes, fraction: float) -> None:
        """Keeps what the next attempt would go on from, in place of the one before.  Raises: Ended."""

        def write(made: str) -> None:
            with self._writing() as (here, row):
                before, row.checkpoint_id = row.checkpoint_id, made
                row.progress, row.stalled = max(row.progress, min(1.0, fraction)), 0
                if before != made:
                    artefacts.remove(here.session, before)
                if isinstance(row, Job):
                    here.changed()

        self._checkpoint_id = self._named(checkpoint, write)

    def publish(self, result: Mapping[str, Any], model: bytes) -> None:
        """What came out so far, in place of what did before; it stays if the job is cancelled.  Raises: Ended."""

        def write(made: str) -> None:
            with self._writing() as (here, row):
                assert isinstance(row, Job)  # noqa: S101  (parts have no model)
                before, row.model_id, row.result = row.model_id, made, dict(result)
                here.changed()
                if before != made:
                    artefacts.remove(here.session, before)

        self._named(model, write)

    def saved(self) -> bytes | None:
        """What the last `save` of any attempt kept."""
        last = self._checkpoint_id
        return None if last is None else self._patiently(lambda: artefacts.read(self.store, self.project_id, last))

    # --- a job and its parts ---

    def submit(self, tasks: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Lets any worker take these parts, by number; those that are there stay as they are.  Raises: Ended."""

        def write() -> None:
            with self._writing() as (here, row):
                there = {part.number for part in self._parts(here)}
                for part in jobs.add_parts(here, [task for task in tasks if task[0] not in there]):
                    jobs.dispatch(self.store, here.session, here.job, part)
                row.stalled = 0

        self._patiently(write)

    def record(self, done: Iterable[tuple[int, Mapping[str, Any], Mapping[str, Any]]], fraction: float) -> None:
        """Parts that this process has done by itself: number, task and result of each.  Raises: Ended."""
        results = {number: (task, result) for number, task, result in done}

        def write() -> None:
            with self._writing() as (here, row):
                there = {part.number for part in self._parts(here)}
                new = [(number, task) for number, (task, _) in results.items() if number not in there]
                for part in jobs.add_parts(here, new):
                    part.state, part.progress, part.result = "succeeded", 1.0, dict(results[part.number][1])
                    part.started_at = part.finished_at = here.now
                row.progress, row.stalled = max(row.progress, min(1.0, fraction)), 0
                here.changed()

        self._patiently(write)

    def parts(self) -> list[JobPart]:
        """By number, as they are now.  Raises: Ended."""
        return self.look(lambda here: list(self._parts(here)))

    def wait(self) -> list[JobPart]:
        """The parts, a moment later.  Raises: Ended."""
        self.leaving.wait(POLL_SECONDS)
        return self.parts()

    def _parts(self, here: OpenJob) -> Sequence[JobPart]:
        return jobs.parts(here.session, here.job.id)

    # --- its row ---

    def _patiently(self, transaction: Callable[[], Outcome]) -> Outcome:
        return patiently(transaction, self.leaving)

    def _named(self, content: bytes, write: Callable[[str], None]) -> str:
        """Stores an artefact and has `write` name it; it goes at once if the row is not this attempt's.

        Raises: Ended.
        """
        made = self._patiently(
            lambda: artefacts.write(self.store, self.project_id, [content], most=self.max_artefact_bytes)
        )
        try:
            self._patiently(lambda: write(made))
        except (Cancelled, Superseded):
            with self.store.write(self.project_id) as session:
                artefacts.give_up(session, made)
            raise
        return made

    @contextmanager
    def _writing(self) -> Iterator[tuple[OpenJob, Job | JobPart]]:
        with self.store.write(self.project_id) as session:
            here = jobs.by_uid(session, self.uid, lock=True)
            row = self._row(here)
            assert here is not None  # noqa: S101  (or `_row` had raised)
            yield here, row

    def _row(self, here: OpenJob | None) -> Job | JobPart:
        """Raises: Ended, if the row is not this attempt's any more."""
        if self.leaving.is_set():
            raise Leaving
        if here is None or here.job.state not in UNFINISHED:
            raise Cancelled
        row = here.job if self.number is None else jobs.part(here.session, here.job.id, self.number)
        if row is None or row.state not in UNFINISHED:
            raise Cancelled
        if row.attempts != self.attempt:
            raise Superseded
        return row

    def finish(self, done: Done) -> None:
        """Raises: Ended."""

        def write(model_id: str | None) -> None:
            with self._writing() as (here, row):
                row.progress, row.result = 1.0, dict(done.result)
                if isinstance(row, Job):
                    before, row.model_id = row.model_id, model_id or row.model_id
                    if before != row.model_id:
                        artefacts.remove(here.session, before)
                    here.move("succeeded")
                else:
                    _end_part(here, row, "succeeded", None)

        if done.model is None:
            self._patiently(lambda: write(None))
        else:
            self._named(done.model, write)

    def fail(self, reason: str) -> None:
        """Raises: Ended."""

        def write() -> None:
            with self._writing() as (here, row):
                end(here, row, reason)

        self._patiently(write)

    def give_back(self) -> None:
        """This process leaves by itself, which is no attempt without progress."""
        with self.store.write(self.project_id) as session:
            here = jobs.by_uid(session, self.uid, lock=True)
            row = None if here is None else _row_of(here, self.number)
            if row is not None and row.attempts == self.attempt:
                row.stalled = max(0, row.stalled - 1)


def begin(
    store: Store,
    worker_id: str,
    uid: str,
    number: int | None,
    max_artefact_bytes: int,
    leaving: threading.Event | None = None,
) -> Unit | None:
    """The next attempt; None, if there is nothing to do, or it was begun too often without progress."""
    with store.read(EVERY_PROJECT) as session:
        found = jobs.by_uid(session, uid)
        project_id = None if found is None else found.job.project_id
    if project_id is None:
        return None
    with store.write(project_id) as session:
        here = jobs.by_uid(session, uid, lock=True)
        row = None if here is None else _row_of(here, number)
        if here is None or row is None or here.job.state not in UNFINISHED or row.state not in UNFINISHED:
            return None
        if row.stalled >= MAX_STALLED:
            what = "the job" if number is None else f"part {number}"
            end(here, row, f"{what} was taken up {MAX_STALLED} times without progress; the worker died each time")
            return None
        row.attempts += 1
        row.stalled += 1
        if isinstance(row, Job):
            here.move("running")
        else:
            row.state, row.worker, row.started_at = "running", worker_id, here.now
        return Unit(
            store=store,
            project_id=project_id,
            kind=here.job.kind,
            uid=uid,
            number=number,
            attempt=row.attempts,
            body=here.job.body,
            task=row.task if isinstance(row, JobPart) else {},
            max_artefact_bytes=max_artefact_bytes,
            leaving=leaving or threading.Event(),
            seconds_before=(here.now - (here.job.started_at or here.now)).total_seconds(),
            _checkpoint_id=row.checkpoint_id,
        )


def end(here: OpenJob, row: Job | JobPart, reason: str) -> None:
    """A job that fails takes its parts with it."""
    if isinstance(row, JobPart):
        _end_part(here, row, "failed", reason)
        return
    jobs.cancel_parts(here)
    here.log(f"failed: {reason}")
    here.move("failed", error=reason)


def _end_part(here: OpenJob, row: JobPart, state: str, error: str | None) -> None:
    row.state, row.error, row.finished_at = state, None if error is None else error[:MAX_ERROR], here.now
    before, row.checkpoint_id = row.checkpoint_id, None
    artefacts.remove(here.session, before)


def _row_of(here: OpenJob, number: int | None) -> Job | JobPart | None:
    return here.job if number is None else jobs.part(here.session, here.job.id, number)


def patiently(transaction: Callable[[], Outcome], leaving: threading.Event) -> Outcome:
    """Runs a transaction, again and again while the database is away.  Raises: Leaving."""
    pause = 0.5
    while True:
        try:
            return transaction()
        except _AWAY:
            logger.warning("the database does not answer; the job waits for it", exc_info=True)
            if leaving.wait(pause):
                raise Leaving from None
            pause = min(MAX_PAUSE_SECONDS, 2 * pause)
