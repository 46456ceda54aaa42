"""A study as one document: exported, imported, copied. Everything but the lease tokens.

A trial that was running when it was exported waits after the import: its lease stayed behind.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import idempotency, reports, rungs, studies, trials
from app.db.idempotency import Once
from app.db.session import Store, most
from app.db.studies import Address, OpenStudy
from app.db.tables import Event, LogEntry, Report, SpaceVersion, Study, Trial
from app.definition import Definition, Direction
from app.errors import FieldError, Invalid, LimitReached, NameTaken, StudyNotFound
from app.lifecycle import FINISHED, Source, StudyState, TrialState
from app.search.space import SearchSpace
from app.search.values import name_problem
from app.services.define_study import SETTINGS, Given, check_settings, define

FORMAT: Final = 1
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]


def _instant(given: datetime) -> datetime:
    try:
        return given.astimezone(UTC)
    except OverflowError as problem:
        raise ValueError("a time must lie in the years 1 to 9999 of UTC") from problem


def _word(given: str) -> str:
    problem = name_problem(given)
    if problem is not None:
        raise ValueError(f"a name {problem}")
    return given


def _sayable(given: Any) -> Any:
    """Stored JSON has no NaN and no infinity."""
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError(f"numbers must be finite, got {given}")
    for item in given.values() if isinstance(given, dict) else given if isinstance(given, list) else ():
        _sayable(item)
    return given


Instant = Annotated[AwareDatetime, AfterValidator(_instant)]
Word = Annotated[str, AfterValidator(_word)]
Anything = Annotated[dict[str, Any], AfterValidator(_sayable)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


class ObjectiveDocument(Part):
    name: Word
    direction: Direction


class OutcomeDocument(Part):
    name: Word
    at_most: FiniteFloat | None = None
    at_least: FiniteFloat | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> OutcomeDocument:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("an outcome has `at_most` or `at_least`")
        return self


class StopDocument(Part):
    max_trials: Annotated[int, Field(ge=1, le=2**53)] | None = None
    target: FiniteFloat | dict[Word, FiniteFloat] | None = None
    patience: Annotated[int, Field(ge=1, le=2**53)] | None = None
    max_seconds: Annotated[FiniteFloat, Field(gt=0)] | None = None
    max_cost: Annotated[FiniteFloat, Field(gt=0)] | None = None


class BelievedDocument(Part):
    mean: list[FiniteFloat] | None = None
    std: list[FiniteFloat] | None = None
    acquisition: FiniteFloat
    feasibility: FiniteFloat | None = None


class OriginDocument(Part):
    source: Source
    prior_weight: FiniteFloat = 0.0
    speculated: bool = False
    why: str | None = None
    exploration: FiniteFloat | None = None
    believed: BelievedDocument | None = None
    pending: list[tuple[Count, Count]] | None = None


class SpaceDocument(Part):
    version: Annotated[int, Field(ge=1, le=2**31)]
    space: dict[str, Any]
    constraints: list[str]
    created_at: Instant


class ReportDocument(Part):
    attempt: Count
    step: Count
    values: dict[str, FiniteFloat | Literal["nan", "inf", "-inf"]]
    created_at: Instant


class TrialDocument(Part):
    number: Annotated[int, Field(ge=1, le=2**53)]
    state: TrialState
    attempt: Count
    params: dict[str, bool | int | FiniteFloat | str]
    is_partial: bool = False
    space_version: Annotated[int, Field(ge=1)]
    values: dict[str, FiniteFloat] | None = None
    feasible: bool | None = None
    noise: Annotated[FiniteFloat, Field(ge=0)] | None = None
    cost: Annotated[FiniteFloat, Field(ge=0)] | None = None
    metadata: Anything = Field(default_factory=dict)
    reason: str | None = None
    origin: OriginDocument
    worker: str | None = None
    expiries: Count = 0
    checkpoint: str | None = None
    until_step: Count | None = None
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    finished_revision: Count | None = None
    reports: list[ReportDocument] = Field(default_factory=list)


class EventDocument(Part):
    revision: Count
    type: Annotated[str, Field(max_length=32)]
    number: Count | None
    state: Annotated[str, Field(max_length=16)]
    created_at: Instant


class LogDocument(Part):
    revision: Count
    kind: Annotated[str, Field(max_length=32)]
    number: Count | None
    before: Anything | None
    after: Anything | None
    reason: str | None
    created_at: Instant


class StudyDocument(Part):
    """`GET …/export`."""

    format: Literal[1] = FORMAT
    name: Name
    uid: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]
    state: StudyState
    description: str
    tags: dict[Word, str]
    stop: StopDocument
    metafeatures: dict[Word, FiniteFloat]
    warm_start: Literal["auto", "off"] | list[Name]
    max_retries: Annotated[int, Field(ge=0, le=1000)]
    objectives: Annotated[list[ObjectiveDocument], Field(min_length=1)]
    outcomes: list[OutcomeDocument]
    algorithm: Anything
    pruning: Anything | None
    seed: Count
    space_version: Annotated[int, Field(ge=1)]
    revision: Count
    paused_seconds: Annotated[FiniteFloat, Field(ge=0)]
    paused_at: Instant | None = None
    first_ask_at: Instant | None
    created_at: Instant
    spaces: Annotated[list[SpaceDocument], Field(min_length=1)]
    trials: list[TrialDocument]
    events: list[EventDocument]
    log: list[LogDocument]

    @model_validator(mode="after")
    def _is_whole(self) -> StudyDocument:
        numbers = [trial.number for trial in self.trials]
        if numbers != list(range(1, len(numbers) + 1)):
            raise ValueError("trials must be numbered 1, 2, 3, … with none missing; removed ones keep their place")
        versions = [space.version for space in self.spaces]
        if self.space_version not in versions or len(set(versions)) != len(versions):
            raise ValueError(f"space_version {self.space_version} must be among the spaces, each there once")
        for kind, revisions in (("events", [e.revision for e in self.events]), ("log", [e.revision for e in self.log])):
            if len(set(revisions)) != len(revisions) or any(revision > self.revision for revision in revisions):
                raise ValueError(f"the revisions of {kind} must differ and be at most {self.revision}")
        for trial in self.trials:
            steps = [(report.attempt, report.step) for report in trial.reports]
            if len(set(steps)) != len(steps):
                raise ValueError(f"trial {trial.number} reports one step twice in one attempt")
        return self


def export(store: Store, address: Address) -> StudyDocument:
    with store.read(address.project_id) as session:
        return document(studies.open_study(session, address))


def document(here: OpenStudy) -> StudyDocument:
    session, study = here.session, here.study
    by_trial: dict[int, list[ReportDocument]] = {}
    own = select(Report).join(Trial, Trial.id == Report.trial_id).where(Trial.study_id == study.id)
    for report in session.scalars(own.order_by(Report.trial_id, Report.attempt, Report.step)):
        by_trial.setdefault(report.trial_id, []).append(ReportDocument.model_validate(report))
    columns = {name: getattr(study, name) for name in StudyDocument.model_fields if hasattr(Study, name)}
    return StudyDocument(
        **columns,
        spaces=[SpaceDocument.model_validate(version) for version in studies.space_versions(here)],
        trials=[_trial_document(trial, by_trial.get(trial.id, [])) for trial in trials.every(here)],
        events=[EventDocument.model_validate(row) for row in _rows(here, Event)],
        log=[LogDocument.model_validate(row) for row in _rows(here, LogEntry)],
    )


def _rows(here: OpenStudy, table: type[Event] | type[LogEntry]) -> Sequence[Any]:
    return here.session.scalars(select(table).where(table.study_id == here.study.id).order_by(table.revision)).all()


def _trial_document(trial: Trial, reports: list[ReportDocument]) -> TrialDocument:
    names = set(TrialDocument.model_fields) - {"metadata", "reports"}
    return TrialDocument(**{name: getattr(trial, name) for name in names}, metadata=trial.info, reports=reports)


# --- import -----------------------------------------------------------------------------------------------------


def import_study(
    store: Store, address: Address, whole: StudyDocument, *, once: Once | None, copy_of: str | None = None
) -> OpenStudy:
    """All or nothing.  Raises: NameTaken, and Invalid for a document whose parts do not fit together."""
    given = Given(
        address.name,
        {
            "space": next(space.space for space in whole.spaces if space.version == whole.space_version),
            "constraints": next(space.constraints for space in whole.spaces if space.version == whole.space_version),
            "objectives": [one.model_dump() for one in whole.objectives],
            "outcomes": [one.model_dump() for one in whole.outcomes],
            "algorithm": whole.algorithm,
            "pruning": whole.pruning or "off",
            "seed": whole.seed,
        },
    )
    try:
        definition = define(given)
    except (KeyError, TypeError) as problem:
        raise Invalid(
            f"the definition in the document is not whole: {problem}", errors=[FieldError("", str(problem))]
        ) from problem
    for index, version in enumerate(whole.spaces):
        _parse(version, index)
    settings = {setting: getattr(whole, setting) for setting in SETTINGS}
    settings["stop"] = whole.stop.model_dump(exclude_none=True)
    check_settings(definition, settings)
    try:
        return _import(store, address, whole, definition, settings, once, copy_of)
    except IntegrityError:  # another call made it between our look and our insert, perhaps this very one
        return _import(store, address, whole, definition, settings, once, copy_of)


def _import(
    store: Store,
    address: Address,
    whole: StudyDocument,
    definition: Definition,
    settings: dict[str, Any],
    once: Once | None,
    copy_of: str | None,
) -> OpenStudy:
    name = address.name
    with store.write(address.project_id) as session:
        is_free = _is_free(session, address.project_id, name)
        before = idempotency.remembered(session, once)  # after the name: who sees it taken by this call sees its key
        if before is not None:
            return studies.open_study(session, Address(address.project_id, before["name"], before["uid"]))
        if not is_free:
            raise NameTaken(f"study {name!r} is there already; import it under another name with ?name=another")
        here = studies.insert(session, address, definition, settings)
        _take_uid(here, whole.uid)
        _fill(here, whole)
        here.audit("imported" if copy_of is None else "copied", uid=here.study.uid, copy_of=copy_of)
        session.flush()
        idempotency.remember(session, once, {"name": name, "uid": here.study.uid}, here.now)
        return here


def _take_uid(here: OpenStudy, uid: str) -> None:
    """Its own again, unless a study has it: this project's, or one that this transaction must not see."""
    own = here.study.uid
    here.session.flush()
    try:
        with here.session.begin_nested():
            here.session.execute(update(Study).where(Study.id == here.study.id).values(uid=uid))
    except IntegrityError:
        uid = own
    here.study.uid = uid


