"""Jobs and their parts: the rows that say what is to be done, how far it is, and what came out.

Every write of a worker names the attempt that it belongs to. A worker that was taken for dead, and wakes while another
goes on with its work, writes nothing any more: its attempt is not the row's.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db import artefacts, audit, engine, studies
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Adaptation, Job, JobLine, JobPart
from app.errors import JobInUse, JobNotFound, StudyNotFound
from app.lifecycle import UNFINISHED, JobState, check_job_move
from app.search.options import ENQUEUED

#: Lines of a job's log that are kept; an answer shows the last of them.
LINES_KEPT = 1000
LINES_SHOWN = 20
MAX_LINE = 2000
#: Of a reason.
MAX_ERROR = 4000


@dataclass(frozen=True)
class Address:
    """Where a caller says a job is, and who says so."""

    project_id: int
    kind: str
    name: str
    by: str = audit.SERVER


@dataclass(frozen=True)
class OpenJob:
    """A job inside a transaction."""

    session: Session
    job: Job
    now: datetime
    by: str = audit.SERVER

    def move(self, to: JobState, *, error: str | None = None) -> None:
        """Raises: IllegalMove."""
        check_job_move(f"{self.job.kind} {self.job.name!r}", cast(JobState, self.job.state), to)
        self.job.state = to
        if to == "running" and self.job.started_at is None:
            self.job.started_at = self.now
        if to not in UNFINISHED:
            self.job.finished_at = self.now
            self.job.error = None if error is None else error[:MAX_ERROR]
            self.forget_checkpoint()
            self._close_study()
        self.changed()

    def changed(self) -> None:
        self.job.revision += 1

    def forget_checkpoint(self) -> None:
        before, self.job.checkpoint_id = self.job.checkpoint_id, None
        artefacts.remove(self.session, before)

    def _close_study(self) -> None:
        """Tells scripts that ask for the architectures of a search that no more will come."""
        evaluator = self.job.body.get("evaluator")
        if not isinstance(evaluator, Mapping) or evaluator.get("name") != "external":
            return
        with suppress(StudyNotFound):
            address = studies.Address(self.job.project_id, self.job.name)
            here = studies.open_study(self.session, address, lock=True)
            if here.definition.algorithm["name"] == ENQUEUED and here.study.state != "stopped":
                here.study.state = "stopped"
                here.record("study.updated", here.study.state)

    def log(self, line: str) -> None:
        last = self.session.execute(
            select(func.max(JobLine.position)).where(JobLine.job_id == self.job.id)
        ).scalar_one_or_none()
        position = 1 + (last or 0)
        self.session.add(JobLine(job_id=self.job.id, position=position, at=self.now, line=line[:MAX_LINE]))
        if position % 100 == 0:
            self.session.execute(
                delete(JobLine).where(JobLine.job_id == self.job.id, JobLine.position <= position - LINES_KEPT)
            )
        self.changed()

    def audit(self, action: str, **details: Any) -> None:
        audit.record(
            self.session,
            self.job.project_id,
            by=self.by,
            action=f"{self.job.kind}.{action}",
            target=f"{self.job.kind}/{self.job.name}",
            at=self.now,
            **details,
        )


def find(session: Session, address: Address, *, lock: bool = False) -> OpenJob | None:
    query = select(Job, database_now()).where(
        Job.project_id == address.project_id, Job.kind == address.kind, Job.name == address.name
    )
    return _open(session, query.with_for_update(of=Job) if lock else query, by=address.by)


def get(session: Session, address: Address, *, lock: bool = False) -> OpenJob:
    """Raises: JobNotFound."""
    here = find(session, address, lock=lock)
    if here is None:
        raise JobNotFound(f"there is no {address.kind} {address.name!r}")
    return here


def by_uid(session: Session, uid: str, *, lock: bool = False) -> OpenJob | None:
    query = select(Job, database_now()).where(Job.uid == uid)
    return _open(session, query.with_for_update(of=Job) if lock else query)


def _open(session: Session, query: Any, by: str = audit.SERVER) -> OpenJob | None:
    row = session.execute(query).one_or_none()
    return None if row is None else OpenJob(session, row[0], row[1], by)


def insert(session: Session, address: Address, body: Mapping[str, Any], queue: str) -> OpenJob:
    """Raises: sqlalchemy.exc.IntegrityError, if another transaction took the name first."""
    now = session.execute(select(database_now())).scalar_one()
    job = Job(
        project_id=address.project_id,
        uid=secrets.token_hex(12),
        kind=address.kind,
        name=address.name,
        body=dict(body),
        queue=queue,
        state="queued",
        progress=0.0,
        attempts=0,
        stalled=0,
        dispatches=0,
        revision=1,
        created_at=now,
    )
    session.add(job)
    session.flush()
    return OpenJob(session, job, now, address.by)


def page(
    session: Session, project_id: int, kind: str, *, state: str | None, after: str | None, limit: int
) -> Sequence[Job]:
    """By name."""
    name: Any = Job.name.collate("C") if session.get_bind().dialect.name == "postgresql" else Job.name
    query = select(Job).where(Job.project_id == project_id, Job.kind == kind)
    if state is not None:
        query = query.where(Job.state == state)
    if after is not None:
        query = query.where(name > after)
    return session.scalars(query.order_by(name).limit(limit)).all()


def unfinished_of(session: Session, project_id: int, kind: str) -> Sequence[Job]:
    """Those that are queued or running."""
    return session.scalars(
        select(Job).where(Job.project_id == project_id, Job.kind == kind, Job.state.in_(UNFINISHED))
    ).all()


def finished_of(session: Session, project_id: int, kind: str) -> Iterator[Job]:
    """Those that are over, whatever ended them, the newest first."""
    query = select(Job).where(Job.project_id == project_id, Job.kind == kind, Job.state.not_in(UNFINISHED))
    yield from session.scalars(query.order_by(Job.id.desc()).execution_options(yield_per=20))


def open_ones(session: Session, project_id: int) -> Sequence[Job]:
    """What is queued or running."""
    return session.scalars(select(Job).where(Job.project_id == project_id, Job.state.in_(UNFINISHED))).all()


def log_tail(session: Session, job_id: int, lines: int = LINES_SHOWN) -> list[JobLine]:
    """The last lines, oldest first."""
    newest = select(JobLine).where(JobLine.job_id == job_id).order_by(JobLine.position.desc()).limit(lines)
    return list(reversed(session.scalars(newest).all()))


def parts(session: Session, job_id: int, *, after: int = 0, limit: int | None = None) -> Sequence[JobPart]:
    query = select(JobPart).where(JobPart.job_id == job_id, JobPart.number > after).order_by(JobPart.number)
    return session.scalars(query if limit is None else query.limit(limit)).all()


def part(session: Session, job_id: int, number: int, *, lock: bool = False) -> JobPart | None:
    query = select(JobPart).where(JobPart.job_id == job_id, JobPart.number == number)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def add_parts(here: OpenJob, tasks: Iterable[tuple[int, Mapping[str, Any]]]) -> list[JobPart]:
    made = [
        JobPart(
            job_id=here.job.id, number=number, task=dict(task), state="queued", progress=0.0, attempts=0, stalled=0,
            dispatches=0,
        )
        for number, task in tasks
    ]  # fmt: skip
    here.session.add_all(made)
    return made


def cancel_parts(here: OpenJob) -> None:
    for one in parts(here.session, here.job.id):
        if one.state in UNFINISHED:
            one.state, one.finished_at = "cancelled", here.now
            before, one.checkpoint_id = one.checkpoint_id, None
            artefacts.remove(here.session, before)


def remove(here: OpenJob) -> None:
    """With everything it made.  Raises: JobInUse."""
    job = here.job
    if job.state in UNFINISHED:
        raise JobInUse(f"{job.kind} {job.name!r} is {job.state}; cancel it first", state=job.state)
    made = [one.checkpoint_id for one in parts(here.session, job.id)]
    made += here.session.scalars(select(Adaptation.artefact_id).where(Adaptation.learner_id == job.id))
    here.audit("deleted")
    here.session.delete(job)
    artefacts.remove(here.session, job.checkpoint_id, job.model_id, *made)


# --- the engine's entries ---------------------------------------------------------------------------------------


def entry_of(job: Job, part: JobPart | None = None) -> str:
    """The name under which the engine knows the last time that this was given to it."""
    if part is None:
        return f"{job.uid}.{job.dispatches}"
    return f"{job.uid}-{part.number}.{part.dispatches}"


def dispatch(store: Store, session: Session, job: Job, part: JobPart | None = None) -> None:
    """Puts the job, or a part of it, in its queue, in the transaction in which the row is written."""
    if part is None:
        job.dispatches += 1
        engine.enqueue(store, session, entry_of(job), job.queue, engine.JOB, job.uid)
    else:
        part.dispatches += 1
        engine.enqueue(store, session, entry_of(job, part), engine.HEAVY, engine.PART, job.uid, part.number)


@dataclass(frozen=True)
class Unfinished:
    """What the engine should be at work on."""

    project_id: int
    kind: str
    uid: str
    number: int | None
    entry: str


def unfinished(store: Store) -> list[Unfinished]:
    """Every job that is queued or running, and every such part of one that was ever given to the engine."""
    with store.read(EVERY_PROJECT) as session:
        found = [
            Unfinished(job.project_id, job.kind, job.uid, None, entry_of(job))
            for job in session.scalars(select(Job).where(Job.state.in_(UNFINISHED)))
        ]
        rows = session.execute(
            select(Job, JobPart)
            .join(JobPart, JobPart.job_id == Job.id)
            .where(Job.state.in_(UNFINISHED), JobPart.state.in_(UNFINISHED), JobPart.dispatches > 0)
        )
        found += [Unfinished(job.project_id, job.kind, job.uid, one.number, entry_of(job, one)) for job, one in rows]
    return found


def any_exists(store: Store) -> bool:
    with store.read(EVERY_PROJECT) as session:
        return session.execute(select(Job.id).limit(1)).first() is not None
