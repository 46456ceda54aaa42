"""Trials: the rows behind ask and tell, and the questions asked of them."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, bindparam, case, event, func, or_, select, text
from sqlalchemy.orm import Session

from app.db.session import database_now, most
from app.db.studies import OpenStudy
from app.db.tables import Study, Trial
from app.definition import Definition
from app.errors import LeaseLost, LimitReached, TrialNotFound, TrialRemoved
from app.figures import EXPIRIES
from app.lifecycle import TrialState
from app.measurement import Verdict
from app.search.suggest import Suggestion

#: The order in which waiting trials are handed out: those that were running once go first.
GIVEN_BACK, ENQUEUED = 0, 1

Order = Literal["number", "value", "-value"]

_NEXT_IDS = text("SELECT nextval(pg_get_serial_sequence('trials', 'id')) FROM generate_series(1, :n)")


def is_full(here: OpenStudy) -> bool:
    return here.study.next_number > most(here.session).trials_per_study


def reserved_ids(here: OpenStudy, n: int) -> Iterator[int]:
    """For n new rows, on PostgreSQL, where rows that bring their ids go as one prepared statement; elsewhere none.

    Else their ids come back from a statement of n times all columns, whose text the driver has to read every time. An
    id that is left over leaves a gap, which means nothing.
    """
    session = here.session
    if n < 2 or session.get_bind().dialect.name != "postgresql":
        return iter(())
    return iter(session.scalars(_NEXT_IDS, {"n": n}).all())


def make(
    here: OpenStudy,
    *,
    state: TrialState,
    params: Mapping[str, Any],
    origin: Mapping[str, Any],
    config_key: str | None,
    attempt: int = 0,
    in_space: bool = True,
    **fields: Any,
) -> Trial:
    """A new trial under the next number of the study's counter.  Raises: LimitReached."""
    if is_full(here):
        raise LimitReached(
            f"study {here.study.name!r} holds {most(here.session).trials_per_study} trials, which is the most that "
            "this server takes; go on in another one, or raise METATUNE_MAX_TRIALS_PER_STUDY"
        )
    trial = Trial(
        study_id=here.study.id,
        number=here.study.next_number,
        state="",
        attempt=attempt,
        params=dict(params),
        is_partial=config_key is None,
        config_key=config_key,
        space_version=here.study.space_version,
        in_space=in_space,
        origin=dict(origin),
        info=fields.pop("info", {}),
        created_at=fields.pop("created_at", here.now),
        expiries=0,
        stop_requested=False,
        **fields,
    )
    here.study.next_number += 1
    here.recount(trial, state)
    here.session.add(trial)
    here.record("trial.created", state, trial.number)
    return trial


def lease_fields(here: OpenStudy, *, worker: str | None, seconds: float) -> dict[str, Any]:
    """A new lease, as the columns of the trial that it changes."""
    return {
        "worker": worker,
        "lease_token": secrets.token_urlsafe(16),
        "lease_seconds": seconds,
        "lease_expires_at": here.now + timedelta(seconds=seconds),
        "started_at": here.now,
    }


def lease(here: OpenStudy, trial: Trial, *, worker: str | None, seconds: float) -> None:
    """Gives the trial to a worker under a new token, as one attempt more."""
    first_start = trial.started_at
    for column, value in lease_fields(here, worker=worker, seconds=seconds).items():
        setattr(trial, column, value)
    trial.started_at = first_start or here.now
    trial.attempt += 1
    trial.stop_requested = False
    trial.waiting_rank = trial.waiting_since = None


def extend(here: OpenStudy, trial: Trial) -> None:
    """Of a running trial, from now on."""
    trial.lease_expires_at = here.now + timedelta(seconds=trial.lease_seconds or 0.0)


def put_back(here: OpenStudy, trial: Trial, *, rank: int) -> None:
    """Makes the trial wait for the next asker."""
    here.move(trial, "waiting")
    trial.waiting_rank, trial.waiting_since = rank, here.now
    trial.lease_expires_at = None


def result_fields(
    definition: Definition, values: Mapping[str, float] | None, feasible: bool | None, reason: str | None
) -> dict[str, Any]:
    """What a result writes into the trial's columns."""
    return {
        "values": None if values is None else dict(values),
        "value": values.get(definition.objectives[0].name) if values and definition.is_single else None,
        "feasible": feasible,
        "reason": reason,
    }


def write_verdict(here: OpenStudy, trial: Trial, verdict: Verdict) -> None:
    fields = result_fields(here.definition, verdict.values, verdict.feasible, verdict.reason)
    for column, value in fields.items():
        setattr(trial, column, value)