def copy(store: Store, address: Address, *, name: str, once: Once | None) -> OpenStudy:
    """A study of its own with the same definition, trials and numbers.  Raises: NameTaken, StudyNotFound."""
    with store.read(address.project_id) as session:
        before = idempotency.remembered(session, once)
        if before is not None:  # also when the source is gone by now
            return studies.open_study(session, Address(address.project_id, before["name"], before["uid"]))
    whole = export(store, address)
    return import_study(store, replace(address, name=name, uid=None), whole, once=once, copy_of=address.name)


def _parse(version: SpaceDocument, index: int) -> SearchSpace:
    try:
        return SearchSpace.from_json(version.space, version.constraints)
    except Invalid as problem:
        problem.errors = tuple(FieldError(f"/spaces/{index}{e.pointer}", e.detail) for e in problem.errors)
        raise


def _is_free(session: Session, project_id: int, name: str) -> bool:
    try:
        studies.open_study(session, Address(project_id, name))
    except StudyNotFound:
        return True
    return False


def _fill(here: OpenStudy, whole: StudyDocument) -> None:
    """The rows of the document, under the new study."""
    session, study = here.session, here.study
    session.flush()
    session.query(Event).where(Event.study_id == study.id).delete()
    session.query(SpaceVersion).where(SpaceVersion.study_id == study.id).delete()
    session.expire(study)
    session.add_all(SpaceVersion(study_id=study.id, **space.model_dump()) for space in whole.spaces)
    study.space_version, study.state = whole.space_version, whole.state
    study.paused_at = (whole.paused_at or here.now) if whole.state == "paused" and whole.first_ask_at else None
    study.paused_seconds, study.first_ask_at, study.created_at = (
        whole.paused_seconds,
        whole.first_ask_at,
        whole.created_at,
    )
    if len(whole.trials) > (limit := most(session).trials_per_study):
        raise LimitReached(f"a study may hold {limit} trials here, this one brings {len(whole.trials)}")
    made = [_trial(here, one) for one in whole.trials]
    session.add_all(made)
    session.flush()
    for trial, one in zip(made, whole.trials, strict=True):
        reports.bring(here, trial, [(told.attempt, told.step, told.values, told.created_at) for told in one.reports])
        if one.state == "paused":
            _pause_again(here, trial)
    session.add_all(Event(study_id=study.id, **event.model_dump()) for event in whole.events)
    session.add_all(LogEntry(study_id=study.id, **entry.model_dump()) for entry in whole.log)
    study.next_number, study.revision = len(made) + 1, whole.revision
    session.flush()


