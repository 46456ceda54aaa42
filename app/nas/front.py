"""Metric against complexity: the front, its hypervolume, and what a network is expected to add to it.

Complexity is known, so only the metric is uncertain: the gain is a sum of one-dimensional ones over strips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.nas.model import Array, expected_gain


def non_dominated(metric: Array, complexity: Array) -> list[int]:
    """Places of those that none beats in both, by growing complexity; of equals the first."""
    order = np.lexsort((np.arange(len(metric)), -metric, complexity))
    found: list[int] = []
    best = -np.inf
    for place in order:
        if metric[place] > best:
            found.append(int(place))
            best = metric[place]
    return found


def hypervolume(metric: Array, complexity: Array, reference: tuple[float, float]) -> float:
    """The area that the points dominate, down to a metric of reference[0] and up to a complexity of reference[1]."""
    low, most = reference
    steps = _steps(metric, complexity, low, most)
    return float(sum((right - left) * (level - low) for left, right, level in steps))


def expected_hypervolume_gain(
    mean: Array, deviation: Array, complexity: Array, found: tuple[Array, Array], reference: tuple[float, float]
) -> Array:
    """(n,): by how much the hypervolume is expected to grow with each candidate.

    Args:
        mean, deviation: of the candidates' metric.  complexity: theirs, known.
        found: metric and complexity of what there is.
    """
    low, most = reference
    gains = np.zeros(len(mean))
    for left, right, level in _steps(found[0], found[1], low, most):
        width = np.clip(right - np.maximum(complexity, left), 0.0, None)
        gains += width * expected_gain(mean, deviation, level)
    return gains


def _steps(metric: Array, complexity: Array, low: float, most: float) -> Sequence[tuple[float, float, float]]:
    """The staircase: from left to right, and the best metric of what is at most that complex."""
    inside = (metric > low) & (complexity < most)
    metric, complexity = metric[inside], complexity[inside]
    front = non_dominated(metric, complexity)
    corners = [0.0, *(float(complexity[i]) for i in front), most]
    levels = [low, *(float(metric[i]) for i in front)]
    return [(a, b, level) for a, b, level in zip(corners, corners[1:], levels, strict=False)]
