"""CMA-ES: a normal distribution that moves towards the better trials and takes the shape of the valley they lie in.

The state is a function of the log alone and is replayed from it at every ask: the trials told so far, in order, form
generations of `population_size`, whoever asked for them and whenever; each complete generation updates the
distribution, and the point of a number is drawn from the latest. A generation thus never waits for a slow worker.
Decision: trials from elsewhere (imported, enqueued, drawn from an older distribution) count too; one that lies further
out than a sample plausibly can is pulled in along its direction first (Hansen 2011, "Injecting external solutions").
Price: a replay costs what its generations cost, so it is cut into epochs of 1,024 trials; an epoch starts from the best
tenth of the one before (as warm starts do, Nomura et al. 2021), or anew where that had contracted.

Numbers adapt on the unit cube (package `cmaes`), few and even levels with a margin that keeps neighbours likely (Hamano
et al. 2022). Choices have no direction: each gets a probability, moved towards the better half of a generation and
kept from vanishing (as in CatCMA, Hamano et al. 2024, without its joint learning rate). A parameter that is not active
in a trial leaves its part of the distribution where it was. When the distribution has contracted, or a long plateau
told nothing, it restarts elsewhere with twice the population (IPOP, Auger & Hansen 2005).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cmaes import CMA, CMAwM, SepCMA

from app.search import feasible
from app.search.constraints import Array
from app.search.free import Suggestion, pins_of, settled, sobol_point
from app.search.history import History
from app.search.ranking import Indices, pending, samples
from app.search.space import SearchSpace
from app.search.values import Value

SIGMA = 0.2  # of the cube's edge
EPOCH = 1024  # trials replayed at most
MAX_FULL = 40  # numeric columns; beyond, only variances adapt
MAX_LEVELS = 64  # a number with more is a continuum here
UNEVEN = 1.5  # ratio of bin widths from which levels are too uneven for a margin
CONTRACTED = 1e-5  # of the cube's edge, every column's standard deviation
MAX_DOUBLINGS = 3
LEARNING_RATE = 0.2  # of the choices' probabilities
N_DRAWS = 16  # at once, for a number
N_ROUNDS = 3
POINT_STREAM, RESTART_STREAM = 0xC3A0, 0xC3A5


@dataclass(frozen=True)
class Layout:
    """Which columns are numbers and which are choices.

    n_columns: D; numeric: (N,) column indices; level_units: by position among the numeric ones, the places of the
    levels that have a margin, which the distribution sees evenly spaced; n_choices: by column, the number of choices.
    """

    n_columns: int
    numeric: Indices
    level_units: Mapping[int, Array]
    n_choices: Mapping[int, int]

    @classmethod
    def of(cls, space: SearchSpace) -> Layout:
        kinds = [space.parameters[name] for name in space.columns]
        numeric = [j for j, kind in enumerate(kinds) if kind.is_ordered and kind.n_levels != 1]
        level_units = {}
        for position, j in enumerate(numeric):
            n = kinds[j].n_levels
            if n is not None and n <= MAX_LEVELS and len(numeric) <= MAX_FULL:
                places = kinds[j].units(kinds[j].level_codes())
                gaps = np.diff(places)
                if gaps.max() <= UNEVEN * gaps.min():
                    level_units[position] = places
        n_choices = {j: kind.n_levels or 1 for j, kind in enumerate(kinds) if not kind.is_ordered}
        return cls(len(kinds), np.array(numeric, dtype=np.intp), level_units, n_choices)

    def inward(self, units: Array) -> Array:
        """(n, D) rows of the cube to (n, N) points of the distribution's space; NaN stays."""
        points = units[:, self.numeric].copy()
        for position, places in self.level_units.items():
            n = len(places)
            points[:, position] = np.interp(points[:, position], places, (np.arange(n) + 0.5) / n)
        return points

    def outward(self, points: Array) -> Array:
        """The way back."""
        units = points.copy()
        for position, places in self.level_units.items():
            n = len(places)
            units[:, position] = places[np.clip(np.floor(points[:, position] * n), 0, n - 1).astype(np.intp)]
        return units