def _trial(here: OpenStudy, one: TrialDocument) -> Trial:
    definition = here.definition
    fields = one.model_dump(exclude={"reports", "metadata", "state", "values", "feasible", "reason", "origin"})
    missing = one.state == "complete" and not set(definition.measured) <= set(one.values or {})
    if missing:
        raise Invalid(
            f"trial {one.number} is complete without a value for each of {', '.join(definition.measured)}",
            errors=[FieldError(f"/trials/{one.number - 1}/values", "is not whole")],
        )
    state: TrialState = "waiting" if one.state in ("running", "paused") else one.state  # see _pause_again
    trial = Trial(
        study_id=here.study.id,
        state="",
        config_key=None if one.is_partial else definition.space.key(one.params),
        in_space=_in_space(definition.space, one),
        info=one.metadata,
        origin=one.origin.model_dump(exclude_none=True),
        stop_requested=False,
        waiting_rank=(trials.GIVEN_BACK if one.attempt else trials.ENQUEUED) if state == "waiting" else None,
        waiting_since=here.now if state == "waiting" else None,
        **fields,
        **trials.result_fields(definition, one.values, one.feasible, one.reason),
    )
    if state in FINISHED and trial.finished_revision is None:
        trial.finished_revision = 0
    here.recount(trial, state)
    return trial


