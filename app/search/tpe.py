"""The tree-structured Parzen estimator: points that look like the good trials and unlike the others.

Candidates are drawn from a density l of the good trials, and the one with the highest ratio l / g to the density g of
all others is suggested (Bergstra et al. 2011). Both are mixtures of one kernel a trial over all parameters jointly, so
interactions are kept ("multivariate"), and one uniform kernel. A trial says nothing about a parameter that was not
active in it: there its kernel is uniform too. The good ones are the best 12 %, at most 25; of several objectives, by
front and hypervolume contribution. Points that are out for evaluation count among the others, so that a batch spreads.
A trial that broke a bound on an outcome or could not be evaluated is never good: a second ratio, of the trials within
all bounds to those, multiplies the first.

Source: Bergstra et al. 2011; Watanabe 2023, "Tree-structured Parzen estimator: understanding its algorithm components";
Watanabe & Hutter 2023 for bounds; Ozaki et al. 2022 for several objectives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from app.search import feasible
from app.search.constraints import Array, Mask
from app.search.free import Suggestion, is_countable, pins_of, settled, sobol_point, unused
from app.search.history import History
from app.search.ranking import Indices, Told, best_first, contributions, crashed, pending, told
from app.search.space import SearchSpace
from app.search.values import Value

N_INITIAL = 10  # space-filling points; pending ones count
N_CANDIDATES = 24
GOOD_SHARE = 0.12
MAX_GOOD = 25
MAX_OTHERS = 400  # a longer history's others are a random part of them, each standing for several
MAX_PENDING = 1000
PRIOR_WEIGHT = 1.0  # of the uniform kernel, in trials
LEAST_WIDTH = 0.03  # of the cube's edge
LEVEL_WIDTH = 0.2  # the same where there are levels, times k^(-1 / (D + 4)): narrower ones never leave their level
STRAY = 0.2  # probability that a choice is not the kernel's own
MANY_LEVELS = 256  # an ordered column with more is taken as smooth
N_LISTED = 512  # unused configurations that are compared when every draw was already tried
SPLIT_STREAM, POINT_STREAM = 0x79E5, 0x79E0


@dataclass(frozen=True)
class Columns:
    """How each column of the cube is compared.

    smooth (D,) True for a continuum or a grid too fine to tell; edges: by column of a coarse ordered one, the (n + 1,)
    borders of its levels' bins; n_choices: by column of an unordered one, how many there are.
    """

    smooth: Mask
    edges: Mapping[int, Array]
    n_choices: Mapping[int, int]

    @classmethod
    def of(cls, space: SearchSpace) -> Columns:
        kinds = [space.parameters[name] for name in space.columns]
        edges: dict[int, Array] = {}
        n_choices: dict[int, int] = {}
        for j, kind in enumerate(kinds):
            n = kind.n_levels
            if not kind.is_ordered:
                n_choices[j] = n or 1
            elif n is not None and n <= MANY_LEVELS:
                levels = kind.level_codes()
                inner = kind.units(levels[:-1] / 2 + levels[1:] / 2)
                edges[j] = np.concatenate([[0.0], np.clip(inner, 0.0, 1.0), [1.0]])
        smooth = np.array([j not in edges and j not in n_choices for j in range(len(kinds))], dtype=bool)
        return cls(smooth, edges, n_choices)


@dataclass(frozen=True)
class Parzen:
    """A mixture of k kernels over D columns.

    centers (k, D), NaN where a kernel says nothing and is uniform; widths (k, D) of the truncated normals; weights (k,)
    that sum to one.
    """

    columns: Columns
    centers: Array
    widths: Array
    weights: Array

    @classmethod
    def around(cls, columns: Columns, centers: Array, weights: Array) -> Parzen:
        """A kernel at each of (k, D) centers, as weighty as (k,) weights, and a uniform one."""
        n_columns = centers.shape[1]
        widths = np.vstack([_widths(columns, centers), np.ones(n_columns)])
        total = np.append(weights, PRIOR_WEIGHT)
        return cls(columns, np.vstack([centers, np.full(n_columns, np.nan)]), widths, total / total.sum())

    def sample(self, rng: np.random.Generator, n_rows: int, pins: Array) -> tuple[Array, Array]:
        """(n, D) rows, not snapped, with the held columns set, and the centers that they were drawn around.

        Kernels are as likely as their weight and, where columns are held, as they explain those.
        """
        weights = self.weights
        if not np.isnan(pins).all():
            logs = np.log(weights) + self._log_kernels(pins[None, :])[0]
            weights = np.exp(logs - logsumexp(logs))
        cumulated = np.cumsum(weights)
        chosen = np.searchsorted(cumulated, rng.random(n_rows) * cumulated[-1], side="right")
        chosen = np.minimum(chosen, len(weights) - 1)
        uniform, spare = rng.random((2, n_rows, len(pins)))
        centers, widths = self.centers[chosen], self.widths[chosen]
        low, high = ndtr(-centers / widths), ndtr((1.0 - centers) / widths)
        rows = np.clip(centers + widths * ndtri(low + uniform * (high - low)), 0.0, 1.0)
        for j, n in self.columns.n_choices.items():
            own = np.minimum(np.floor(centers[:, j] * n), n - 1)
            other = (own + 1.0 + np.floor(spare[:, j] * (n - 1))) % n
            rows[:, j] = (np.where(uniform[:, j] < 1.0 - _stray(n), own, other) + 0.5) / n
        rows = np.where(np.isnan(centers), spare, rows)
        return feasible.pinned(rows, pins), feasible.pinned(centers, pins)

    def log_density(self, rows: Array) -> Array:
        """(n,) of (n, D) snapped rows: density over the smooth columns, probability over the others."""
        return np.asarray(logsumexp(self._log_kernels(rows) + np.log(self.weights), axis=1), dtype=np.float64)

    def _log_kernels(self, rows: Array) -> Array:
        """(n, k) every kernel at every row; a column that is not active in the row, or NaN, adds nothing."""
        smooth = self.columns.smooth
        active = (~np.isnan(rows[:, smooth])).astype(np.float64)
        x = np.where(active > 0, rows[:, smooth], 0.0)
        quadratic, linear, constant = self._smooth_terms
        logs = x**2 @ quadratic.T + x @ linear.T + active @ constant.T
        for j, edges in self.columns.edges.items():
            logs += _log_bins(rows[:, j], edges, self.centers[:, j], self.widths[:, j])
        for j, n in self.columns.n_choices.items():
            logs += _log_choices(rows[:, j], n, self.centers[:, j])
        return np.asarray(logs, dtype=np.float64)

    @cached_property
    def _smooth_terms(self) -> tuple[Array, Array, Array]:
        """(k, S) each: -(x - c)² / 2w² - log(w √2π Z) as coefficients of x², x and 1; 0 where uniform."""
        c, w = self.centers[:, self.columns.smooth], self.widths[:, self.columns.smooth]
        z = ndtr((1.0 - c) / w) - ndtr(-c / w)
        with np.errstate(invalid="ignore"):
            constant = -0.5 * (c / w) ** 2 - np.log(w * z) - 0.5 * np.log(2 * np.pi)
        known = ~np.isnan(c)
        return (
            np.where(known, -0.5 / w**2, 0.0), np.where(known, c / w**2, 0.0), np.where(known, constant, 0.0),
        )  # fmt: skip


def _log_bins(places: Array, edges: Array, centers: Array, widths: Array) -> Array:
    n = len(edges) - 1
    active, known = ~np.isnan(places), ~np.isnan(centers)
    k = np.clip(np.searchsorted(edges, np.where(active, places, 0.5), side="right") - 1, 0, n - 1)
    c, w = np.where(known, centers, 0.5), np.where(known, widths, 1.0)
    cdf = ndtr((edges[:, None] - c) / w)
    share = np.diff(cdf, axis=0) / (cdf[-1] - cdf[0])
    share = np.where(known, share, np.diff(edges)[:, None])
    logs = np.log(np.maximum(share, 1e-300))[k]
    return np.where(active[:, None], logs, 0.0)


def _log_choices(places: Array, n: int, centers: Array) -> Array:
    if n == 1:
        return np.zeros((len(places), len(centers)))
    active, known = ~np.isnan(places), ~np.isnan(centers)
    own, theirs = np.floor(np.where(active, places, 0.0) * n), np.floor(np.where(known, centers, 0.0) * n)
    same = np.minimum(own, n - 1)[:, None] == np.minimum(theirs, n - 1)
    logs = np.where(known, np.where(same, math.log(1.0 - _stray(n)), math.log(_stray(n) / (n - 1))), -math.log(n))
    return np.asarray(np.where(active[:, None], logs, 0.0), dtype=np.float64)


def _stray(n: int) -> float:
    """Probability that a choice of n is another than its kernel's."""
    return min(STRAY, (n - 1) / n)


