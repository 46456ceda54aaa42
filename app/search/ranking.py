"""Which trials of a study are better: the one place where the algorithms that compare trials read a history.

Constrained domination (Deb et al. 2002): a trial within every bound on the measured outcomes comes before one that
breaks some, and of two that break some the one that breaks them less. Within the bounds trials are compared by
domination.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import ShapeError
from app.search.constraints import Array
from app.search.history import History
from app.search.pareto import default_reference, non_dominated

Indices = NDArray[np.intp]

MAX_COMPARED = 2048  # trials of several objectives sorted at once; longer histories are gone through in turn
N_VOLUME_POINTS = 4096  # per estimate of hypervolume contributions, three objectives and more


@dataclass(frozen=True)
class Told:
    """The trials whose objectives are known, n of them, in the history's order.

    units (n, D), in [0, 1] where active and NaN elsewhere; objectives (n, m), minimised, finite; breach (n,) how far
    beyond the bounds on outcomes, each in units of its typical breach and summed, 0 where within all or not measured.
    """

    units: Array
    objectives: Array
    breach: Array

    @property
    def n_trials(self) -> int:
        return len(self.units)


def told(history: History) -> Told:
    """A pruned trial's last value is of an earlier step: it counts as no better than the complete ones' median."""
    rows = history.is_measured
    objectives, is_pruned = history.objectives[rows], history.where("pruned")[rows]
    if is_pruned.any() and not is_pruned.all():
        median = _middle(objectives[~is_pruned])
        objectives = np.where(is_pruned[:, None], np.maximum(objectives, median), objectives)
    return Told(inside(history.units[rows]), objectives, _breach(history.violations[rows]))


@dataclass(frozen=True)
class Samples:
    """All trials that told something, n of them in the history's order: units (n, D) and order (n,), their ranks with
    one objective, 0 the best, equals alike; those that could not be evaluated come last."""

    units: Array
    order: Array

    @property
    def n_trials(self) -> int:
        return len(self.units)


def samples(history: History) -> Samples:
    """Raises: ShapeError, with several objectives."""
    trials, rows = told(history), history.is_measured | history.where("infeasible")
    if trials.objectives.shape[1] != 1:
        raise ShapeError(f"trials of {trials.objectives.shape[1]} objectives have no one order")
    values, n = trials.objectives[:, 0], trials.n_trials
    by_rank = np.lexsort((values, trials.breach))
    is_worse = (values[by_rank][1:] != values[by_rank][:-1]) | (
        trials.breach[by_rank][1:] != trials.breach[by_rank][:-1]
    )
    ranks = np.empty(n)
    ranks[by_rank] = np.concatenate([[0.0], np.cumsum(is_worse)])[:n]
    order = np.full(history.is_measured.shape, float(n))
    order[history.is_measured] = ranks
    return Samples(inside(history.units[rows]), order[rows])


def crashed(history: History) -> Array:
    """(k, D) configurations that could not be evaluated."""
    return inside(history.units[history.where("infeasible")])


def pending(history: History, number: int) -> Array:
    """(k, D) configurations that are out for evaluation under lower numbers, in order of number."""
    return inside(history.pending_before(number))


def inside(units: Array) -> Array:
    """Rows with the places outside the bounds, of another version of the space, pulled onto them; NaN stays."""
    return np.clip(units, 0.0, 1.0)


def best_first(trials: Told, most: int, worth: Callable[[Array], Array]) -> Indices:
    """(k,) indices of the best `most` trials, the best first; equals keep their order.

    Args:
        worth: of the rows of a front (n, m) to the others, (n,): `contributions` or `crowding`.
    One objective is sorted. Several are ranked by front, within a front by worth; beyond 2,048 trials the best so far
    meet the next 2,048 in turn, as the survivors of generations do.
    """
    if trials.objectives.shape[1] == 1:
        return np.lexsort((trials.objectives[:, 0], trials.breach))[:most]
    survivors = np.empty(0, dtype=np.intp)
    for start in range(0, trials.n_trials, MAX_COMPARED):
        met = np.concatenate([survivors, np.arange(start, min(start + MAX_COMPARED, trials.n_trials))])
        ordered = [
            front[np.argsort(-worth(trials.objectives[met[front]]), kind="stable")]
            for front in fronts(trials.objectives[met], trials.breach[met], most)
        ]
        survivors = met[np.concatenate(ordered)[:most]]
    return survivors


def fronts(objectives: Array, breach: Array, most: int) -> list[Indices]:
    """Indices of each front in turn, until at least `most` trials are named; trials of one breach form a front."""
    left = np.arange(len(objectives))
    named: list[Indices] = []
    n_named = 0
    while len(left) and n_named < most:
        least = breach[left].min()
        front = left[breach[left] == least]
        if least == 0.0:
            front = front[non_dominated(objectives[front])]
        named.append(front)
        n_named += len(front)
        left = np.setdiff1d(left, front, assume_unique=True)
    return named


def contributions(front: Array) -> Array:
    """(n,) the hypervolume that each row of (n, m) alone adds to the others', objectives scaled to the front's range.

    Exact for two objectives; beyond, counted on 4,096 points, always the same ones.
    """
    front = front / 4  # the range of 1e308 and -1e308 is no double
    reference = default_reference(front)
    low = front.min(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (front - low) / (reference - low)
    scaled = np.where(np.isfinite(scaled), scaled, 0.0)
    if front.shape[1] == 2:
        return _staircase(scaled)
    points = np.random.default_rng(0).random((N_VOLUME_POINTS, front.shape[1]))
    n_below = np.zeros(N_VOLUME_POINTS, dtype=np.intp)
    last = np.zeros(N_VOLUME_POINTS, dtype=np.intp)
    for i, row in enumerate(scaled):
        beats = (points >= row).all(axis=1)
        n_below += beats
        last[beats] = i
    return np.bincount(last[n_below == 1], minlength=len(front)) / N_VOLUME_POINTS


def _staircase(front: Array) -> Array:
    """Contributions to a front of two objectives whose reference is (1, 1); equal rows add nothing alone."""
    order = np.lexsort((front[:, 1], front[:, 0]))
    x, y = front[order, 0], front[order, 1]
    to_right = np.append(x[1:], 1.0) - x
    to_top = np.concatenate([[1.0], y[:-1]]) - y
    volumes = np.empty(len(front))
    volumes[order] = np.maximum(to_right, 0.0) * np.maximum(to_top, 0.0)
    return volumes


def _breach(violations: Array) -> Array:
    """(n,) the sum over outcomes of what is beyond the bound, in units of the median breach of that outcome."""
    beyond = np.where(violations > 0, violations, 0.0)  # NaN: not measured, taken as kept
    total = np.zeros(len(beyond))
    for column in beyond.T:
        if (column > 0).any():
            with np.errstate(over="ignore"):
                total += np.minimum(column / float(_middle(column[column > 0])), 1e100)
    return total


def _middle(values: Array) -> Array:
    """The lower median along the first axis: always one of the values, so that it cannot overflow."""
    return np.asarray(np.sort(values, axis=0)[(len(values) - 1) // 2], dtype=np.float64)
