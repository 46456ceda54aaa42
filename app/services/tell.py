"""Tell: how a trial ended. Idempotent by itself: the same result again changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.db import studies, trials
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.definition import SINGLE, Definition, escape
from app.errors import AppError, FieldError, InvalidMeasurement, LeaseLost, TrialFinishedDifferently
from app.lifecycle import FINISHED, FinishedState


@dataclass(frozen=True)
class Result:
    """As it was told. `value` is short for `values` of a study that measures one thing."""

    number: int
    state: FinishedState = "complete"
    value: float | None = None
    values: Mapping[str, float] | None = None
    noise: float | None = None
    cost: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    lease: str | None = None

    def told(self, definition: Definition) -> Mapping[str, float] | None:
        """The numbers by name; none if only a state was told."""
        if self.values is not None or self.value is None:
            return self.values
        return {definition.measured[0] if len(definition.measured) == 1 else SINGLE: self.value}


@dataclass(frozen=True)
class Outcome:
    """What a result does to its trial, once its numbers were looked at."""

    state: FinishedState
    values: dict[str, float] | None
    feasible: bool | None
    reason: str | None


def tell_many(store: Store, address: Address, results: list[Result]) -> list[Trial | AppError]:
    """In the order given, in one transaction; each takes effect or fails by itself.

    Raises: StudyNotFound, StudyReplaced.
    """
    with store.write() as session:
        here = studies.open_study(session, address, lock=True)
        answers: list[Trial | AppError] = []
        found = trials.numbered(here, {result.number for result in results})
        for result in results:
            try:
                answers.append(_tell(here, trials.existing(here, found, result.number), result))
            except AppError as problem:  # raised before anything of this result was written
                answers.append(problem)
        return answers


def _tell(here: OpenStudy, trial: Trial, result: Result) -> Trial:
    outcome = judge(here.definition, result)
    if trial.state in FINISHED:
        return _told_again(trial, result, outcome)
    check_lease(trial, result.lease)
    if outcome.state == "pruned":
        last = trials.last_report(here.session, trial)
        values = dict(last.values) if last is not None else None
        outcome = Outcome("pruned", values, None, outcome.reason)
    finish(here, trial, outcome, noise=result.noise, cost=result.cost)
    trial.info = {**trial.info, **result.metadata}
    here.record("trial.finished", trial.state, trial.number)
    return trial


def finish(here: OpenStudy, trial: Trial, outcome: Outcome, *, noise: float | None, cost: float | None) -> None:
    """Writes the result into the trial and moves it.  Raises: IllegalMove."""
    here.move(trial, outcome.state)
    write_outcome(here, trial, outcome)
    trial.noise, trial.cost = noise, cost
    trial.lease_token = trial.lease_expires_at = None
    trial.waiting_rank = trial.waiting_since = None
    trial.finished_at = here.now
    trial.finished_revision = here.study.revision + 1  # that of the event about to be recorded


def write_outcome(here: OpenStudy, trial: Trial, outcome: Outcome) -> None:
    """The result's columns."""
    for column, value in trials.outcome_fields(
        here.definition, outcome.values, outcome.feasible, outcome.reason
    ).items():
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


def judge(definition: Definition, result: Result) -> Outcome:
    """What the told numbers amount to. A non-finite objective is a failure with a reason, never data.

    Raises: InvalidMeasurement, if a name is missing or unknown or a state does not go with values.
    """
    told = result.told(definition)
    if result.state != "complete":
        if told is not None:
            raise InvalidMeasurement(
                f"a {result.state} trial has no values of its own; leave `state` out to tell a value",
                errors=[
                    FieldError(
                        "/value" if result.values is None else "/values", f"does not go with state {result.state!r}"
                    )
                ],
            )
        return Outcome(result.state, None, None, result.reason)
    if told is None:
        raise InvalidMeasurement(
            f"tell a number: {_example(definition)}, or a state: failed, infeasible, pruned",
            errors=[FieldError("/values", "is missing")],
        )
    check_names(definition, told)
    wrong = [f"{name} is {number}" for name, number in told.items() if not math.isfinite(number)]
    if wrong:
        return Outcome("failed", None, None, ", ".join(wrong) + (f" ({result.reason})" if result.reason else ""))
    values = {name: float(told[name]) for name in definition.measured}
    return Outcome("complete", values, definition.is_feasible(values), result.reason)


def check_names(definition: Definition, told: Mapping[str, float]) -> None:
    """Raises: InvalidMeasurement, naming every missing or unknown name."""
    problems = [
        FieldError(f"/values/{escape(name)}", "is missing" if name not in told else "is not measured by this study")
        for name in (*definition.measured, *told)
        if (name in told) != (name in definition.measured)
    ]
    if problems:
        raise InvalidMeasurement(
            f"this study measures {', '.join(definition.measured)}: tell {_example(definition)}", errors=problems
        )


def _example(definition: Definition) -> str:
    if definition.measured == (SINGLE,):
        return '{"value": 0.5}'
    return '{"values": {' + ", ".join(f'"{name}": 0.5' for name in definition.measured) + "}}"


def _told_again(trial: Trial, result: Result, outcome: Outcome) -> Trial:
    same_values = outcome.state == "pruned" or outcome.values == trial.values
    if outcome.state == trial.state and same_values and (result.noise, result.cost) == (trial.noise, trial.cost):
        return trial
    raise TrialFinishedDifferently(
        f"trial {trial.number} is {trial.state} already with another result, which stands; PATCH corrects it",
        here={"state": trial.state, "values": trial.values, "noise": trial.noise, "cost": trial.cost},
    )
