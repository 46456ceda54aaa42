"""Several objectives, all minimised: which trials no other beats, and how much of the space they beat together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import ShapeError
from app.search.constraints import Array, Mask

REFERENCE_MARGIN = 0.1  # of the range of the front, beyond its worst point


def non_dominated(Y: Array) -> Mask:
    """(n,) True for the rows of (n, m) that no other row beats; equal rows stand or fall together.

    A row beats another if it is nowhere worse and somewhere better. Rows that are not finite never stand.
    """
    rows = np.asarray(Y, dtype=np.float64)
    stands: Mask = np.asarray(np.isfinite(rows).all(axis=1), dtype=bool)
    for i in np.lexsort(rows.T[::-1]):
        if stands[i]:
            stands = stands & ~((rows >= rows[i]).all(axis=1) & (rows > rows[i]).any(axis=1))
    return stands


def hypervolume(Y: Array, reference: Array) -> float:
    """The volume between the rows of (n, m) and the reference (m,), exact.

    Rows that are not better than the reference everywhere add nothing.
    Raises: ShapeError, if reference and rows differ in length.
    Source: slicing objective by objective, Knowles 2002 (HSO); O(n log n) for m = 2, O(n^(m-1)) beyond.
    """
    rows, reference = np.asarray(Y, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if rows.ndim != 2 or reference.shape != (rows.shape[1],):
        raise ShapeError(f"rows have shape {rows.shape}, the reference {reference.shape}")
    inside = rows[np.isfinite(rows).all(axis=1) & (rows < reference).all(axis=1)]
    return _volume(np.unique(inside[non_dominated(inside)], axis=0), reference) if len(inside) else 0.0


def thinned(front: Array, most: int) -> Array:
    """At most `most` of the (n, m) rows of a front: the extremes of every objective, then the least crowded."""
    if len(front) <= most:
        return front
    return front[np.sort(np.argsort(-crowding(front), kind="stable")[:most])]


def crowding(front: Array) -> Array:
    """(n,) the crowding distance of each row of (n, m): the sides of the box between its neighbours, summed.

    Infinite at the ends of an objective that varies. Source: Deb et al. 2002, section III B.
    """
    distance = np.zeros(len(front))
    for values in front.T:
        order = np.argsort(values, kind="stable")
        halves = values[order] / 2  # the range of 1e308 and -1e308 is no double
        span = halves[-1] - halves[0]
        if span > 0:
            distance[order[1:-1]] += (halves[2:] - halves[:-2]) / span
            distance[order[[0, -1]]] = np.inf
    return distance


@dataclass(frozen=True)
class Cells:
    """Disjoint boxes that fill the space below a reference which no point of a front dominates.

    levels: for each objective its sorted edge values.  lower, upper: (cells, m) positions in `levels`; -1 stands for
    minus infinity.
    """

    levels: tuple[Array, ...]
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]


def cells_below(Y: Array, reference: Array) -> Cells:
    """The boxes for the front of (n, m) rows, m = 2 or 3; rows that are not better than the reference are left out.

    Raises: ShapeError, for another number of objectives.
    """
    m = len(reference)
    if m not in (2, 3) or Y.shape[1] != m:
        raise ShapeError(f"cells are for 2 or 3 objectives, got rows of shape {Y.shape}, a reference of {m}")
    inside = Y[(reference > Y).all(axis=1)]
    front = np.unique(inside[non_dominated(inside)], axis=0)
    levels = tuple(np.append(np.unique(front[:, j]), reference[j]) for j in range(m))
    ranks = np.stack([np.searchsorted(levels[j], front[:, j]) for j in range(m)], axis=1).astype(np.intp)
    ends = [len(level) - 1 for level in levels]
    if m == 2:
        lower, upper = _strips(ranks, ends[0], ends[1])
        return Cells(levels, lower, upper)
    lows, highs = [], []
    for slab in range(-1, ends[2]):  # between two levels of the third objective
        flat = ranks[ranks[:, 2] <= slab][:, :2]
        flat = np.unique(flat[non_dominated(flat.astype(np.float64))], axis=0) if len(flat) else flat
        lower, upper = _strips(flat, ends[0], ends[1])
        lows.append(np.column_stack([lower, np.full(len(lower), slab)]))
        highs.append(np.column_stack([upper, np.full(len(upper), slab + 1)]))
    return Cells(levels, np.vstack(lows), np.vstack(highs))


def _strips(ranks: NDArray[np.intp], end_0: int, end_1: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cells below a two-dimensional front of positions sorted by the first objective: one strip beside each."""
    edges = np.concatenate([[-1], ranks[:, 0], [end_0]])
    tops = np.concatenate([[end_1], ranks[:, 1]])
    lower = np.column_stack([edges[:-1], np.full(len(tops), -1)])
    return lower.astype(np.intp), np.column_stack([edges[1:], tops]).astype(np.intp)


def default_reference(Y: Array) -> Array:
    """(m,) a tenth of the front's range worse than the front's worst value of each objective.

    An objective in which the front has no range gets a tenth of the value's size, at least 1e-9.
    Raises: ShapeError, if no row is finite.
    """
    Y = np.asarray(Y, dtype=np.float64)
    front = Y[non_dominated(Y)]
    if not len(front):
        raise ShapeError("a reference needs at least one finite row")
    worst, span = front.max(axis=0), np.ptp(front, axis=0)
    span = np.where(span > 0, span, np.maximum(np.abs(worst), 1e-8))
    return np.asarray(worst + REFERENCE_MARGIN * span, dtype=np.float64)


def _volume(front: Array, reference: Array) -> float:
    """The volume of distinct non-dominated rows sorted by the first objective."""
    m = front.shape[1]
    if m == 1:
        return float(reference[0] - front[:, 0].min())
    if m == 2:
        ceilings = np.concatenate([reference[1:2], front[:-1, 1]])  # along the front the second objective falls
        return float(np.sum((reference[0] - front[:, 0]) * (ceilings - front[:, 1])))
    total = 0.0
    edges = np.append(front[:, 0], reference[0])
    for i in range(len(front)):
        if edges[i + 1] > edges[i]:
            slab = front[: i + 1, 1:]
            slab = np.unique(slab[non_dominated(slab)], axis=0)
            total += float(edges[i + 1] - edges[i]) * _volume(slab, reference[1:])
    return total
