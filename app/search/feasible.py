"""Points that satisfy a space's constraints: find the first ones, and draw more.

Three means, cheapest first. *Rejection* suffices where the legal part is not small. *Correction* takes least-norm
Gauss-Newton steps on the broken constraints (differences in the unit cube) and then tries small moves of whole levels:
it meets bands far too thin to be hit by chance. *Slice sampling* (Neal 2003, shrinkage along a random line) spreads out
from a point that is already legal, and so draws from thin regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.search.constraints import Array, Mask

if TYPE_CHECKING:
    from app.search.space import SearchSpace

N_FIRST = 256  # rows tried before anything cleverer
N_THOROUGH = 16_384
N_CORRECTED = 256
N_CORRECTIONS = 30
N_ANCHORS = 16
N_HALVINGS = 10
EFFORT = f"{N_FIRST + N_THOROUGH} random points and a local search from the best {N_CORRECTED} of them"
DIFFERENCE = 1e-6  # of a cube edge


def first_rows(space: SearchSpace) -> Array:
    """Up to 16 feasible rows (k, D) of the space, always the same ones; (0, D) if the search met none."""
    rng = np.random.default_rng(0)
    middle = np.full((1, space.n_dimensions), 0.5)
    if not space.constraints:
        return middle
    units = np.vstack([middle, rng.random((N_FIRST, space.n_dimensions))])
    found = units[space.satisfied(space.codes_of_units(units))]
    if not len(found):
        found = _thorough(space, rng, no_pins(space))
    return found[:N_ANCHORS]


def no_pins(space: SearchSpace) -> Array:
    """(D,) all NaN: no column is held."""
    return np.full(space.n_dimensions, np.nan)


def draw(space: SearchSpace, rng: np.random.Generator, n_rows: int, pins: Array) -> Array:
    """Up to `n_rows` feasible rows (k, D), spread over the legal region; fewer only where hardly any point is legal.

    Args:
        pins: (D,) columns held at a value, NaN where free.
    Returns: rows of the unit cube, not snapped.
    """
    units = pinned(rng.random((n_rows, space.n_dimensions)), pins)
    if not space.constraints:
        return units
    found = units[space.satisfied(space.codes_of_units(units))]
    for _ in range(3):
        if len(found) >= n_rows:
            return found[:n_rows]
        share = max(len(found) / n_rows, 0.02)
        more = pinned(rng.random((min(int(n_rows / share) + 32, 8192), space.n_dimensions)), pins)
        found = np.vstack([found, more[space.satisfied(space.codes_of_units(more))]])
    if len(found) < n_rows:
        found = np.vstack([found, _spread(space, rng, n_rows - len(found), found, pins)])
    return found[:n_rows]


def pinned(units: Array, pins: Array) -> Array:
    """The rows with the held columns set."""
    return np.where(np.isnan(pins), units, pins)


def drawn_back(space: SearchSpace, rows: Array, anchors: Array) -> Array:
    """(n, D) rows, of which those that break a constraint went half the way to their anchor until they hold.

    Args:
        anchors: (n, D), rows that hold; a NaN is no goal, that column stays.
    After `N_HALVINGS` halvings a row may still break one.
    """
    goals = np.where(np.isnan(anchors), rows, anchors)
    drawn, share = rows, 1.0
    for _ in range(N_HALVINGS):
        broken = ~space.satisfied(space.codes_of_units(drawn))
        if not broken.any():
            break
        share /= 2.0
        drawn = np.where(broken[:, None], goals + share * (rows - goals), drawn)
    return drawn


def _spread(space: SearchSpace, rng: np.random.Generator, n_rows: int, found: Array, pins: Array) -> Array:
    starts = np.vstack([found, pinned(space.anchors, pins)])
    starts = starts[space.satisfied(space.codes_of_units(starts))]
    if not len(starts):
        starts = _thorough(space, rng, pins)
    if not len(starts):
        return np.empty((0, space.n_dimensions))
    current = starts[rng.integers(len(starts), size=n_rows)]
    for _ in range(2 * space.n_dimensions + 4):
        current = _slice_move(space, rng, current, pins)
    return current


def _slice_move(space: SearchSpace, rng: np.random.Generator, current: Array, pins: Array) -> Array:
    """One shrinkage move of every row along a random line of the cube, half of them along an axis."""
    n, d = current.shape
    direction = rng.standard_normal((n, d))
    axis = np.zeros((n, d))
    axis[np.arange(n), rng.integers(d, size=n)] = 1.0
    direction = np.where(rng.random((n, 1)) < 0.5, axis, direction)
    direction = np.where(np.isnan(pins), direction, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = -current / direction, (1.0 - current) / direction
    to_low, to_high = np.minimum(to_low, to_high), np.maximum(to_low, to_high)
    still = direction == 0.0
    lowest = np.max(np.where(still, -np.inf, to_low), axis=1)
    highest = np.min(np.where(still, np.inf, to_high), axis=1)
    lowest, highest = (np.where(np.isfinite(x), x, 0.0) for x in (lowest, highest))
    done: Mask = np.zeros(n, dtype=bool)
    result = current.copy()
    for _ in range(40):
        length = lowest + rng.random(n) * (highest - lowest)
        proposal = np.clip(current + length[:, None] * direction, 0.0, 1.0)
        good: Mask = space.satisfied(space.codes_of_units(proposal)) & ~done
        result = np.where(good[:, None], proposal, result)
        done |= good
        if done.all():
            break
        lowest = np.where(~done & (length < 0), length, lowest)
        highest = np.where(~done & (length >= 0), length, highest)
    return result


def _thorough(space: SearchSpace, rng: np.random.Generator, pins: Array) -> Array:
    units = pinned(rng.random((N_THOROUGH, space.n_dimensions)), pins)
    units[0] = pinned(np.full(space.n_dimensions, 0.5), pins)
    margins = space.margins(space.codes_of_units(units))
    good = space.satisfied(space.codes_of_units(units))
    if good.any():
        return units[good]
    scale = _scales(margins)
    badness = np.minimum(
        np.where(np.isfinite(margins), margins, np.where(margins > 0, 0.0, -1e6 * scale)) / scale, 0.0
    ).sum(axis=1)
    best = units[np.argsort(-badness, kind="stable")[: N_CORRECTED // 2]]
    current = np.vstack([best, units[: N_CORRECTED - len(best)]])
    for _ in range(N_CORRECTIONS):
        codes = space.codes_of_units(current)
        good = space.satisfied(codes)
        if good.any():
            return current[good]
        current = _level_moves(space, rng, pinned(_correction(space, current, scale), pins), scale, pins)
    return current[space.satisfied(space.codes_of_units(current))]


def _scales(margins: Array) -> Array:
    """(C,) the typical size of each constraint's margin, so that they can be added up."""
    sizes = np.where(np.isfinite(margins), np.abs(margins), np.nan)
    scales = np.ones(margins.shape[1])
    for j in range(margins.shape[1]):
        known = sizes[:, j][~np.isnan(sizes[:, j])]
        if len(known) and np.median(known) > 0:
            scales[j] = float(np.median(known))
    return scales


