"""What is measured of trials, one number each: an objective, how far an outcome is beyond its bound, a cost.

A quantity's first n values are made from its first n trials alone, so that a model can be a function of those.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.search.carried import carried
from app.search.constraints import Array
from app.search.history import History
from app.search.warping import Warping

AUGMENTATION = 0.05
MIN_COST_SPREAD = 0.1  # of the logarithm: where trials cost within about a tenth the same, cost is no matter

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Measured:
    """(n,) finite values and their standard errors, NaN where there is none."""

    values: Array
    noise_std: Array


@dataclass(frozen=True)
class Quantity:
    """Something measured on some of the finished trials: an objective, an outcome's violation, whether it ran at all.

    rows: (k,) which trials, by number.
    measured: of how many of them -> their values, from those trials alone.
    told_std: (k,) standard errors told with the trials, in the units of the values, NaN where not told.
    has_noise: whether any of the values may have a standard error.
    variant: what else the values depend on.
    """

    name: str
    rows: Indices
    measured: Callable[[int], Measured]
    told_std: Array
    has_noise: bool = False
    is_warped: bool = True
    variant: Hashable = None


def objective_quantity(history: History, j: int) -> Quantity:
    """The values of objective j, minimised; those of trials that were stopped carried over from their rung.

    Where no rungs were set, a pruned trial's last report is of an earlier step, and it was stopped for being worse than
    others there: it counts as no better than the median of the complete ones.
    """
    rows = np.flatnonzero(history.is_measured)
    is_pruned = history.where("pruned")[rows]
    y: Array = history.objectives[rows, j]
    told = history.noise_std[rows] if j == 0 else np.full(len(rows), np.nan)
    levels = _levels(history, j) if history.goal.n_rungs and is_pruned.any() else None

    def measured(n: int) -> Measured:
        if not is_pruned[:n].any():
            return Measured(y[:n], told[:n])
        if levels is not None:
            found = carried(levels[:n])
            return Measured(found.values, np.where(np.isnan(found.std), told[:n], np.fmax(found.std, told[:n])))
        if is_pruned[:n].all():
            return Measured(y[:n], told[:n])
        middle = float(np.median(y[:n][~is_pruned[:n]]))
        return Measured(np.where(is_pruned[:n], np.maximum(y[:n], middle), y[:n]), told[:n])

    has_noise = levels is not None or not bool(np.isnan(told).all())
    return Quantity(f"objective {j}", rows, measured, told, has_noise)


def _levels(history: History, j: int) -> Array:
    """(k, R + 1) of the measured trials: objective j at the rungs and at the end; see `carried`."""
    rows = np.flatnonzero(history.is_measured)
    end = np.where(history.where("complete")[rows], history.objectives[rows, j], np.nan)
    levels = np.column_stack([history.at_rungs[rows, :, j], end])
    nowhere = np.isnan(levels).all(axis=1)  # stopped below the first rung: as good as there
    levels[nowhere, 0] = history.objectives[rows[nowhere], j]
    return levels


def scalarised_quantity(history: History, weights: Array) -> Quantity:
    """Several objectives as one: the augmented Chebyshev sum of their warped values on [0, 1] (Knowles 2006)."""
    parts = [objective_quantity(history, j) for j in range(history.goal.n_objectives)]

    def measured(n: int) -> Measured:
        scaled = []
        for part in parts:
            y = part.measured(n).values
            z = Warping.fit(y).forward(y)
            scaled.append((z - z.min()) / (float(np.ptp(z)) or 1.0))
        together = np.stack(scaled, axis=1)
        return _exact(np.max(weights * together, axis=1) + AUGMENTATION * together @ weights)

    rows = parts[0].rows
    return Quantity("scalarised", rows, measured, np.full(len(rows), np.nan), variant=tuple(weights.tolist()))


def violation_quantity(history: History, j: int) -> Quantity:
    """How far outcome j is beyond its bound, where it was measured."""
    violations: Array = history.violations[:, j]
    rows = np.flatnonzero(~np.isnan(violations))
    return Quantity(f"violation {j}", rows, lambda n: _exact(violations[rows[:n]]), np.full(len(rows), np.nan))


def log_cost_quantity(history: History) -> Quantity:
    """What trials cost, in standardised logarithms; one that was stopped early says nothing of a whole one."""
    rows = np.flatnonzero((history.costs > 0) & ~history.where("pruned"))
    logs = np.log(history.costs[rows])

    def measured(n: int) -> Measured:
        return _exact((logs[:n] - logs[:n].mean()) / max(float(logs[:n].std()), MIN_COST_SPREAD))

    return Quantity("log cost", rows, measured, np.full(len(rows), np.nan), is_warped=False)


def feasibility_quantity(history: History) -> Quantity:
    """+1 where a configuration could not be evaluated, -1 where it could."""
    infeasible = history.where("infeasible")
    rows = np.flatnonzero(infeasible | history.is_measured)
    labels: Array = np.where(infeasible[rows], 1.0, -1.0)
    return Quantity("feasibility", rows, lambda n: _exact(labels[:n]), np.full(len(rows), np.nan), is_warped=False)


def _exact(values: Array) -> Measured:
    return Measured(values, np.full(len(values), np.nan))