def _widths(columns: Columns, centers: Array) -> Array:
    """(k, D) how wide each kernel is: as far as the further of its two neighbours along the column.

    At least 0.03 or, with few kernels, (k + 1)^-2: narrow kernels around a few good trials would end the search.
    """
    k, n_columns = centers.shape
    places = np.where(np.isnan(centers), np.inf, centers)
    order = np.argsort(places, axis=0, kind="stable")
    with np.errstate(invalid="ignore"):
        gaps = np.diff(np.take_along_axis(places, order, axis=0), axis=0)
    gaps = np.where(np.isfinite(gaps), gaps, 0.0)
    none = np.zeros((min(k, 1), n_columns))
    wide = np.maximum(np.vstack([none, gaps]), np.vstack([gaps, none]))
    widths = np.empty(centers.shape)
    np.put_along_axis(widths, order, wide, axis=0)
    is_alone = np.sum(~np.isnan(centers), axis=0) == 1
    widths = np.where(is_alone, np.maximum(centers, 1.0 - centers), widths)
    least = np.full(n_columns, max(LEAST_WIDTH, (k + 1.0) ** -2.0))
    for j in columns.edges:
        least[j] = max(least[j], LEVEL_WIDTH * max(k, 1) ** (-1.0 / (n_columns + 4)))
    return np.asarray(np.clip(np.where(np.isnan(widths), 1.0, widths), least, 1.0), dtype=np.float64)


