"""Several objectives, all minimised: which trials no other beats, and how much of the space they beat together."""

from __future__ import annotations

import numpy as np

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
