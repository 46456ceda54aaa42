"""Rungs and brackets: where trials are compared, how one stands there, and which of them go on. Pure.

Everything is minimised: (m,) or (n, m) losses, m objectives. A row that is not finite is worse than every finite one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.search.constraints import Array, Mask

#: With several objectives a trial is compared with so many others at most: sorting them takes time squared.
COMPARED = 512
#: 2^64 divided by the golden ratio: multiples of it spread evenly over [0, 2^64).
_GOLDEN = 11_400_714_819_323_198_485


@dataclass(frozen=True)
class Rungs:
    """Rung k lies at min_step · eta^k, as long as that is below max_step; there trials are complete."""

    min_step: int
    max_step: int
    eta: int

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Of the rungs, rising."""
        found, step = [], self.min_step
        while step < self.max_step:
            found.append(step)
            step *= self.eta
        return tuple(found)

    def reached(self, step: int) -> int:
        """How many rungs lie at or below the step: rungs 0 to reached − 1."""
        return sum(rung_step <= step for rung_step in self.steps)

    def until_step(self, rung: int) -> int | None:
        """Where a trial stops that is on its way to this rung; None: there is none, it goes to the end."""
        return self.steps[rung] if rung < len(self.steps) else None

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """(n_rungs + 1,) the share of trials that begin with each rung; the last bracket stops nobody.

        Bracket b has s = n_rungs − b rungs left and a share in proportion to eta^s / (s + 1), so that every bracket
        spends about the same number of steps.
        Source: Li et al. 2018, "Hyperband", algorithm 1: n = ⌈(s_max + 1) eta^s / (s + 1)⌉.
        """
        left = np.arange(len(self.steps), -1, -1, dtype=np.float64)
        size = float(self.eta) ** (left - left[0]) / (left + 1.0)
        return tuple(float(share) for share in size / size.sum())

    def bracket(self, number: int) -> int:
        """The first rung at which the trial of this number is compared, by the weights of Hyperband.

        A function of the number alone: multiples of the golden ratio, which fill [0, 1) evenly from the first on.
        """
        place = number * _GOLDEN % 2**64 / 2**64
        return min(int(np.searchsorted(np.cumsum(self.weights), place, side="right")), len(self.steps))


def rung_of(step: int, *, min_step: int, max_step: int, eta: int) -> int | None:
    """The highest rung k with min_step · eta^k <= min(step, max_step); None below the first."""
    reached = min(step, max_step)
    if reached < min_step:
        return None
    rung = 0
    while min_step * eta ** (rung + 1) <= reached:
        rung += 1
    return rung


@dataclass(frozen=True)
class Standing:
    """How many others there are at the same place, and how many of them are better."""

    n_others: int
    n_better: int


def standing(losses: Array, others: Array) -> Standing:
    """Count the others that are better.

    Args:
        losses: (m,) the trial's own.  others: (n, m).
    With one objective better is less. With several it is a lower non-dominated rank, or in the same rank a larger
    crowding distance (Deb et al. 2002); equals are not better.
    """
    n, m = others.shape
    if m == 1:
        return Standing(n, int(np.sum(_finite(others)[:, 0] < _finite(losses)[0])))
    ranks, crowding = rank(np.vstack([losses[None, :], others]))
    ahead = (ranks[1:] < ranks[0]) | ((ranks[1:] == ranks[0]) & (crowding[1:] > crowding[0]))
    return Standing(n, int(np.sum(ahead)))


def rank(losses: Array) -> tuple[Array, Array]:
    """(n,) non-dominated ranks, 0 the front, and (n,) crowding distances within them, of (n, m) losses.

    Rows that are not finite share the last rank, without a distance.
    Source: Deb et al. 2002, "NSGA-II", section III.
    """
    n = len(losses)
    ranks, crowding = np.full(n, float(n)), np.zeros(n)
    rows = np.flatnonzero(np.isfinite(losses).all(axis=1))
    finite = losses[rows]
    is_no_worse = np.ones((len(rows), len(rows)), dtype=bool)
    for column in finite.T:
        is_no_worse &= column[:, None] <= column[None, :]
    beats = is_no_worse & ~is_no_worse.T  # (n, n): row i beats column j
    n_above = beats.sum(axis=0)
    is_left = np.ones(len(rows), dtype=bool)
    for front in range(len(rows)):
        here = is_left & (n_above == 0)
        if not here.any():
            break
        ranks[rows[here]], crowding[rows[here]] = front, _crowding(finite[here])
        n_above -= beats[here].sum(axis=0)
        is_left &= ~here
    return ranks, crowding


def promotable(losses: Array, is_paused: Mask, eta: int) -> list[int]:
    """Which paused trials of a rung may go on, best first: those among the best 1/eta of all that reached it.

    Args:
        losses: (n, m), one row a trial that reached the rung, in order of number.
        is_paused: (n,) those that stopped there and were not promoted yet.
    Ties go to the lower number. Fewer than eta trials promote nobody.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning", algorithm 2.
    """
    best = order(losses)[: len(losses) // eta]
    return [i for i in best if is_paused[i] and np.isfinite(losses[i]).all()]


def order(losses: Array) -> list[int]:
    """Indices of (n, m) losses, best first; of equals the first."""
    if losses.shape[1] == 1:
        return [int(i) for i in np.argsort(_finite(losses)[:, 0], kind="stable")]
    ranks, crowding = rank(losses)
    return [int(i) for i in np.lexsort((np.arange(len(losses)), -crowding, ranks))]


def as_losses(values: Sequence[float], signs: Array) -> Array:
    """(m,) values of the objectives in the user's units, with the directions undone."""
    return np.asarray(np.asarray(values, dtype=np.float64) * signs, dtype=np.float64)


def _finite(losses: Array) -> Array:
    return np.where(np.isfinite(losses), losses, np.inf)


def _crowding(losses: Array) -> Array:
    """(n,) the gaps to both neighbours, summed over the objectives in units of the front's range; inf at its ends."""
    n, m = losses.shape
    crowding = np.zeros(n)
    for j in range(m):
        along = np.argsort(losses[:, j], kind="stable")
        column = losses[along, j]
        span = column[-1] - column[0]
        if span <= 0:
            continue
        crowding[along[[0, -1]]] = np.inf
        crowding[along[1:-1]] += (column[2:] - column[:-2]) / span
    return crowding