@dataclass(frozen=True)
class Crowd:
    """Rows (k, D) to put kernels at and their (k,) weights: of a long list a random part, each standing for several."""

    centers: Array
    weights: Array

    @classmethod
    def of(cls, rows: Array, rng: np.random.Generator) -> Crowd:
        n = len(rows)
        if n <= MAX_OTHERS:
            return cls(rows, np.ones(n))
        shown = np.sort(rng.choice(n, MAX_OTHERS, replace=False))
        return cls(rows[shown], np.full(MAX_OTHERS, n / MAX_OTHERS))

    def density(self, columns: Columns, more: Array) -> Parzen:
        """With a kernel of weight 1 at each of (j, D) further rows."""
        weights = np.append(self.weights, np.ones(len(more)))
        return Parzen.around(columns, np.vstack([self.centers, more]), weights)


@dataclass(frozen=True)
class Split:
    """What the told trials amount to: the good density and the others, pending ones aside.

    share: of good trials among those compared.  kept, broken: densities of the trials within every bound and of those
    beyond one or not evaluable, None where either has no trial; kept_share: of the former.
    """

    why: str
    good: Parzen
    others: Crowd
    share: float
    kept: Parzen | None
    broken: Parzen | None
    kept_share: float

    def score(self, rows: Array, others: Parzen) -> Array:
        """(n,) the log of the product of relative density ratios, 1 / (γ + (1 - γ) g / l), of goal and bounds.

        Source: Watanabe & Hutter 2023, "c-TPE", eq. 9, with all bounds as one.
        """
        scores = _log_ratio(self.good.log_density(rows) - others.log_density(rows), self.share)
        if self.kept is None or self.broken is None:
            return scores
        return scores + _log_ratio(self.kept.log_density(rows) - self.broken.log_density(rows), self.kept_share)


def _log_ratio(log_odds: Array, share: float) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.logaddexp(np.log(share), np.log1p(-share) - log_odds), dtype=np.float64)


