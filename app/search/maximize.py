"""The acquisition's maximiser over a mixed space with conditions and constraints.

Many candidates are scored at once; the best are improved in turn along the numbers (BFGS on all of them together) and
over the levels (best single change); constraints hold exactly, because a step that breaks one is shortened.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.search import feasible
from app.search.acquisition import Acquisition
from app.search.constraints import Array, Mask
from app.search.space import FEW_LEVELS, SearchSpace

N_RANDOM = 512
N_NEAR = 40  # per centre and radius
N_LOOKED_AT = 64  # of the leaders, for starts that are apart
RADII = (0.15, 0.03, 0.006)
N_STARTS = (1, 3)  # with the least and with full effort
N_CHANGES = 4  # of one column's level, one after the other
N_STEPS = (4, 12)  # of the ascent, with the least and with full effort
NEGLIGIBLE_GAIN = 1e-3  # of a log improvement
FIRST_STEP, MAX_STEP = 0.05, 0.3  # in cube edges
MANY_LEVELS = FEW_LEVELS  # a number with more is climbed as if it were continuous
N_SHORTENINGS = 12


def maximize(space: SearchSpace, acquisition: Acquisition, pins: Array, effort: float = 1.0) -> Array:
    """Rows (k, D) of the unit cube as they will be evaluated, legal, the best first.

    Args:
        acquisition: one that is watching rows of `candidates`.
        pins: (D,) columns held at a value, NaN where free.
        effort: in (0, 1], of the most starts and steps.
    """
    rows = acquisition.rows
    if rows is None or not len(rows):
        return np.empty((0, space.n_dimensions))
    scores = acquisition.value_at_watched()
    order = np.argsort(-scores, kind="stable")
    leaders = rows[order[: _leader_count(space)]]
    n_starts, n_steps = (round(least + effort * (most - least)) for least, most in (N_STARTS, N_STEPS))
    starts = leaders[_distinct(leaders[:N_LOOKED_AT], n_starts)]
    if _is_continuous(space):
        improved, values = _climb(space, acquisition, starts, pins, n_steps)
    else:
        changed, values = _best_changes(space, acquisition, starts, acquisition.value(starts), pins)
        climbed, values = _climb(space, acquisition, changed, pins, n_steps)
        improved, values = _best_changes(space, acquisition, climbed, values, pins)
        moved = ~((improved == climbed) | (np.isnan(improved) & np.isnan(climbed))).all(axis=1)
        if moved.any():
            improved[moved], values[moved] = _climb(space, acquisition, improved[moved], pins, n_steps)
    values = np.concatenate([values, scores[order[: len(leaders)]]])
    return np.vstack([improved, leaders])[np.argsort(-values, kind="stable")]


def _leader_count(space: SearchSpace) -> int:
    """A finite space may be nearly exhausted: keep enough candidates that an unused one is among them."""
    return 64 if space.size is None else 256


def candidates(space: SearchSpace, rng: np.random.Generator, centers: Array, pins: Array, effort: float = 1.0) -> Array:
    """Snapped legal rows (m, D) where the maximum may be: spread over the space, and around the centres.

    Args:
        centers: (c, D) configurations around which candidates are thrown, the most promising first.
        pins: (D,) columns held at a value, NaN where free.
        effort: in (0, 1], the part of all candidates that is looked at: of a large model each costs more.
    """
    parts = [feasible.draw(space, rng, round(effort * N_RANDOM), pins)]
    whole = np.where(np.isnan(centers), rng.random(centers.shape), centers)
    for radius in RADII:
        near = np.repeat(whole, round(effort * N_NEAR), axis=0)
        moved = rng.random(near.shape) < max(0.3, 2.0 / max(space.n_dimensions, 1))
        step = radius * rng.standard_normal(near.shape)
        for j, levels in enumerate(space.n_levels):
            if levels is not None and not space.parameters[space.columns[j]].is_ordered:
                near[:, j] = np.where(moved[:, j] & (rng.random(len(near)) < 0.5), rng.random(len(near)), near[:, j])
            elif levels is not None:
                step[:, j] = np.sign(step[:, j]) * np.maximum(np.abs(step[:, j]), 1.0 / levels)
        near = feasible.pinned(np.minimum(np.maximum(near + moved * step, 0.0), 1.0), pins)
        parts.append(near)
    rows = np.vstack(parts)
    if space.constraints:
        rows = rows[space.satisfied(space.codes_of_units(rows))]
    snapped = space.snap(rows)
    if _is_continuous(space):
        return snapped
    # levels are met many times over; the leaders must not all be one point. A random projection tells rows apart.
    _, first = np.unique(np.where(np.isnan(snapped), -1.0, snapped) @ rng.random(space.n_dimensions), return_index=True)
    return np.asarray(snapped[np.sort(first)], dtype=np.float64)


def _distinct(rows: Array, n_wanted: int) -> NDArray[np.intp]:
    """Indices of so many rows, none within a fiftieth of a better one; where there are not as many, of the best."""
    filled = np.where(np.isnan(rows), -1.0, rows)
    chosen: list[int] = []
    is_left = np.ones(len(rows), dtype=bool)
    while len(chosen) < n_wanted and is_left.any():
        chosen.append(int(np.argmax(is_left)))
        is_left &= np.abs(filled - filled[chosen[-1]]).max(axis=1) >= 0.02
    others = [i for i in range(min(n_wanted, len(rows))) if i not in chosen]
    return np.array((chosen + others)[:n_wanted], dtype=np.intp)


def _climbable(space: SearchSpace, pins: Array) -> Mask:
    """(D,) columns of numbers that are free and continuous, or nearly so."""
    ordered = np.array([space.parameters[name].is_ordered for name in space.columns], dtype=bool)
    fine = np.array([levels is None or levels > MANY_LEVELS for levels in space.n_levels], dtype=bool)
    return np.asarray(ordered & fine & np.isnan(pins), dtype=bool)


def _climb(
    space: SearchSpace, acquisition: Acquisition, starts: Array, pins: Array, n_steps: int
) -> tuple[Array, Array]:
    """Ascent from every (k, D) row along its active numbers: rows that are legal, snapped and no worse, with values."""
    free = ~np.isnan(starts) & _climbable(space, pins)
    if not free.any():
        return starts, acquisition.value(starts)
    before, ends, values = _ascended(acquisition, starts, free, n_steps)
    if not space.constraints and _is_continuous(space):
        return ends, values
    ends = _shortened(space, starts, space.snap(ends), free)
    after = acquisition.value(ends)
    return np.where((after > before)[:, None], ends, starts), np.maximum(after, before)


def _is_continuous(space: SearchSpace) -> bool:
    return all(levels is None for levels in space.n_levels)


def _ascended(acquisition: Acquisition, starts: Array, free: Mask, n_steps: int) -> tuple[Array, Array, Array]:
    """Projected BFGS from all (k, D) starts at once, one evaluation a step for all of them.

    Returns: the starts' values (k,), the rows (k, D) they lead to, and theirs.

    free: (k, D) the coordinates that may move, within [0, 1]. A row never ends lower than it began.
    """
    before, gradients = acquisition.value_and_gradient(starts)
    climbers = [_Climber(*of) for of in zip(starts, free, before.tolist(), gradients, strict=True)]
    for _ in range(n_steps):
        moved = np.array([climber.proposed() for climber in climbers])
        if not any(climber.moves for climber in climbers):
            break
        after, gradients = acquisition.value_and_gradient(moved)
        gains = [climber.gain(*of) for climber, *of in zip(climbers, moved, after.tolist(), gradients, strict=True)]
        if min(gains) > 0.0 and max(gains) < NEGLIGIBLE_GAIN:
            break
    return before, np.array([climber.row for climber in climbers]), np.array([climber.value for climber in climbers])


class _Climber:
    """One row (D,) of an ascent, by its free coordinates (f,).

    A class of its own, not one array of all rows: of a handful, most of the time would go into telling them apart.
    """

    def __init__(self, row: Array, free: Mask, value: float, gradient: Array) -> None:
        self.row, self.value = row, value
        self.moves = True
        self._free = slice(None) if free.all() else np.flatnonzero(free)
        self._at, self._gradient = row[self._free], gradient[self._free]
        self._inverse: Array | None = None  # of the negative Hessian; None: the first step has a set length
        self._shrink = 1.0

    def proposed(self) -> Array:
        """(D,) the row after the next step, not evaluated yet; the present one where nothing leads up."""
        at, slope = self._at, self._gradient
        held = None
        if at.size and (at.min() <= 0.0 or at.max() >= 1.0):  # along a bound only what leads back inside may move
            held = np.where(slope < 0.0, at <= 0.0, at >= 1.0)
            slope = np.where(held, 0.0, slope)
        step, limit = slope, self._shrink * FIRST_STEP
        if self._inverse is not None:
            learnt = self._inverse @ slope
            if held is not None:
                learnt[held] = 0.0
            if learnt @ slope > 0.0:
                step, limit = learnt, self._shrink * MAX_STEP
        longest = float(np.abs(step).max(initial=0.0))
        self.moves = longest > 0.0
        if not self.moves:
            return self.row
        share = limit / longest  # steepest: as far as the limit lets it
        at = at + step * (share if step is slope else min(self._shrink, share))
        moved = self.row.copy()
        moved[self._free] = np.minimum(np.maximum(at, 0.0, out=at), 1.0, out=at)
        return moved

    def gain(self, row: Array, value: float, gradient: Array) -> float:
        """What the proposed row has more than the present one, whose place it takes if that is anything."""
        gain = value - self.value
        if not gain > 0.0:
            self._shrink *= 0.25
            return gain
        at, gradient = row[self._free], gradient[self._free]
        s, t = at - self._at, self._gradient - gradient
        curvature = float(s @ t)
        if curvature > 1e-12:
            self._inverse = _bfgs(self._inverse, s, t, curvature)
        self.row, self.value, self._at, self._gradient = row, value, at, gradient
        self._shrink = min(1.0, 2.0 * self._shrink)
        return gain


def _bfgs(inverse: Array | None, s: Array, t: Array, curvature: float) -> Array:
    """The update of an (f, f) inverse Hessian by a step s and the difference t = −Δ gradient, with curvature s·t.

    Of the first it is Shanno's multiple of the identity, the size of the curvature met.
    """
    if inverse is None:
        inverse = curvature / max(float(t @ t), 1e-300) * np.eye(len(s))
    along = inverse @ t
    u = (0.5 * (1.0 + float(t @ along) / curvature) / curvature) * s - along / curvature
    update = u[:, None] * s
    return np.asarray(inverse + update + update.T, dtype=np.float64)


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


def _best_changes(
    space: SearchSpace, acquisition: Acquisition, rows: Array, values: Array, pins: Array
) -> tuple[Array, Array]:
    """Every row, and its value, after the best change of one column to another level, repeated while it helps."""
    rows, values = rows.copy(), values.copy()
    active = np.arange(len(rows))
    for _ in range(N_CHANGES):
        neighbours, owners = _neighbours(space, rows[active], pins)
        if not len(owners):
            break
        owners = active[owners]
        scores = acquisition.value(neighbours)
        better = []
        for i in active:
            own = np.flatnonzero(owners == i)
            if not len(own):
                continue
            best = own[int(np.argmax(scores[own]))]
            if scores[best] > values[i] + NEGLIGIBLE_GAIN:
                rows[i], values[i] = neighbours[best], scores[best]
                better.append(i)
        if not better:
            break
        active = np.array(better)
    return rows, values


def _neighbours(space: SearchSpace, rows: Array, pins: Array) -> tuple[Array, NDArray[np.intp]]:
    """Legal snapped rows (m, D) that differ from one of (n, D) in the level of one column, and from which one (m,).

    All levels, or the four nearest of many.
    """
    changed, owners = [rows[:0]], [np.empty(0, dtype=np.intp)]
    for j, levels in enumerate(space.n_levels):
        if levels is None or not np.isnan(pins[j]):
            continue
        kind = space.parameters[space.columns[j]]
        if not len(space.places[j]):
            codes = kind.neighbours(kind.codes(rows[:, j]), MANY_LEVELS)
            here, which = np.nonzero(~np.isnan(codes))
            places = kind.units(codes[here, which])
        else:
            here, which = np.nonzero(np.abs(space.places[j] - rows[:, j, None]) > 1e-9)  # of a NaN none
            places = space.places[j][which]
        copies = rows[here]
        copies[:, j] = places
        # what no other column depends on leaves a row as snapped as it was
        changed.append(space.snap(copies) if space.is_parent[j] else copies)
        owners.append(here)
    neighbours, of = np.vstack(changed), np.concatenate(owners)
    if space.constraints:
        legal = space.satisfied(space.codes_of_units(neighbours))
        neighbours, of = neighbours[legal], of[legal]
    return neighbours, of
