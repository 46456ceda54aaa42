"""Studies: opening one in a transaction, and the questions asked of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, select
from sqlalchemy.orm import Session

from app.db import audit
from app.db.session import database_now, most
from app.db.tables import Event, LogEntry, SpaceVersion, Study, StudyTag, Trial, add_event
from app.definition import Definition, objectives_from_json, outcomes_from_json
from app.errors import LimitReached, StudyNotFound, StudyReplaced
from app.lifecycle import FINISHED, VISIBLE_STATES, TrialState, check_move
from app.search.pruning import PruningRule
from app.search.space import SearchSpace

#: Parsed definitions kept; one is some kilobytes.
DEFINITIONS_KEPT = 1024


@dataclass(frozen=True)
class Address:
    """Where a caller says a study is; `uid`, if given, must still be the study's."""

    project_id: int
    name: str
    uid: str | None = None
    #: Who says so, for the audit log; it is no part of where the study is.
    by: str = field(default=audit.SERVER, compare=False)


@dataclass(frozen=True)
class OpenStudy:
    """A study inside a transaction: its row, what it means, and the database's time."""

    session: Session
    study: Study
    definition: Definition
    now: datetime
    #: Has a lease run out that nobody has taken note of?
    has_overdue: bool = False
    #: Who opened it, for the audit log.
    by: str = audit.SERVER

    def record(self, type_: str, state: str, number: int | None = None) -> int:
        """Writes the event and returns its id, drawn under the lock on the study's row."""
        self.study.revision += 1
        revision = self.study.revision
        add_event(
            self.session,
            study_id=self.study.id,
            revision=revision,
            type=type_,
            number=number,
            state=state,
            created_at=self.now,
        )
        return revision

    def log(
        self, kind: str, *, number: int | None = None, before: Any = None, after: Any = None, reason: str | None = None
    ) -> None:
        """Keeps what was changed by hand, under the revision of the event recorded last."""
        self.session.add(
            LogEntry(
                study_id=self.study.id,
                revision=self.study.revision,
                kind=kind,
                number=number,
                before=before,
                after=after,
                reason=reason,
                created_at=self.now,
            )
        )

    def audit(self, action: str, number: int | None = None, **details: Any) -> None:
        """Of the study, or of one of its trials."""
        what, where = ("study", "") if number is None else ("trial", f"/trials/{number}")
        target = f"studies/{self.study.name}{where}"
        audit.record(
            self.session,
            self.study.project_id,
            by=self.by,
            action=f"{what}.{action}",
            target=target,
            at=self.now,
            **details,
        )

    def move(self, trial: Trial, to: TrialState) -> None:
        """Moves a trial and the study's counters with it.  Raises: IllegalMove."""
        check_move(trial.number, cast(TrialState, trial.state), to)
        self.recount(trial, to)

    def recount(self, trial: Trial, to: TrialState) -> None:
        """As `move`, but asks nobody: for corrections, and for trials that are just being made (state '')."""
        self._count(trial, -1)
        trial.state = to
        self._count(trial, +1)

    def _count(self, trial: Trial, by: int) -> None:
        if not trial.state or trial.state == "removed":
            return
        counter = f"n_{trial.state}"
        setattr(self.study, counter, getattr(self.study, counter) + by)
        if trial.attempt == 0 and trial.state in FINISHED:
            self.study.n_imported += by


#: Written once: to put a query together takes as long as to ask it, and these two stand at the start of everything.
_OPEN = select(
    Study,
    database_now(),
    exists().where(Trial.study_id == Study.id, Trial.state == "running", Trial.lease_expires_at <= database_now()),
).where(Study.project_id == bindparam("project_id"), Study.name == bindparam("name"), Study.deleted_at.is_(None))
_LOCKED = _OPEN.with_for_update(of=Study)


def open_study(session: Session, address: Address, *, lock: bool = False) -> OpenStudy:
    """Finds a study; with `lock` nobody else writes to it until the transaction ends.

    Raises: StudyNotFound, StudyReplaced.
    """
    place = {"project_id": address.project_id, "name": address.name}
    row = session.execute(_LOCKED if lock else _OPEN, place).one_or_none()
    if row is None:
        raise StudyNotFound(f"there is no study {address.name!r}; GET /v1/studies lists them")
    study, now, has_overdue = row
    check_uid(study, address.uid)
    return OpenStudy(session, study, definition_of(session, study), now, has_overdue, address.by)


def check_uid(study: Study, uid: str | None) -> None:
    """Raises: StudyReplaced, if the caller knows another study under this name."""
    if uid is not None and uid != study.uid:
        raise StudyReplaced(
            f"the name {study.name!r} now means another study (uid {study.uid}, you know {uid})", study_uid=study.uid
        )


def definition_of(session: Session, study: Study) -> Definition:
    """The study's definition with its current space; of all that, only the space changes, and its version with it."""
    key = (study.id, study.uid, study.space_version)  # an import may bring the uid of a purged study back, never its id
    known = _definitions.get(key)
    if known is None:
        row = session.execute(
            select(SpaceVersion.space, SpaceVersion.constraints).where(
                SpaceVersion.study_id == study.id, SpaceVersion.version == study.space_version
            )
        ).one()
        known = Definition(
            space=SearchSpace.from_json(row.space, row.constraints),
            objectives=objectives_from_json(study.objectives),
            outcomes=outcomes_from_json(study.outcomes),
            algorithm=study.algorithm,
            pruning=PruningRule.from_json(study.pruning),
            seed=study.seed,
        )
        if len(_definitions) >= DEFINITIONS_KEPT:
            _definitions.clear()
        _definitions[key] = known
    return known


_definitions: dict[tuple[int, str, int], Definition] = {}


