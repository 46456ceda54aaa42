"""The first configurations of a new study, chosen from the best of past ones so that they complement one another.

Decision: the portfolio is chosen anew for every number. What was measured so far tells which sources rank as the new
study does, and those count more in what is chosen next. Each trial that was expected to be much worse than another and
is better speaks against the past; once these are the more, nothing further is taken from it, and the study begins with
space-filling points as if it had no past. So that there is something to tell it by, trials 4, 8 and 10 do not come
from the past. Several sources contradict one another where one of them is wrong, and their items tell who; a single
one is put to the test by the second trial instead of the fourth, and with two results the model speaks for it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.search.constraints import Array
from app.search.history import History
from app.search.transfer import Past

N_BEST = 30  # of every source: those that may be chosen
LAST_POSITION = 7  # of the study's trials, from 1, that the portfolio fills
OWN_POSITIONS = frozenset({4, 8, 10})  # that have nothing from the past, not even their model
TESTING_POSITIONS = frozenset({2, 8, 10})  # the same, with a single source
MANY = 20  # results: by then the model has its own word on the past
FAR = 0.7  # normal scores: an expected difference that a result should not reverse
REST = 4  # further items, for those that are taken already


@dataclass(frozen=True)
class Portfolio:
    """Of one objective j."""

    past: Past
    j: int

    @cached_property
    def rows(self) -> Array:
        """(m, D) legal rows: every source's best, each once."""
        parts = []
        for source, rows in zip(self.past.sources, self.past.rows, strict=True):
            order = np.argsort(source.scores, kind="stable")
            parts.append(rows[order[source.is_eligible[order]][:N_BEST]])
        rows = np.vstack(parts)
        if self.past.space.constraints:
            rows = rows[self.past.space.satisfied(self.past.space.codes_of_units(rows))]
        _, first = np.unique(np.where(np.isnan(rows), -1.0, rows), axis=0, return_index=True)
        return np.asarray(rows[np.sort(first)], dtype=np.float64)

    @cached_property
    def keys(self) -> Set[str]:
        """Identities of all configurations that it may offer."""
        space = self.past.space
        return frozenset(space.key(space.natives(codes)) for codes in space.codes_of_units(self.rows))

    @cached_property
    def _expected(self) -> Array:
        return self.past.means(self.rows)

    def items(self, history: History, count: int = 1) -> Array:
        """(k, D) what to try next, in order, a few more than `count`; none, if the past disappoints."""
        if not len(self.rows) or self.disappoints(history):
            return self.rows[:0]
        expected, _ = self._measured(history)
        reached = expected.min(axis=0) if len(expected) else np.full(len(self.past.sources), np.inf)
        return self.rows[greedy(self._expected, self.trust(history), reached, count + REST)]

    def _measured(self, history: History) -> tuple[Array, Array]:
        """(n, S) what the sources expected of the measured trials, and (n,) what they came to."""
        rows = np.flatnonzero(history.is_measured)
        return self.past.means(history.units[rows]), history.objectives[rows, self.j]

    def trust(self, history: History) -> Array:
        """(S,) shares of the sources: each pair of results that one ranks the wrong way divides its share by e."""
        expected, values = self._measured(history)
        order = np.sign(values[:, None] - values)
        ranked = np.sign(expected[:, None, :] - expected)
        n_wrong = 0.5 * ((ranked != order[:, :, None]) & (order[:, :, None] != 0)).sum(axis=(0, 1))
        shares = self.past.caps * np.exp(n_wrong.min() - n_wrong)
        return np.asarray(shares / max(float(shares.sum()), 1e-300), dtype=np.float64)

    def disappoints(self, history: History) -> bool:
        """Whether results rank against what the sources expected, where they expected much of a difference."""
        expected, values = self._measured(history)
        if not 2 <= len(values) <= MANY:
            return False
        together = expected @ self.trust(history)
        should_be_worse = together[:, None] - together > FAR
        order = np.sign(values[:, None] - values)[should_be_worse]
        return bool((order < 0).sum() > (order > 0).sum())


def greedy(scores: Array, shares: Array, reached: Array, count: int) -> list[int]:
    """Which of m configurations to try, in order: each lowers most the sources' mean best score.

    Args:
        scores: (m, S) what each source expects.  shares: (S,) how much each counts.  reached: (S,) best score before.
    Source: Wistuba et al. 2015, "Sequential model-free hyperparameter tuning".
    """
    chosen: list[int] = []
    is_left = np.ones(len(scores), dtype=bool)
    while len(chosen) < min(count, len(scores)):
        with np.errstate(invalid="ignore"):
            loss = np.where(is_left, np.minimum(reached, scores) @ shares, np.inf)
        chosen.append(int(np.argmin(loss)))
        is_left[chosen[-1]] = False
        reached = np.minimum(reached, scores[chosen[-1]])
    return chosen