def _correction(space: SearchSpace, current: Array, scale: Array) -> Array:
    """A least-norm step onto every broken constraint in turn: u + (-margin) grad / |grad|^2, aimed just inside."""
    n, d = current.shape
    stepped = current.copy()
    for j in range(len(space.parsed_constraints)):
        margin = space.margins(space.codes_of_units(stepped))[:, j] / scale[j]
        gradient = np.zeros((n, d))
        for column, levels in enumerate(space.n_levels):
            h = DIFFERENCE if levels is None else 1.0 / levels
            up, down = stepped.copy(), stepped.copy()
            up[:, column] = np.minimum(up[:, column] + h, 1.0)
            down[:, column] = np.maximum(down[:, column] - h, 0.0)
            with np.errstate(invalid="ignore"):
                above, below = (space.margins(space.codes_of_units(rows))[:, j] for rows in (up, down))
                rise = (above - below) / scale[j]
            gradient[:, column] = np.where(np.isfinite(rise), rise / (up[:, column] - down[:, column]), 0.0)
        steep = np.sum(gradient**2, axis=1)
        with np.errstate(all="ignore"):
            length = np.where((margin <= 0) & np.isfinite(margin) & (steep > 0), (-margin + 1e-12) / steep, 0.0)
            stepped = np.clip(stepped + np.clip(length[:, None] * gradient, -1.0, 1.0), 0.0, 1.0)
    return stepped


def _level_moves(space: SearchSpace, rng: np.random.Generator, current: Array, scale: Array, pins: Array) -> Array:
    """For every row the best of itself and some changes of one or two columns."""
    n, d = current.shape
    best, best_badness = current, _badness(space, current, scale)
    for _ in range(4 + d):
        proposal = current.copy()
        for _ in range(2):
            column = rng.integers(d, size=n)
            levels = np.array([m if m is not None else 0 for m in space.n_levels])[column]
            wide = rng.random(n) < 0.3
            bins = np.where(
                levels > 0, rng.integers(-2, 3, size=n) / np.maximum(levels, 1), 0.05 * rng.standard_normal(n)
            )
            own = proposal[np.arange(n), column]
            proposal[np.arange(n), column] = np.where(wide, rng.random(n), np.clip(own + bins, 0.0, 1.0))
        proposal = pinned(proposal, pins)
        badness = _badness(space, proposal, scale)
        better: Mask = badness < best_badness
        best = np.where(better[:, None], proposal, best)
        best_badness = np.where(better, badness, best_badness)
    return best


def _badness(space: SearchSpace, units: Array, scale: Array) -> Array:
    margins = space.margins(space.codes_of_units(units)) / scale
    return np.asarray(-np.sum(np.maximum(np.minimum(margins, 0.0), -1e6), axis=1), dtype=np.float64)