def check_lease(trial: Trial, token: str | None) -> None:
    """Raises: LeaseLost, if the token is no longer the trial's. No token is a late word, which needs no lease."""
    if token is not None and token != trial.lease_token:
        raise LeaseLost(
            f"trial {trial.number} is in other hands now (attempt {trial.attempt}, {trial.state}); "
            "stop working on it, or tell without `lease` to offer the result anyway",
            state=trial.state,
            attempt=trial.attempt,
        )


def origin_json(suggestion: Suggestion, *, speculated: bool = False) -> dict[str, Any]:
    """What is kept of where a trial came from; `believed` and `pending` are for its explanation, see `app.search.free`.

    `believed.mean` and `.std` have a number for every objective; `pending` holds ranges of numbers.
    """
    origin: dict[str, Any] = {
        "source": suggestion.source,
        "prior_weight": suggestion.prior_weight,
        "speculated": speculated,
    }
    if suggestion.why:
        origin["why"] = suggestion.why
    if suggestion.exploration is not None:
        origin["exploration"] = suggestion.exploration
    if suggestion.pending:
        origin["pending"] = _ranges(suggestion.pending)
    believed = {
        "mean": suggestion.predicted_mean,
        "std": suggestion.predicted_std,
        "acquisition": suggestion.acquisition,
        "feasibility": suggestion.feasibility,
    }
    if suggestion.acquisition is not None:
        origin["believed"] = {name: value for name, value in believed.items() if value is not None}
    return origin


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Rising numbers as [first, last] of every run: a batch of a thousand is one."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def get(here: OpenStudy, number: int) -> Trial:
    """Raises: TrialNotFound, TrialRemoved."""
    return existing(here, numbered(here, [number]), number)


def existing(here: OpenStudy, found: Mapping[int, Trial], number: int) -> Trial:
    """The trial of that number among those that were looked up.  Raises: TrialNotFound, TrialRemoved."""
    trial = found.get(number)
    if trial is None:
        raise TrialNotFound(
            f"study {here.study.name!r} has no trial {number}; its last is {here.study.next_number - 1}"
        )
    if trial.state == "removed":
        raise TrialRemoved(f"trial {number} of study {here.study.name!r} was removed")
    return trial


_NUMBERED = select(Trial).where(
    Trial.study_id == bindparam("study_id"), Trial.number.in_(bindparam("numbers", expanding=True))
)


def numbered(here: OpenStudy, numbers: Iterable[int]) -> dict[int, Trial]:
    """Those of the numbers that exist, removed ones included."""
    found = here.session.scalars(_NUMBERED, {"study_id": here.study.id, "numbers": list(numbers)})
    return {trial.number: trial for trial in found}


# --- leases that ran out ----------------------------------------------------------------------------------------


def expired_studies(session: Session) -> Sequence[int]:
    """Ids of the studies with a lease that ran out."""
    return session.scalars(
        select(Trial.study_id).where(Trial.state == "running", Trial.lease_expires_at <= database_now()).distinct()
    ).all()


def reclaim_expired(here: OpenStudy) -> None:
    """Leases that ran out: their trials wait again, or are lost after `max_retries` times. Needs the study's lock."""
    if not here.has_overdue:
        return
    overdue = here.session.scalars(
        select(Trial)
        .where(Trial.study_id == here.study.id, Trial.state == "running", Trial.lease_expires_at <= here.now)
        .order_by(Trial.lease_expires_at, Trial.number)
    ).all()
    for trial in overdue:
        trial.expiries += 1
        if trial.expiries >= max(1, here.study.max_retries):
            here.move(trial, "lost")
            trial.lease_expires_at = trial.lease_token = None
            trial.reason = f"its lease ran out {trial.expiries} times"
        else:
            ran_out_at = trial.lease_expires_at
            put_back(here, trial, rank=GIVEN_BACK)
            trial.waiting_since = ran_out_at
        here.record("trial.expired", trial.state, trial.number)
    here.session.flush()  # what is asked of the database next must not find them running
    states = Counter(trial.state for trial in overdue)

    def count(_: Session) -> None:
        for state, n in states.items():
            EXPIRIES.labels(state).inc(n)

    event.listen(here.session, "after_commit", count, once=True)  # what is undone did not happen


# --- hand-out ---------------------------------------------------------------------------------------------------


def waiting(here: OpenStudy, limit: int) -> Sequence[Trial]:
    """In the order of hand-out."""
    if here.study.n_waiting == 0:
        return []
    return here.session.scalars(
        select(Trial)
        .where(Trial.study_id == here.study.id, Trial.state == "waiting")
        .order_by(Trial.waiting_rank, Trial.waiting_since, Trial.number)
        .limit(limit)
    ).all()


