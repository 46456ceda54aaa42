"""What a study has seen, as arrays: finished and pending trials, objectives minimised, in order of number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.errors import InvalidMeasurement
from app.search.constraints import Array, Mask
from app.search.parameters import Value
from app.search.space import SearchSpace

State = Literal["complete", "pruned", "failed", "infeasible", "pending"]
Direction = Literal["minimize", "maximize"]
Side = Literal["at_most", "at_least"]


@dataclass(frozen=True)
class Record:
    """One trial as the model sees it; values and outcomes in the user's units (a pruned trial's: its last report)."""

    number: int
    params: Mapping[str, Value]
    state: State
    values: tuple[float, ...] | None = None
    outcomes: tuple[float, ...] | None = None
    noise: float | None = None  # standard error of the first objective
    cost: float | None = None


@dataclass(frozen=True)
class Goal:
    """Directions of the objectives and the bounds on the measured outcomes."""

    directions: tuple[Direction, ...]
    outcomes: tuple[tuple[Side, float], ...] = ()

    @property
    def signs(self) -> Array:
        """(m,) +1 to minimise, -1 to maximise: values times signs are minimised."""
        return np.array([1.0 if direction == "minimize" else -1.0 for direction in self.directions])

    @property
    def n_objectives(self) -> int:
        return len(self.directions)


@dataclass(frozen=True)
class History:
    """The trials of a study, n of them, ordered by number.

    numbers (n,); units (n, D) unit-cube rows, NaN where not active; objectives (n, m), minimised, NaN where not
    measured; violations (n, c), outcome minus bound, > 0 where broken, NaN where not measured; states (n,);
    noise_std (n,) standard errors of the first objective, NaN where not told; keys (n,) identities of configurations.
    """

    numbers: tuple[int, ...]
    units: Array
    objectives: Array
    violations: Array
    states: tuple[State, ...]
    noise_std: Array
    keys: tuple[str, ...]

    @classmethod
    def of(cls, space: SearchSpace, goal: Goal, records: Iterable[Record]) -> History:
        """Build the arrays.

        Args:
            records: trials in any order, also of earlier versions of the space.
        A trial whose values are not finite counts as failed; one whose outcomes are not finite as not measured there.
        Raises: InvalidMeasurement, if a trial has another number of values than the goal has objectives.
        """
        ordered = sorted(records, key=lambda record: record.number)
        n, m, c = len(ordered), goal.n_objectives, len(goal.outcomes)
        objectives, violations, noise_std = np.full((n, m), np.nan), np.full((n, c), np.nan), np.full(n, np.nan)
        states: list[State] = []
        signs = goal.signs
        for i, record in enumerate(ordered):
            state = record.state
            if state in ("complete", "pruned") and record.values is not None:
                if len(record.values) != m:
                    raise InvalidMeasurement(
                        f"trial {record.number} has {len(record.values)} values for {m} objectives"
                    )
                if all(math.isfinite(value) for value in record.values):
                    objectives[i] = signs * np.array(record.values, dtype=np.float64)
                else:
                    state = "failed"
            elif state == "complete":
                state = "failed"
            if state == "complete" and record.outcomes is not None:
                violations[i] = _violations(goal, record.outcomes)
            if record.noise is not None and math.isfinite(record.noise) and record.noise >= 0:
                noise_std[i] = record.noise
            states.append(state)
        return cls(
            numbers=tuple(record.number for record in ordered),
            units=space.encode_many([record.params for record in ordered], strict=False),
            objectives=objectives,
            violations=violations,
            states=tuple(states),
            noise_std=noise_std,
            keys=tuple(space.key(record.params) for record in ordered),
        )

    @property
    def n_trials(self) -> int:
        return len(self.numbers)

    def where(self, *states: State) -> Mask:
        """(n,) True for trials in one of the states."""
        return np.array([state in states for state in self.states], dtype=bool)

    @property
    def is_measured(self) -> Mask:
        """(n,) trials whose objectives are known."""
        return np.asarray(~np.isnan(self.objectives).any(axis=1), dtype=bool)

    @property
    def is_feasible(self) -> Mask:
        """(n,) complete trials with every measured outcome within its bound."""
        return np.asarray(self.where("complete") & self.is_measured & ~(self.violations > 0).any(axis=1), dtype=bool)


def _violations(goal: Goal, outcomes: tuple[float, ...]) -> Array:
    violations = np.full(len(goal.outcomes), np.nan)
    for j, ((side, bound), value) in enumerate(zip(goal.outcomes, outcomes, strict=False)):
        if math.isfinite(value):
            violations[j] = value - bound if side == "at_most" else bound - value
    return np.where(np.isfinite(violations), violations, np.nan)
