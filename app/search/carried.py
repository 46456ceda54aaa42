"""Results at rungs, carried over to one level, so that trials that were stopped inform the model with the others.

A report after three steps is no result after twenty-seven: taken for one, it misleads. But trials that reached both say
how one follows from the other, and how surely. So every trial that stopped is carried up, rung by rung, by a straight
line through those that went on, to the highest level that some trials reached, with a standard error that grows on
the way. There the Gaussian process takes it for a measurement with that noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.search.constraints import Array, Mask
from app.search.warping import LARGEST, better_half_spread

ENOUGH = 3  # trials that make a level the one to carry to
FARTHEST = 1e6  # spreads of the lowest rung; what is worse ranks last all the same
PRIOR_WEIGHT = 1.0  # pairs that say "the next rung is as this one, but for a shift", with this variance:
PRIOR_VARIANCE = 0.1


@dataclass(frozen=True)
class Carried:
    """Values of n trials at one level, and the standard errors of those that were carried there; NaN: of the others."""

    values: Array
    std: Array


def carried(levels: Array) -> Carried:
    """
    Args:
        levels: (n, R + 1) values, minimised, at R rungs and at the end; NaN where a trial did not come. Every row has
            at least one.
    """
    there = ~np.isnan(levels)
    counts = there.sum(axis=0)
    top = int(np.flatnonzero(counts >= min(ENOUGH, counts.max()))[-1])
    lowest = levels[there[:, np.flatnonzero(counts)[0]], np.flatnonzero(counts)[0]]
    scale = better_half_spread(np.sort(np.clip(lowest, -LARGEST, LARGEST)), float(np.median(lowest)))
    z, variance, center = np.full(len(levels), np.nan), np.zeros(len(levels)), 0.0
    for level in np.flatnonzero(counts[: top + 1]).tolist():
        known = there[:, level]
        center = float(np.median(levels[known, level]))
        with np.errstate(over="ignore"):
            own = np.clip((levels[known, level] - center) / scale, -FARTHEST, FARTHEST)
        z, variance = _next(z, variance, known, own)
    beyond = np.isnan(z)  # came farther without a report on the way
    values = np.where(there[:, top], levels[:, top], np.clip(z * scale + center, -LARGEST, LARGEST))
    values[beyond] = np.array([row[~np.isnan(row)][0] for row in levels[beyond]])
    is_carried = ~there[:, top] & ~beyond
    std = np.full(len(levels), np.nan)
    std[is_carried] = np.minimum(scale * np.sqrt(variance[is_carried]), LARGEST)
    return Carried(values, std)


def _next(z: Array, variance: Array, known: Mask, own: Array) -> tuple[Array, Array]:
    """Values (n,) and their variances one level up, where `own` is known of some; in common units."""
    both = known & ~np.isnan(z)
    x, y = z[both], own[both[known]]
    slope, center_x, center_y, spread = 1.0, 0.0, 0.0, PRIOR_VARIANCE
    if len(x):
        center_x, center_y = float(x.mean()), float(y.mean())
        dx, dy = x - center_x, y - center_y
        slope = float(np.clip((dx @ dy + PRIOR_WEIGHT) / (dx @ dx + PRIOR_WEIGHT), 0.0, 2.0))
        rest = dy - slope * dx
        spread = (float(rest @ rest) + PRIOR_WEIGHT * PRIOR_VARIANCE) / (len(x) - 1 + PRIOR_WEIGHT)
    z = np.clip(center_y + slope * (z - center_x), -FARTHEST, FARTHEST)
    variance = slope**2 * variance + spread
    z[known], variance[known] = own, 0.0
    return z, variance
