"""Trials that a caller brings along: enqueued to be run, or imported with their results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from app.db import idempotency, reports, studies, trials
from app.db.idempotency import Once
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.errors import FieldError, Invalid, SpaceViolation
from app.measurement import Result, Verdict, judge
from app.search.free import free_point
from app.search.values import MAX_INTEGER


@dataclass(frozen=True)
class Given:
    """One trial as it was given. Without `result` it is enqueued."""

    params: Mapping[str, Any]
    result: Result | None = None
    reports: Mapping[int, float] = field(default_factory=dict)
    outside: Literal["refuse", "keep"] = "refuse"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def add(store: Store, address: Address, given: Sequence[Given], once: Once | None, *, many: bool) -> list[Trial]:
    """All or none of them, in the order given.

    Raises: SpaceViolation, InvalidMeasurement, with pointers under `/trials/{k}` if `many`; TrialRemoved, if the call
    comes again after one of them was removed.
    """
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        before = idempotency.remembered(session, once)
        if before is not None:
            found = trials.numbered(here, before["numbers"])
            return [trials.existing(here, found, number) for number in before["numbers"]]
        made = []
        for k, one in enumerate(given):
            try:
                made.append(_enqueue(here, one) if one.result is None else _import(here, one, one.result))
            except Invalid as problem:
                if many:
                    problem.errors = tuple(
                        replace(error, pointer=f"/trials/{k}{error.pointer}")
                        for error in problem.errors or (FieldError("", problem.detail),)
                    )
                raise
        session.flush()
        _add_reports(here, made, given)
        here.audit("added", made[0].number, n_trials=len(made), imported=sum(one.result is not None for one in given))
        idempotency.remember(session, once, {"numbers": [trial.number for trial in made]}, here.now)
        return made


def _enqueue(here: OpenStudy, given: Given) -> Trial:
    space = here.definition.space
    params = space.check(given.params, partial=True)
    is_partial = set(params) != set(space.active(params))
    if is_partial and space.constraints:
        _must_be_completable(here, params)
    return trials.make(
        here,
        state="waiting",
        params=params,
        origin={"source": "enqueued", "prior_weight": 0.0, "speculated": False},
        config_key=None if is_partial else space.key(params),
        info=dict(given.metadata),
        waiting_rank=trials.ENQUEUED,
        waiting_since=here.now,
    )


def _must_be_completable(here: OpenStudy, params: Mapping[str, Any]) -> None:
    """Raises: SpaceViolation, if no completion of the params satisfies the constraints."""
    space, study = here.definition.space, here.study
    point = free_point(space, seed=study.seed, number=study.next_number, taken=lambda _: False, fixed=params)
    if point is None:
        raise SpaceViolation(
            f"no completion of {dict(params)} satisfies the constraints {list(space.constraints)}",
            errors=[FieldError("/params", "has no completion that satisfies the constraints")],
        )


def _import(here: OpenStudy, given: Given, result: Result) -> Trial:
    space = here.definition.space
    in_space = True
    try:
        params: Mapping[str, Any] = space.check(given.params)
    except SpaceViolation:
        if given.outside != "keep" or not all(map(_is_storable, given.params.values())):
            raise
        params, in_space = given.params, False
    verdict = _verdict(here, given, result)
    trial = trials.make(
        here,
        state=verdict.state,
        params=params,
        origin={"source": "imported", "prior_weight": 0.0, "speculated": False},
        config_key=space.key(params),
        in_space=in_space,
        info=dict(given.metadata),
        noise=result.noise,
        cost=result.cost,
        created_at=given.created_at or here.now,
        started_at=given.started_at,
        finished_at=given.finished_at or here.now,
        finished_revision=here.study.revision + 1,
        **trials.result_fields(here.definition, verdict.values, verdict.feasible, verdict.reason),
    )
    return trial


def _is_storable(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= MAX_INTEGER


def _verdict(here: OpenStudy, given: Given, result: Result) -> Verdict:
    verdict = judge(here.definition, result)
    if verdict.state == "pruned" and given.reports and here.definition.is_single:
        last = given.reports[max(given.reports)]
        if math.isfinite(last):
            return replace(verdict, values={here.definition.objectives[0].name: last})
    return verdict


def _add_reports(here: OpenStudy, made: Sequence[Trial], given: Sequence[Given]) -> None:
    name = here.definition.objectives[0].name
    for trial, one in zip(made, given, strict=True):
        told = {
            step: {name: value if math.isfinite(value) else str(value)} for step, value in sorted(one.reports.items())
        }
        reports.bring(here, trial, [(trial.attempt, step, values, here.now) for step, values in told.items()])