def _pause_again(here: OpenStudy, trial: Trial) -> None:
    """A paused trial stays paused if it reached a rung of this study; else it waits, to be handed out as it is."""
    if not here.definition.pruning.promote or rungs.highest(here, trial) is None:
        return
    here.recount(trial, "paused")
    trial.waiting_rank = trial.waiting_since = None
    rungs.mark(here, trial)


def _in_space(space: SearchSpace, one: TrialDocument) -> bool:
    try:
        space.check(one.params, partial=one.is_partial)
    except Invalid:
        return False
    return True


# --- csv --------------------------------------------------------------------------------------------------------

_COLUMNS = ("number", "state", "attempt", "feasible", "noise", "cost", "reason", "worker", "space_version")
_TIMES = ("created_at", "started_at", "finished_at")


def csv_lines(whole: StudyDocument) -> Iterator[str]:
    """One line a trial: its columns, `params.*` (of every version of the space) and `values.*`."""
    params = list(dict.fromkeys(name for trial in whole.trials for name in trial.params))
    values = [one.name for one in whole.objectives] + [one.name for one in whole.outcomes]
    header = [*_COLUMNS, *(f"params.{name}" for name in params), *(f"values.{name}" for name in values), *_TIMES]
    yield _line(header)
    for trial in whole.trials:
        if trial.state == "removed":
            continue
        row = [getattr(trial, column) for column in _COLUMNS]
        row += [trial.params.get(name) for name in params]
        row += [(trial.values or {}).get(name) for name in values]
        row += [None if at is None else at.isoformat() for at in (getattr(trial, time) for time in _TIMES)]
        yield _line(row)


def _line(cells: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    return buffer.getvalue()


def _cell(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula gets a quote in front."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