def held_by(here: OpenStudy, worker: str, limit: int) -> Sequence[Trial]:
    """Its running trials, those handed out in this very transaction included."""
    here.session.flush()
    return here.session.scalars(
        select(Trial)
        .where(Trial.study_id == here.study.id, Trial.state == "running", Trial.worker == worker)
        .order_by(Trial.number)
        .limit(limit)
    ).all()


def is_or_was_tried() -> ColumnElement[bool]:
    """Removing a trial forgets its result, but what was handed out once is not handed out again."""
    return or_(Trial.state != "removed", Trial.attempt > 0)


_TAKEN_AMONG = select(Trial.config_key).where(
    Trial.study_id == bindparam("study_id"),
    Trial.config_key.in_(bindparam("config_keys", expanding=True)),
    is_or_was_tried(),
)


def taken_among(here: OpenStudy, config_keys: Sequence[str]) -> set[str]:
    """Which of these configurations are in the study already, or were handed out before they were removed."""
    if not config_keys:
        return set()
    found = here.session.scalars(_TAKEN_AMONG, {"study_id": here.study.id, "config_keys": config_keys})
    return {key for key in found if key is not None}


def complete_params(here: OpenStudy, trial: Trial, params: Mapping[str, Any]) -> None:
    """Gives an enqueued trial the parameters it was left without."""
    trial.params, trial.is_partial = dict(params), False
    trial.config_key = here.definition.space.key(params)
    trial.space_version, trial.in_space = here.study.space_version, True


def give_up(here: OpenStudy, trial: Trial, reason: str) -> None:
    """An enqueued trial that cannot be run is infeasible, so that it does not stand in the way of the others."""
    here.move(trial, "infeasible")
    trial.reason = reason
    trial.waiting_rank = trial.waiting_since = None
    trial.finished_at = here.now
    trial.finished_revision = here.record("trial.finished", trial.state, trial.number)


# --- how many there are -------------------------------------------------------------------------------------------


#: What there is to do now, and what is being done.
LIVE = ("waiting", "running", "paused")


def live_counts(session: Session) -> dict[str, int]:
    """Of all studies of the session's project, by state, from the studies' own counters."""
    sums = [func.coalesce(func.sum(getattr(Study, f"n_{state}")), 0) for state in LIVE]
    row = session.execute(select(*sums).where(Study.deleted_at.is_(None))).one()
    return dict(zip(LIVE, map(int, row), strict=True))


# --- lists ------------------------------------------------------------------------------------------------------


def page(
    here: OpenStudy, *, states: Sequence[str], order: Order, after: tuple[float | None, int] | None, limit: int
) -> Sequence[Trial]:
    """One page, after the trial (value, number) that ended the last; by value, trials without one come last."""
    query = select(Trial).where(Trial.study_id == here.study.id)
    query = query.where(Trial.state.in_(states)) if states else query.where(Trial.state != "removed")
    if order == "number":
        if after is not None:
            query = query.where(Trial.number > after[1])
        return here.session.scalars(query.order_by(Trial.number).limit(limit)).all()
    has_none = case((Trial.value.is_(None), 1), else_=0)
    by_value = Trial.value.desc() if order == "-value" else Trial.value.asc()
    if after is not None:
        last, number = after
        if last is None:
            query = query.where(Trial.value.is_(None), Trial.number > number)
        else:
            beyond = Trial.value < last if order == "-value" else Trial.value > last
            query = query.where(or_(Trial.value.is_(None), beyond, and_(Trial.value == last, Trial.number > number)))
    return here.session.scalars(query.order_by(has_none, by_value, Trial.number).limit(limit)).all()


def measured(here: OpenStudy) -> Sequence[Trial]:
    """Complete, feasible trials that the current space allows."""
    return here.session.scalars(
        select(Trial)
        .where(
            Trial.study_id == here.study.id,
            Trial.state == "complete",
            Trial.feasible.is_(True),
            Trial.in_space.is_(True),
        )
        .order_by(Trial.number)
    ).all()


def reasons(here: OpenStudy, state: TrialState, *, limit: int) -> list[tuple[str, int]]:
    """Why trials are in that state, as their workers said it, with how many say so; the most frequent first."""
    count = func.count()
    rows = here.session.execute(
        select(Trial.reason, count)
        .where(Trial.study_id == here.study.id, Trial.state == state, Trial.reason.is_not(None))
        .group_by(Trial.reason)
        .order_by(count.desc(), Trial.reason)
        .limit(limit)
    )
    return [(str(reason), int(n)) for reason, n in rows]


def every(here: OpenStudy) -> Sequence[Trial]:
    """Removed ones included, by number."""
    return here.session.scalars(select(Trial).where(Trial.study_id == here.study.id).order_by(Trial.number)).all()