def insert(session: Session, address: Address, definition: Definition, settings: Mapping[str, Any]) -> OpenStudy:
    """Makes the study's row and the first version of its space. `settings`: what a PATCH may change later.

    Raises: LimitReached; sqlalchemy.exc.IntegrityError, if another transaction took the name first.
    """
    _check_room(session, address.project_id)
    now = session.execute(select(database_now())).scalar_one()
    study = Study(
        project_id=address.project_id,
        uid=secrets.token_hex(12),
        name=address.name,
        state="active",
        objectives=[objective.to_json() for objective in definition.objectives],
        outcomes=[outcome.to_json() for outcome in definition.outcomes],
        algorithm=dict(definition.algorithm),
        pruning=None if definition.pruning.rule == "off" else definition.pruning.to_json(),
        seed=definition.seed,
        space_version=1,
        description=settings["description"],
        tags=settings["tags"],
        stop=settings["stop"],
        metafeatures=settings["metafeatures"],
        warm_start=settings["warm_start"],
        max_retries=settings["max_retries"],
        next_number=1,
        revision=0,
        n_imported=0,
        n_changes=0,
        paused_seconds=0.0,
        created_at=now,
        **{f"n_{state}": 0 for state in VISIBLE_STATES},
    )
    session.add(study)
    session.flush()
    here = OpenStudy(session, study, definition, now, by=address.by)
    add_space_version(here, definition.space, version=1)
    write_tags(session, study)
    here.record("study.updated", study.state)
    return here


def _check_room(session: Session, project_id: int) -> None:
    """Deleted studies count until they are gone. Several at once may pass together; the limit need not be exact."""
    limit = most(session).studies_per_project
    if session.execute(select(func.count()).where(Study.project_id == project_id)).scalar_one() >= limit:
        raise LimitReached(
            f"the project holds {limit} studies, deleted ones of the last days included, which is the most that this "
            "server takes; purge some, or raise METATUNE_MAX_STUDIES_PER_PROJECT"
        )


def add_space_version(here: OpenStudy, space: SearchSpace, *, version: int) -> None:
    here.session.add(
        SpaceVersion(
            study_id=here.study.id,
            version=version,
            space=space.to_json(),
            constraints=list(space.constraints),
            created_at=here.now,
        )
    )
    here.study.space_version = version


def write_tags(session: Session, study: Study) -> None:
    session.execute(delete(StudyTag).where(StudyTag.study_id == study.id))
    session.add_all(StudyTag(study_id=study.id, name=name, value=value) for name, value in study.tags.items())


def space_versions(here: OpenStudy) -> Sequence[SpaceVersion]:
    return here.session.scalars(
        select(SpaceVersion).where(SpaceVersion.study_id == here.study.id).order_by(SpaceVersion.version)
    ).all()


def page(
    session: Session,
    project_id: int,
    *,
    state: str | None,
    tags: Mapping[str, str],
    prefix: str | None,
    after: str | None,
    limit: int,
) -> Sequence[Study]:
    """By name. A prefix is a range of names: LIKE would take `_` for any letter and, on SQLite, ignore case."""
    name: ColumnElement[str] = (
        Study.name.collate("C") if session.get_bind().dialect.name == "postgresql" else Study.name.expression
    )
    query = select(Study).where(Study.project_id == project_id, Study.deleted_at.is_(None))
    if state is not None:
        query = query.where(Study.state == state)
    for tag, value in tags.items():
        query = query.where(
            exists().where(StudyTag.study_id == Study.id, StudyTag.name == tag, StudyTag.value == value)
        )
    if prefix:
        query = query.where(name >= prefix, name < prefix + "~")  # which sorts behind every letter of a name
    if after is not None:
        query = query.where(name > after)
    return session.scalars(query.order_by(name).limit(limit)).all()


def best(here: OpenStudy, *, everywhere: bool = False) -> Trial | None:
    """The best feasible complete trial of a study with one objective; of equals the first.

    `everywhere` counts trials that the current space no longer allows.
    """
    if not here.definition.is_single:
        return None
    order = Trial.value.asc() if here.definition.direction == "minimize" else Trial.value.desc()
    query = (
        select(Trial)
        .where(
            Trial.study_id == here.study.id,
            Trial.state == "complete",
            Trial.value.is_not(None),
            Trial.feasible.is_(True),
        )
        .order_by(order, Trial.number)
        .limit(1)
    )
    return here.session.scalars(query if everywhere else query.where(Trial.in_space.is_(True))).one_or_none()


def best_since(here: OpenStudy) -> int | None:
    """The study's revision at which its best value was told first: a later equal one is no improvement."""
    found = best(here)
    if found is None:
        return None
    return here.session.execute(
        select(func.min(Trial.finished_revision)).where(
            Trial.study_id == here.study.id,
            Trial.state == "complete",
            Trial.value == found.value,
            Trial.feasible.is_(True),
            Trial.in_space.is_(True),
        )
    ).scalar_one()


def complete_since(here: OpenStudy, revision: int, most: int) -> int:
    """How many trials were completed after that revision of the study, counted up to `most`."""
    since = (
        select(Trial.id)
        .where(Trial.study_id == here.study.id, Trial.state == "complete", Trial.finished_revision > revision)
        .limit(most)
    )
    return here.session.execute(select(func.count()).select_from(since.subquery())).scalar_one()


def told_cost(here: OpenStudy) -> float:
    total = here.session.execute(
        select(func.sum(Trial.cost)).where(Trial.study_id == here.study.id, Trial.state != "removed")
    ).scalar_one()
    return float(total or 0.0)


def events_after(session: Session, study_id: int, revision: int, limit: int) -> Sequence[Event]:
    return session.scalars(
        select(Event).where(Event.study_id == study_id, Event.revision > revision).order_by(Event.revision).limit(limit)
    ).all()
