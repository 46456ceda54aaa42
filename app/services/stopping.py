"""When is a study over?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.db import studies, trials
from app.db.studies import OpenStudy
from app.db.tables import Trial
from app.search.constraints import Array
from app.search.options import ENQUEUED
from app.search.pareto import non_dominated


@dataclass(frozen=True)
class Budget:
    """How many trials may still be handed out (None: no limit), and why there will be no more, once it is 0."""

    left: int | None
    reason: str | None

    @property
    def allows_promotions(self) -> bool:
        """A paused trial was counted when it was handed out first: `max_trials` does not keep it from going on."""
        return self.reason in (None, "max_trials")


def budget(here: OpenStudy) -> Budget:
    """What the study's `stop` conditions leave."""
    stop, study = here.study.stop, here.study
    reason = _over_by_results(here)
    if reason is not None:
        return Budget(0, reason)
    # where nothing is suggested an ask waits for what may yet be enqueued, which is no reason to end
    enqueued = study.n_waiting if suggests_nothing(here) else None
    if "max_trials" in stop:
        n_finished = study.n_complete + study.n_pruned + study.n_failed + study.n_infeasible - study.n_imported
        spent = study.n_running + study.n_paused + n_finished
        left = max(0, stop["max_trials"] - spent)
        return Budget(left if enqueued is None else min(left, enqueued), None if left else "max_trials")
    return Budget(enqueued, None)


def suggests_nothing(here: OpenStudy) -> bool:
    return bool(here.definition.algorithm["name"] == ENQUEUED)


def _over_by_results(here: OpenStudy) -> str | None:
    """Which condition on results, cost or time holds. Looked at once in a transaction: asks bring no results."""
    place = ("over by results", here.study.id, here.study.n_changes)
    known: dict[Any, str | None] = here.session.info
    if place not in known:
        known[place] = _condition_that_holds(here)
    return known[place]


def _condition_that_holds(here: OpenStudy) -> str | None:
    stop = here.study.stop
    if "target" in stop and target_reached(here, stop["target"]):
        return "target"
    if "patience" in stop and stagnation(here, stop["patience"]) >= stop["patience"]:
        return "patience"
    if "max_seconds" in stop and active_seconds(here) >= stop["max_seconds"]:
        return "max_seconds"
    if "max_cost" in stop and studies.told_cost(here) >= stop["max_cost"]:
        return "max_cost"
    return None


def target_reached(here: OpenStudy, target: float | dict[str, float]) -> bool:
    """One objective: by the best trial. Several: by one trial that is good enough in each that is named."""
    if isinstance(target, dict):
        direction = {objective.name: objective.direction for objective in here.definition.objectives}
        return any(
            all(_at_least_as_good(trial.values[name], bound, direction[name]) for name, bound in target.items())
            for trial in trials.measured(here)
            if trial.values is not None
        )
    best = studies.best(here)
    return (
        best is not None and best.value is not None and _at_least_as_good(best.value, target, here.definition.direction)
    )


def _at_least_as_good(value: float, bound: float, direction: str) -> bool:
    return value <= bound if direction == "minimize" else value >= bound


def stagnation(here: OpenStudy, most: int) -> int:
    """Complete trials since the best one (several objectives: since the front last changed), counted up to `most`."""
    if here.definition.is_single:
        newest = studies.best_since(here)
    else:
        candidates = trials.measured(here)
        newest = None
        if candidates:
            front = non_dominated(minimised(here, candidates))
            newest = max(
                trial.finished_revision or 0 for trial, is_best in zip(candidates, front, strict=True) if is_best
            )
    return studies.complete_since(here, newest or 0, most)


def minimised(here: OpenStudy, measured: Sequence[Trial]) -> Array:
    """(n, objectives): the trials' values with the directions undone."""
    names = [objective.name for objective in here.definition.objectives]
    rows = [[(trial.values or {})[name] for name in names] for trial in measured]
    values: Array = np.array(rows, dtype=np.float64).reshape(len(rows), len(names)) * here.definition.goal.signs
    return values


def active_seconds(here: OpenStudy) -> float:
    """Since the first ask, pauses left out."""
    study = here.study
    if study.first_ask_at is None:
        return 0.0
    paused = study.paused_seconds
    if study.paused_at is not None:
        paused += (here.now - study.paused_at).total_seconds()
    return (here.now - study.first_ask_at).total_seconds() - paused