class Distribution:
    """What a number's point is drawn from; `update` moves it by one generation."""

    def __init__(
        self,
        layout: Layout,
        population_size: int,
        mean: Array,
        sigma: float,
        cov: Array | None,
        shares: dict[int, Array],
    ) -> None:
        self.layout, self.population_size, self.shares = layout, population_size, shares
        self._numbers = _optimizer(layout, population_size, mean, sigma, cov) if len(layout.numeric) else None
        self._best: list[float] = []

    def update(self, points: Array, units: Array, order: Array, value: float) -> None:
        """One generation.

        Args:
            points: (n, N) and units: (n, D), the same trials; order: (n,) their ranks, 0 the best; value: the best's.
        """
        if self._numbers is not None:
            mean = np.asarray(self._numbers.mean, dtype=np.float64)
            whole = np.where(np.isnan(points), mean, points)
            near = _pulled_in(_core(self._numbers), whole)
            self._numbers.tell([(row, float(rank)) for row, rank in zip(near, order, strict=True)])
        better = units[np.argsort(order, kind="stable")[: max(len(units) // 2, 1)]]
        weights = np.log(len(units) / 2 + 1.0) - np.log(np.arange(1, len(better) + 1))
        for j, n in self.layout.n_choices.items():
            self.shares[j] = _moved(self.shares[j], better[:, j], weights, n, self.population_size)
        self._best.append(value)

    def draw(self, rng: np.random.Generator, n_rows: int) -> Array:
        """(n, D) rows of the cube, not snapped."""
        rows = rng.random((n_rows, self.layout.n_columns))
        if self._numbers is not None:
            self._numbers.reseed_rng(int(rng.integers(2**32)))
            drawn = [self._numbers.ask() for _ in range(n_rows)]
            points = np.array([x[0] if isinstance(x, tuple) else x for x in drawn])
            rows[:, self.layout.numeric] = self.layout.outward(points)
        for j, n in self.layout.n_choices.items():
            rows[:, j] = (rng.choice(n, size=n_rows, p=self.shares[j]) + 0.5) / n
        return rows

    @property
    def is_spent(self) -> bool:
        """Whether it has contracted, or has seen nothing but one value for long."""
        n_plateau = 10 + math.ceil(30 * self.layout.n_columns / self.population_size)
        if len(self._best) > n_plateau and len(set(self._best[-n_plateau:])) == 1:
            return True
        if self._numbers is None:
            return False
        return bool(_core(self._numbers).should_stop()) or float(_std(_core(self._numbers)).max()) < CONTRACTED


class Evolution:
    """Points of CMA-ES, one number after the other; the log is replayed once for all numbers."""

    def __init__(
        self,
        space: SearchSpace,
        history: History,
        seed: int,
        fixed: Mapping[str, Value] | None,
        population_size: int | None = None,
        sigma: float = SIGMA,
    ) -> None:
        self._space, self._history, self._seed, self._fixed, self._sigma = space, history, seed, fixed, sigma
        self._layout = Layout.of(space)
        self._population_size = population_size or 4 + math.floor(3 * math.log(space.n_dimensions))
        self._log = samples(history)
        self._pins = pins_of(space, fixed)
        self._distribution: Distribution | None = None

    def __call__(self, number: int, taken: Callable[[str], bool], batch: Sequence[Suggestion]) -> Suggestion | None:
        """The point of one number; None when the space is exhausted."""
        n_out = len(pending(self._history, number)) + len(batch)
        if self._log.n_trials + n_out < self._population_size:
            return sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        why = "every draw was already tried or illegal"
        try:
            if self._distribution is None:
                self._distribution = self._replay()
            point = self._drawn(self._distribution, number, taken)
            if point is not None:
                return point
        except (ArithmeticError, AssertionError, np.linalg.LinAlgError) as error:
            why = f"the distribution could not be updated: {error}"
        free = sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        return None if free is None else Suggestion(free.params, "fallback", why)

    def _drawn(self, distribution: Distribution, number: int, taken: Callable[[str], bool]) -> Suggestion | None:
        rng = np.random.default_rng([self._seed % 2**64, number % 2**64, POINT_STREAM])
        anchors = self._anchors()
        for _ in range(N_ROUNDS):
            rows = feasible.pinned(distribution.draw(rng, N_DRAWS), self._pins)
            if self._space.constraints and len(anchors):
                rows = feasible.drawn_back(self._space, rows, anchors[rng.integers(len(anchors), size=N_DRAWS)])
            for codes in self._space.codes_of_units(rows):
                params = settled(self._space, codes, self._fixed)
                if params is not None and not taken(self._space.key(params)):
                    return Suggestion(params, "cmaes")
        return None

    def _anchors(self) -> Array:
        """Some of the better legal rows, towards which a draw that breaks a constraint is pulled."""
        if not self._space.constraints:
            return np.empty((0, self._space.n_dimensions))
        best = self._log.units[np.argsort(self._log.order, kind="stable")[: self._population_size]]
        rows = np.vstack([best, self._space.anchors])
        return rows[self._space.satisfied(self._space.codes_of_units(rows))]

    def _replay(self) -> Distribution:
        """The distribution after every complete generation of the present epoch."""
        first = self._log.n_trials // EPOCH * EPOCH
        first -= EPOCH if first == self._log.n_trials and first else 0
        units = self._log.units[first:]
        points = self._layout.inward(units)
        n_restarts = first // EPOCH
        distribution = self._begun(first, n_restarts)
        start = 0
        while start + distribution.population_size <= len(units):
            stop = start + distribution.population_size
            order = np.argsort(np.argsort(self._log.order[first + start : first + stop], kind="stable"), kind="stable")
            best = float(self._log.order[first + start : first + stop].min())
            distribution.update(points[start:stop], units[start:stop], order.astype(np.float64), best)
            start = stop
            if distribution.is_spent:
                n_restarts += 1
                distribution = self._anew(n_restarts)
        return distribution

    def _begun(self, first: int, n_restarts: int) -> Distribution:
        """The distribution that the epoch beginning at trial `first` starts from."""
        if first == 0:
            mean = np.full(len(self._layout.numeric), 0.5)
            return Distribution(self._layout, self._population_size, mean, self._sigma, None, self._even())
        chosen = first - EPOCH + np.argsort(self._log.order[first - EPOCH : first], kind="stable")[: EPOCH // 10]
        points = self._layout.inward(self._log.units[chosen])
        known = [column[~np.isnan(column)] for column in points.T]
        mean = np.array([column.mean() if len(column) else 0.5 for column in known])
        std = np.array([column.std() if len(column) else self._sigma for column in known])
        if len(std) and std.max() < 100 * CONTRACTED:
            return self._anew(n_restarts)
        variances = np.maximum(std, CONTRACTED) ** 2
        sigma = float(np.sqrt(variances.mean())) if len(std) else self._sigma
        return Distribution(
            self._layout, self._population_size, mean, sigma, np.diag(variances) / sigma**2, self._even()
        )

    def _anew(self, n_restarts: int) -> Distribution:
        rng = np.random.default_rng([self._seed % 2**64, n_restarts, RESTART_STREAM])
        mean = rng.random(len(self._layout.numeric))
        doubled = self._population_size * 2 ** min(n_restarts, MAX_DOUBLINGS)
        size = max(min(doubled, EPOCH // 4), self._population_size)  # several generations fit into an epoch
        return Distribution(self._layout, size, mean, self._sigma, None, self._even())

    def _even(self) -> dict[int, Array]:
        return {j: np.full(n, 1.0 / n) for j, n in self._layout.n_choices.items()}


def _optimizer(
    layout: Layout, population_size: int, mean: Array, sigma: float, cov: Array | None
) -> CMA | CMAwM | SepCMA:
    d = len(layout.numeric)
    bounds = np.tile([0.0, 1.0], (d, 1))
    size = max(population_size, 4)
    if d > MAX_FULL:
        return SepCMA(mean, sigma, bounds, population_size=size)
    if not layout.level_units:
        return CMA(mean, sigma, bounds, population_size=size, cov=cov)
    steps = np.zeros(d)
    for position, places in layout.level_units.items():
        steps[position] = 1.0 / len(places)
        bounds[position] = [0.5 / len(places), 1.0 - 0.5 / len(places)]
    return CMAwM(np.clip(mean, bounds[:, 0], bounds[:, 1]), sigma, bounds, steps, population_size=size, cov=cov)


def _core(optimizer: CMA | CMAwM | SepCMA) -> CMA | SepCMA:
    return optimizer._cma if isinstance(optimizer, CMAwM) else optimizer


def _std(core: CMA | SepCMA) -> Array:
    """(N,) standard deviations of the distribution."""
    variances = np.diag(core._C) if isinstance(core, CMA) else core._C
    return np.asarray(core._sigma * np.sqrt(np.maximum(variances, 0.0)), dtype=np.float64)


def _pulled_in(core: CMA | SepCMA, points: Array) -> Array:
    """Points whose Mahalanobis distance exceeds √N + 2N / (N + 2) pulled in to it. Source: Hansen 2011, eq. 4."""
    d = points.shape[1]
    y = (points - core._mean) / core._sigma
    if isinstance(core, CMA):
        B, D = core._eigen_decomposition()
        z = (y @ B) / D
    else:
        z = y / np.sqrt(core._C)
    length = np.sqrt(np.sum(z**2, axis=1))
    reach = math.sqrt(d) + 2.0 * d / (d + 2.0)
    factor = np.minimum(reach / np.maximum(length, 1e-300), 1.0)
    return np.asarray(core._mean + (points - core._mean) * factor[:, None], dtype=np.float64)


def _moved(shares: Array, places: Array, weights: Array, n: int, population_size: int) -> Array:
    """Probabilities of n choices after the better half of a generation, best first; none falls below its margin."""
    known = ~np.isnan(places)
    if n == 1 or not known.any():
        return shares
    counts = np.bincount(
        np.minimum(np.floor(places[known] * n), n - 1).astype(np.intp), weights=weights[known], minlength=n
    )
    moved = shares + LEARNING_RATE * (counts / counts.sum() - shares) * weights[known].sum() / weights.sum()
    margin = 1.0 / (n * population_size)
    moved = np.maximum(moved, margin)
    return np.asarray(moved / moved.sum(), dtype=np.float64)