class ParzenProposer:
    """Points of the estimator, one number after the other; the trials are split once for all numbers."""

    def __init__(
        self,
        space: SearchSpace,
        history: History,
        seed: int,
        fixed: Mapping[str, Value] | None,
        n_initial: int = N_INITIAL,
        n_candidates: int = N_CANDIDATES,
    ) -> None:
        self._space, self._history, self._seed, self._fixed = space, history, seed, fixed
        self._n_initial, self._n_candidates = n_initial, n_candidates
        self._columns, self._pins = Columns.of(space), pins_of(space, fixed)
        self._told, self._crashed = told(history), crashed(history)
        self._split: Split | None = None

    def __call__(self, number: int, taken: Callable[[str], bool], batch: Sequence[Suggestion]) -> Suggestion | None:
        """The point of one number; None when the space is exhausted."""
        out = pending(self._history, number)[-MAX_PENDING:]
        if batch:
            out = np.vstack([out, self._space.encode_many([point.params for point in batch])])
        n_informed = self._told.n_trials + len(self._crashed) + len(out)
        if n_informed < self._n_initial or self._told.n_trials < 2:
            return sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        self._split = split = self._split or self._splitted()
        others = split.others.density(self._columns, out)
        rng = np.random.default_rng([self._seed % 2**64, number % 2**64, POINT_STREAM])
        for rows in self._candidates(rng, split.good, taken):
            scores = split.score(rows, others)
            codes = self._space.codes_of_units(rows)
            for i in np.argsort(-scores, kind="stable"):
                params = settled(self._space, codes[i], self._fixed)
                if params is not None and not taken(self._space.key(params)):
                    return Suggestion(params, "tpe", split.why)
        point = sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        return None if point is None else Suggestion(point.params, "fallback", "every candidate was already tried")

    def _candidates(self, rng: np.random.Generator, good: Parzen, taken: Callable[[str], bool]) -> Iterator[Array]:
        """Snapped legal rows, a better guess than the next while that is of use."""
        for n_rows in (self._n_candidates, 10 * self._n_candidates):
            rows, centers = good.sample(rng, n_rows, self._pins)
            if self._space.constraints:
                rows = feasible.drawn_back(self._space, rows, centers)
                rows = rows[self._space.satisfied(self._space.codes_of_units(rows))]
                if len(rows) < n_rows:
                    rows = np.vstack([rows, feasible.draw(self._space, rng, n_rows - len(rows), self._pins)])
            if len(rows):
                yield self._space.snap(rows)
        if is_countable(self._space):
            left = list(islice(unused(self._space, taken, self._fixed), N_LISTED))
            if left:
                yield self._space.encode_many(left)

    def _splitted(self) -> Split:
        trials, columns = self._told, self._columns
        n = trials.n_trials
        rng = np.random.default_rng([self._seed % 2**64, SPLIT_STREAM])
        chosen = best_first(trials, min(math.ceil(GOOD_SHARE * n), MAX_GOOD), contributions)
        is_kept = trials.breach == 0.0
        kept = broken = None
        compared = np.arange(n)
        if is_kept.any():  # a trial beyond a bound is good only while no trial is within
            chosen, compared = chosen[is_kept[chosen]], np.flatnonzero(is_kept)
            beyond = np.vstack([trials.units[~is_kept], self._crashed])
            if len(beyond):
                nothing = np.empty((0, len(self._pins)))
                kept = Crowd.of(trials.units[is_kept], rng).density(columns, nothing)
                broken = Crowd.of(beyond, rng).density(columns, nothing)
        rest = np.setdiff1d(compared, chosen)
        return Split(
            why=f"like the best {len(chosen)} of {n} trials, unlike the others",
            good=Parzen.around(columns, trials.units[chosen], _worth(trials, chosen, rest)),
            others=Crowd.of(trials.units[rest], rng),
            share=len(chosen) / len(compared),
            kept=kept,
            broken=broken,
            kept_share=float(is_kept.sum()) / (n + len(self._crashed)),
        )


def _worth(trials: Told, chosen: Indices, rest: Indices) -> Array:
    """(k,) weights of the good trials, 1 on average: how much better than all others, or what they add to the front.

    Source: "EI weighting", Watanabe 2023; hypervolume contributions, Ozaki et al. 2022.
    """
    even = np.ones(len(chosen))
    if trials.breach[chosen].any() or not len(rest):
        return even
    halves = trials.objectives / 2  # a difference of halves is finite
    if halves.shape[1] > 1:
        gains = contributions(trials.objectives[chosen])
    else:
        gains = halves[rest, 0].min() - halves[chosen, 0]
    largest = float(gains.max())
    if not largest > 0:
        return even
    gains = np.maximum(gains / largest, 1e-6)
    return np.asarray(gains / gains.mean(), dtype=np.float64)
