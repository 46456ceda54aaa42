"""The acquisition's maximiser over a mixed space with conditions and constraints.

Many candidates are scored at once; the best are improved in turn along the numbers (L-BFGS-B on all of them together)
and over the levels (best single change); constraints hold exactly, because a step that breaks one is shortened.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from app.search import feasible
from app.search.acquisition import Acquisition
from app.search.constraints import Array, Mask
from app.search.space import SearchSpace

N_RANDOM = 512
N_NEAR = 40  # per centre and radius
RADII = (0.15, 0.03, 0.006)
N_STARTS = 5
N_ROUNDS = 2  # of climbing and level moves, in spaces with levels
MAX_ITERATIONS = 40
MANY_LEVELS = 12  # a number with more levels is climbed as if it were continuous
N_SHORTENINGS = 12


def maximize(
    space: SearchSpace, acquisition: Acquisition, rng: np.random.Generator, centers: Array, pins: Array
) -> Array:
    """Rows (k, D) of the unit cube as they will be evaluated, legal, the best first.

    Args:
        centers: (c, D) configurations around which candidates are thrown, the most promising first.
        pins: (D,) columns held at a value, NaN where free.
    """
    candidates = _candidates(space, rng, centers, pins)
    if not len(candidates):
        return candidates
    scores = acquisition.value(candidates)
    order = np.argsort(-scores, kind="stable")
    leaders = candidates[order[: _leader_count(space)]]
    starts = leaders[_distinct(leaders)][:N_STARTS]
    improved = _climb(space, acquisition, starts, pins)
    if any(levels is not None for levels in space.n_levels):
        for _ in range(N_ROUNDS):
            improved = _climb(space, acquisition, _best_changes(space, acquisition, improved, pins), pins)
    rows = np.vstack([improved, leaders])
    return rows[np.argsort(-acquisition.value(rows), kind="stable")]


def _leader_count(space: SearchSpace) -> int:
    """A finite space may be nearly exhausted: keep enough candidates that an unused one is among them."""
    return 64 if space.size is None else 256


def _candidates(space: SearchSpace, rng: np.random.Generator, centers: Array, pins: Array) -> Array:
    """Snapped legal rows: spread over the space, and around the centres."""
    parts = [feasible.draw(space, rng, N_RANDOM, pins)]
    whole = np.where(np.isnan(centers), rng.random(centers.shape), centers)
    for radius in RADII:
        near = np.repeat(whole, N_NEAR, axis=0)
        moved = rng.random(near.shape) < max(0.3, 2.0 / max(space.n_dimensions, 1))
        step = radius * rng.standard_normal(near.shape)
        for j, levels in enumerate(space.n_levels):
            if levels is not None and not space.parameters[space.columns[j]].is_ordered:
                near[:, j] = np.where(moved[:, j] & (rng.random(len(near)) < 0.5), rng.random(len(near)), near[:, j])
            elif levels is not None:
                step[:, j] = np.sign(step[:, j]) * np.maximum(np.abs(step[:, j]), 1.0 / levels)
        near = feasible.pinned(np.clip(near + moved * step, 0.0, 1.0), pins)
        parts.append(near)
    rows = np.vstack(parts)
    if space.constraints:
        rows = rows[space.satisfied(space.codes_of_units(rows))]
    snapped = space.snap(rows)  # levels and corners are met many times over; the leaders must not all be one point
    _, first = np.unique(np.where(np.isnan(snapped), -1.0, snapped), axis=0, return_index=True)
    return np.asarray(snapped[np.sort(first)], dtype=np.float64)


def _distinct(rows: Array) -> NDArray[np.intp]:
    """Indices of the rows, those that nearly repeat a better one last."""
    filled = np.where(np.isnan(rows), -1.0, rows)
    first: list[int] = []
    later: list[int] = []
    for i in range(len(filled)):
        close = any(np.max(np.abs(filled[i] - filled[k])) < 0.02 for k in first)
        (later if close else first).append(i)
        if len(first) >= N_STARTS:
            break
    return np.array(first + later, dtype=np.intp)


def _climbable(space: SearchSpace, pins: Array) -> Mask:
    """(D,) columns of numbers that are free and continuous, or nearly so."""
    ordered = np.array([space.parameters[name].is_ordered for name in space.columns], dtype=bool)
    fine = np.array([levels is None or levels > MANY_LEVELS for levels in space.n_levels], dtype=bool)
    return np.asarray(ordered & fine & np.isnan(pins), dtype=bool)


def _climb(space: SearchSpace, acquisition: Acquisition, starts: Array, pins: Array) -> Array:
    """Gradient ascent from every (k, D) row along its active numbers; the result is legal, snapped and no worse."""
    free = ~np.isnan(starts) & _climbable(space, pins)
    if not free.any():
        return starts

    def loss(flat: Array) -> tuple[float, Array]:
        rows = starts.copy()
        rows[free] = flat
        values, gradient = acquisition.value_and_gradient(rows)
        return -float(values.sum()), -gradient[free]

    found = minimize(
        loss,
        np.clip(starts[free], 0.0, 1.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * int(free.sum()),
        options={"maxiter": MAX_ITERATIONS, "maxcor": 20},
    )
    ends = starts.copy()
    ends[free] = found.x
    ends = _shortened(space, starts, space.snap(ends), free)
    better = acquisition.value(ends) > acquisition.value(starts)
    return np.where(better[:, None], ends, starts)


def _shortened(space: SearchSpace, starts: Array, ends: Array, free: Mask) -> Array:
    """Where an end breaks a constraint, the last legal point found by halving the way back to the start."""
    if not space.constraints:
        return ends
    legal = space.satisfied(space.codes_of_units(ends))
    result = np.where(legal[:, None], ends, starts)
    inside, outside = np.zeros(len(ends)), np.ones(len(ends))
    for _ in range(N_SHORTENINGS):
        middle = 0.5 * (inside + outside)
        rows = space.snap(np.where(free, starts + middle[:, None] * (ends - starts), starts))
        good = space.satisfied(space.codes_of_units(rows)) & ~legal
        result = np.where(good[:, None], rows, result)
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
    return result


def _best_changes(space: SearchSpace, acquisition: Acquisition, rows: Array, pins: Array) -> Array:
    """Every row after the best change of one column to another level, repeated while it helps."""
    rows = rows.copy()
    for i in range(len(rows)):
        value = float(acquisition.value(rows[i : i + 1])[0])
        for _ in range(space.n_dimensions + 1):
            neighbours = _neighbours(space, rows[i], pins)
            if not len(neighbours):
                break
            values = acquisition.value(neighbours)
            best = int(np.argmax(values))
            if values[best] <= value + 1e-9:
                break
            rows[i], value = neighbours[best], float(values[best])
    return rows


def _neighbours(space: SearchSpace, row: Array, pins: Array) -> Array:
    """Legal snapped rows that differ from `row` in the level of one column: all levels, or the four nearest of many."""
    changed = []
    for j, levels in enumerate(space.n_levels):
        if levels is None or np.isnan(row[j]) or not np.isnan(pins[j]):
            continue
        kind = space.parameters[space.columns[j]]
        code = float(kind.codes(row[j : j + 1])[0])
        places = kind.units(kind.neighbours(code, MANY_LEVELS))
        for place in places:
            copy = row.copy()
            copy[j] = place
            changed.append(copy)
    if not changed:
        return np.empty((0, len(row)))
    rows = space.snap(np.array(changed))
    if space.constraints:
        rows = rows[space.satisfied(space.codes_of_units(rows))]
    return rows
