"""NSGA-II: children of the best trials, for several objectives or one, on any space.

Steady state instead of generations: the parents of every point are the best `population_size` of all the trials told
so far, by constrained domination, front and crowding distance, so no worker waits for a generation to end, and a
suggestion depends on the log and its number alone. Numbers are crossed by simulated binary crossover (SBX) and moved by
polynomial mutation, on the unit cube; choices are swapped and redrawn. A parameter that is not active in one parent
is taken from the other, or anew if in neither. A child that breaks a constraint is drawn towards its parent.

Source: Deb, Pratap, Agarwal & Meyarivan 2002; Deb & Agrawal 1995 (SBX).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.search import feasible
from app.search.constraints import Array, Mask
from app.search.free import Suggestion, pins_of, settled, sobol_point
from app.search.history import History
from app.search.pareto import crowding
from app.search.ranking import Indices, best_first, pending, told
from app.search.space import SearchSpace
from app.search.values import Value

POPULATION_SIZE = 10
POPULATION_OF_FRONTS = 16  # with several objectives
MAX_INITIAL = 20  # space-filling points; a larger population fills up with children
N_CHILDREN = 32  # bred for a number; the first legal and unused one is taken
CROSSOVER_RATE = 0.9
CROSSOVER_INDEX = 5.0  # eta of SBX: children nearer to their parents the larger it is
MUTATION_INDEX = 5.0
POINT_STREAM = 0x45A2


class Breeder:
    """Points of NSGA-II, one number after the other; the parents are chosen once for all numbers."""

    def __init__(
        self,
        space: SearchSpace,
        history: History,
        seed: int,
        fixed: Mapping[str, Value] | None,
        population_size: int | None = None,
    ) -> None:
        self._space, self._history, self._seed, self._fixed = space, history, seed, fixed
        self._pins = pins_of(space, fixed)
        trials = told(history)
        if population_size is None:
            population_size = POPULATION_SIZE if trials.objectives.shape[1] == 1 else POPULATION_OF_FRONTS
        self._n_initial = min(population_size, MAX_INITIAL)
        self._n_told = trials.n_trials
        self._parents = trials.units[best_first(trials, population_size, crowding)]
        self._is_ordered = np.array([space.parameters[name].is_ordered for name in space.columns], dtype=bool)
        self._n_levels = np.array([levels or 0 for levels in space.n_levels])

    def __call__(self, number: int, taken: Callable[[str], bool], batch: Sequence[Suggestion]) -> Suggestion | None:
        """The point of one number; None when the space is exhausted."""
        n_out = len(pending(self._history, number)) + len(batch)
        if self._n_told + n_out < self._n_initial or self._n_told < 2:
            return sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        rng = np.random.default_rng([self._seed % 2**64, number % 2**64, POINT_STREAM])
        for mutation_factor in (1.0, 4.0):
            codes = self._space.codes_of_units(self._children(rng, mutation_factor))
            for row in codes[self._space.satisfied(codes)]:
                params = settled(self._space, row, self._fixed)
                if params is not None and not taken(self._space.key(params)):
                    return Suggestion(params, "nsga2", f"a child of the best {len(self._parents)} trials")
        point = sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        return None if point is None else Suggestion(point.params, "fallback", "every child was already tried")

    def _children(self, rng: np.random.Generator, mutation_factor: float) -> Array:
        """(N_CHILDREN, D) rows of the unit cube."""
        first, second = (self._parents[self._tournament(rng)] for _ in range(2))
        anew = rng.random(first.shape)
        whole_first = np.where(np.isnan(first), np.where(np.isnan(second), anew, second), first)
        whole_second = np.where(np.isnan(second), whole_first, second)
        crossed = self._crossed(rng, whole_first, whole_second)
        children = feasible.pinned(self._mutated(rng, crossed, mutation_factor), self._pins)
        if not self._space.constraints:
            return children
        anchors = np.where(self._is_ordered, feasible.pinned(whole_first, self._pins), np.nan)
        return feasible.drawn_back(self._space, children, anchors)

    def _tournament(self, rng: np.random.Generator) -> Indices:
        """Winners of binary tournaments: parents are in order, so the lower index wins."""
        return np.asarray(np.min(rng.integers(len(self._parents), size=(2, N_CHILDREN)), axis=0), dtype=np.intp)

    def _crossed(self, rng: np.random.Generator, first: Array, second: Array) -> Array:
        """SBX where ordered, a swap one time in two where not; one row in ten stays as it is."""
        u, coin, side = rng.random((3, *first.shape))
        spread = np.where(u <= 0.5, 2.0 * u, 0.5 / (1.0 - u)) ** (1.0 / (CROSSOVER_INDEX + 1.0))
        sign = np.where(side < 0.5, 1.0, -1.0)
        blended = 0.5 * (first + second) + 0.5 * sign * spread * (first - second)
        numbers = np.where(coin < 0.5, np.clip(blended, 0.0, 1.0), first)
        choices = np.where(coin < 0.5, second, first)
        crossed = np.where(self._is_ordered, numbers, choices)
        return np.where(rng.random((len(first), 1)) < CROSSOVER_RATE, crossed, first)

    def _mutated(self, rng: np.random.Generator, rows: Array, factor: float) -> Array:
        """Polynomial mutation of about one column a row; a level moves by one at least, a choice is drawn anew."""
        n, d = rows.shape
        is_hit: Mask = rng.random((n, d)) < min(factor / d, 1.0)
        u, anew = rng.random((2, n, d))
        power = 1.0 / (MUTATION_INDEX + 1.0)
        down = (2.0 * u + (1.0 - 2.0 * u) * (1.0 - rows) ** (MUTATION_INDEX + 1.0)) ** power - 1.0
        up = 1.0 - (2.0 * (1.0 - u) + (2.0 * u - 1.0) * rows ** (MUTATION_INDEX + 1.0)) ** power
        step = np.where(u < 0.5, down, up)
        bin_width = np.where(self._n_levels > 0, 1.0 / np.maximum(self._n_levels, 1), 0.0)
        step = np.where(np.abs(step) < bin_width, np.copysign(bin_width, step), step)
        moved = np.where(self._is_ordered, np.clip(rows + step, 0.0, 1.0), anew)
        return np.where(is_hit, moved, rows)
