"""Bayesian optimisation: from a history to the acquisition, and from that to the point of one number.

Decision: whatever is fitted is a function of the first c finished trials, where c walks a fixed schedule (every trial
at first, then about every tenth part more). Between two fits the covariance's factor grows row by row, always in the
order of the trials' numbers. So a process that has just started finds, to the last bit, what one that has followed the
study from its first trial has in its memo, and nothing has to be stored. Price: after a restart the first ask fits
once. Only trials before the first one that is still out count for c, or those far behind the newest: the late tells of
sixteen workers would otherwise each change what was just fitted.

Cost is bounded: hyperparameters see at most 250 trials, the posterior at most 300: the best, the latest, those near the
best and a seeded random rest.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from app.errors import NotPositiveDefinite, NumericalError
from app.search import feasible
from app.search.acquisition import (
    Acquisition,
    HypervolumeImprovement,
    Improvement,
    Term,
    Thrift,
    Within,
    exploration_share,
)
from app.search.carried import carried
from app.search.constraints import Array
from app.search.free import Suggestion, pins_of, settled, sobol_point
from app.search.history import Goal, History
from app.search.kernels import Embedding
from app.search.maximize import maximize
from app.search.options import MAX_CONDITIONED
from app.search.parameters import Value
from app.search.pareto import REFERENCE_MARGIN, non_dominated, thinned
from app.search.space import SearchSpace
from app.search.surrogate import Factor, Surrogate, fit
from app.search.warping import Warping

BRANCH_EVERY = 3  # numbers: so often the choices are drawn, see docs/decisions
N_BRANCH = 16  # rows of them that are compared
MAX_FITTED = 250
EVERY_TRIAL = 20
INTERVAL_SHARE, MAX_INTERVAL = 0.1, 50  # so many come to MAX_CONDITIONED until the next checkpoint
N_ROUGH, N_POLISHING = 50, 12  # trials of a first rough fit, and steps that improve it on all that count
UNPROVEN_NOISE = 1e-3  # variance, standardised: a fitted noise this small may stand for roughness the kernel lacks
N_INCUMBENTS = 250
N_CENTERS = 4
N_INITIAL = 6
MAX_TOLD_STD = 10.0  # standardised units: such a trial says nothing
MAX_HYPERVOLUME_OBJECTIVES = 3
MAX_FRONT = (64, 24)  # points of the front that count, for two and three objectives
AUGMENTATION = 0.05
DEMANDED_PER_TIE, MAX_DEMANDED = 0.2, 1.5  # standardised improvement
MIN_COST_SPREAD = 0.1  # of the logarithm: where trials cost within about a tenth the same, cost is no matter
COOLING = 50  # trials that halve the weight of cost
FULL_EFFORT = 100  # trials up to which the maximiser looks at all its candidates
REFERENCE_SPAN = 0.5  # standardised: a front without extent still has something to improve
MODEL_STREAM, POINT_STREAM, WEIGHT_STREAM = 0x0F17, 0x0A5C, 0x0E16

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Measured:
    """(n,) finite values and their standard errors, NaN where there is none."""

    values: Array
    noise_std: Array


@dataclass(frozen=True)
class Quantity:
    """Something measured on some of the finished trials: an objective, an outcome's violation, whether it ran at all.

    rows: (k,) which trials, by number.
    measured: of how many of them -> their values, from those trials alone.
    told_std: (k,) standard errors told with the trials, in the units of the values, NaN where not told.
    has_noise: whether any of the values may have a standard error.
    variant: what else the values depend on.
    """

    name: str
    rows: Indices
    measured: Callable[[int], Measured]
    told_std: Array
    has_noise: bool = False
    is_warped: bool = True
    variant: Hashable = None


@dataclass(frozen=True)
class Modelled:
    """A quantity's surrogate with the warping that leads back to the user's units.

    rows: (n,) the finished trials it is conditioned on.  values: (n,) theirs, in the units of the quantity.
    told_std: (n,) their standard errors, standardised, 0 where none was told.
    """

    surrogate: Surrogate
    warping: Warping
    rows: Indices
    values: Array
    told_std: Array


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of each objective, (n, m), in the user's units and direction."""

    mean: Array
    std: Array


# ---- models, from checkpoint to checkpoint


@dataclass(frozen=True)
class _Base:
    """What is settled at a checkpoint: which of the quantity's values are kept (positions), and their factor.

    last_number: of the trials it was made from; it holds while there are as many up to that number.
    warping: at the checkpoint; it carries standard errors over until the next.  noise: (kept,) their squares.
    """

    made_for: Hashable
    last_number: int
    kept: Indices
    factor: Factor
    warping: Warping
    noise: Array


@dataclass(frozen=True)
class _Grown:
    """A base's factor after more trials were appended, with these numbers and squared standard errors.

    n_whole: after so many of them it was last made anew from all rows: its leading block is that of no older factor.
    """

    base: _Base
    numbers: NDArray[np.int64]
    noise: Array
    factor: Factor
    n_whole: int = 0


def checkpoint(n: int) -> int:
    """The largest trial count of the schedule that is not above n."""
    c = min(n, EVERY_TRIAL)
    while c < n:
        step = min(max(int(INTERVAL_SHARE * c), 1), MAX_INTERVAL)
        if step == MAX_INTERVAL:
            return c + (n - c) // step * step
        if c + step > n:
            break
        c += step
    return c


def model(history: History, embedding: Embedding, quantity: Quantity, seed: int) -> Modelled:
    """The surrogate of a quantity, fitted at the last checkpoint and conditioned on what came since.

    Raises: FitFailed, NotPositiveDefinite.
    """
    n = len(quantity.rows)
    numbers = history.numbers[quantity.rows]
    n_settled = _count_up_to(numbers, history.settled_number)
    c = checkpoint(n_settled if 2 * n_settled >= n else n)
    made_for = (c, seed, quantity.variant)
    grown: _Grown | None = history.memo.get(quantity.name)
    if grown is None or grown.base.made_for != made_for or _count_up_to(numbers, grown.base.last_number) != c:
        base = _settled(history, embedding, quantity, c, made_for)
        grown = _Grown(base, numbers[:0], np.empty(0), base.factor)
    base, n_kept, after = grown.base, len(grown.base.kept), numbers[c:]
    n_same, n_whole = _n_common(grown.numbers, after), grown.n_whole
    factor = grown.factor.first(n_kept + n_same)
    if n_same < n_whole:
        factor, n_same, n_whole = base.factor, 0, 0
    positions = np.concatenate([base.kept, np.arange(c, n)])
    rows = quantity.rows[positions]
    noise = np.concatenate([base.noise, grown.noise[:n_same], np.zeros(len(after) - n_same)])
    for i in range(n_kept + n_same, len(rows)):
        noise[i] = _noise_of_last(quantity, base.warping, c + i - n_kept + 1)
        try:
            factor = factor.with_row(history.units[rows[i]], float(noise[i]))
        except NotPositiveDefinite:
            factor = Factor.of(embedding, base.factor.theta, history.units[rows[: i + 1]], noise[: i + 1])
            n_whole = i + 1 - n_kept
    history.memo[quantity.name] = _Grown(base, after, noise[n_kept:], factor, n_whole)
    values = quantity.measured(n).values[positions]
    warping = Warping.fit(values) if quantity.is_warped else Warping.none()
    told_std = np.where(np.isnan(quantity.told_std[positions]), 0.0, np.sqrt(noise))
    return Modelled(factor.given(warping.forward(values)), warping, rows, values, told_std)


def _count_up_to(numbers: NDArray[np.int64], number: int) -> int:
    return int(np.searchsorted(numbers, number, side="right"))


def _n_common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many numbers both begin with."""
    n = min(len(one), len(other))
    differ = np.flatnonzero(one[:n] != other[:n])
    return int(differ[0]) if len(differ) else n


def _settled(history: History, embedding: Embedding, quantity: Quantity, c: int, made_for: Hashable) -> _Base:
    rng = np.random.default_rng([_seed_of(made_for) % 2**64, c, MODEL_STREAM])
    measured = quantity.measured(c)
    values = measured.values
    units = history.units[quantity.rows[:c]]
    kept = _informative(units, values, MAX_CONDITIONED, rng)
    warping = Warping.fit(values[kept]) if quantity.is_warped else Warping.none()
    y = warping.forward(values)
    noise = _standardised_variances(warping, values[kept], measured.noise_std[kept])
    fitted = _informative(units[kept], values[kept], MAX_FITTED, rng)
    theta = _fitted(embedding, units[kept][fitted], y[kept][fitted], noise[fitted], rng)
    last_number = int(history.numbers[quantity.rows[c - 1]])
    return _Base(made_for, last_number, kept, Factor.of(embedding, theta, units[kept], noise), warping, noise)


def _fitted(embedding: Embedding, units: Array, y: Array, told: Array, rng: np.random.Generator) -> Array:
    """From few trials a fit is cheap, and leads to where the fit from many has only to be polished."""
    few = _informative(units, y, N_ROUGH, rng)
    theta = fit(embedding, units[few], y[few], told[few])
    return theta if len(few) == len(y) else fit(embedding, units, y, told, theta, N_POLISHING)


def _seed_of(made_for: Hashable) -> int:
    return int(made_for[1]) if isinstance(made_for, tuple) else 0


def _standardised_variances(warping: Warping, values: Array, noise_std: Array) -> Array:
    """(n,) squared standard errors of values, standardised; 0 where there is none."""
    if np.isnan(noise_std).all():
        return np.zeros(len(values))
    with np.errstate(over="ignore"):
        std = np.minimum(noise_std * warping.slope(values), MAX_TOLD_STD)
    return np.where(np.isnan(std), 0.0, std) ** 2


def _noise_of_last(quantity: Quantity, warping: Warping, n: int) -> float:
    """The squared standard error of the last of the first n values, standardised."""
    if not quantity.has_noise:
        return 0.0
    measured = quantity.measured(n)
    return float(_standardised_variances(warping, measured.values[-1:], measured.noise_std[-1:])[0])


def _informative(units: Array, values: Array, most: int, rng: np.random.Generator) -> Indices:
    """Positions of at most `most` of n trials, in order: the best, the latest, those near the best, a random rest."""
    n = len(values)
    if n <= most:
        return np.arange(n)
    chosen = np.zeros(n, dtype=bool)
    order = np.argpartition(values, most // 3)[: most // 3]
    chosen[order] = True
    chosen[-(most // 8) :] = True
    best = units[int(np.argmin(values))]
    distance = np.nansum((units - best) ** 2, axis=1)
    chosen[np.argpartition(distance, most // 4)[: most // 4]] = True
    others = np.flatnonzero(~chosen)
    chosen[rng.choice(others, most - int(chosen.sum()), replace=False)] = True
    return np.flatnonzero(chosen)


# ---- quantities


def objective_quantity(history: History, j: int) -> Quantity:
    """The values of objective j, minimised; those of trials that were stopped carried over from their rung.

    Where no rungs were set, a pruned trial's last report is of an earlier step, and it was stopped for being worse than
    others there: it counts as no better than the median of the complete ones.
    """
    rows = np.flatnonzero(history.is_measured)
    is_pruned = history.where("pruned")[rows]
    y: Array = history.objectives[rows, j]
    told = history.noise_std[rows] if j == 0 else np.full(len(rows), np.nan)
    levels = _levels(history, j) if history.goal.n_rungs and is_pruned.any() else None

    def measured(n: int) -> Measured:
        if not is_pruned[:n].any():
            return Measured(y[:n], told[:n])
        if levels is not None:
            found = carried(levels[:n])
            return Measured(found.values, np.where(np.isnan(found.std), told[:n], np.fmax(found.std, told[:n])))
        if is_pruned[:n].all():
            return Measured(y[:n], told[:n])
        middle = float(np.median(y[:n][~is_pruned[:n]]))
        return Measured(np.where(is_pruned[:n], np.maximum(y[:n], middle), y[:n]), told[:n])

    has_noise = levels is not None or not bool(np.isnan(told).all())
    return Quantity(f"objective {j}", rows, measured, told, has_noise)


def _levels(history: History, j: int) -> Array:
    """(k, R + 1) of the measured trials: objective j at the rungs and at the end; see `carried`."""
    rows = np.flatnonzero(history.is_measured)
    end = np.where(history.where("complete")[rows], history.objectives[rows, j], np.nan)
    levels = np.column_stack([history.at_rungs[rows, :, j], end])
    nowhere = np.isnan(levels).all(axis=1)  # stopped below the first rung: as good as there
    levels[nowhere, 0] = history.objectives[rows[nowhere], j]
    return levels


def scalarised_quantity(history: History, weights: Array) -> Quantity:
    """Several objectives as one: the augmented Chebyshev sum of their warped values on [0, 1] (Knowles 2006)."""
    parts = [objective_quantity(history, j) for j in range(history.goal.n_objectives)]

    def measured(n: int) -> Measured:
        scaled = []
        for part in parts:
            y = part.measured(n).values
            z = Warping.fit(y).forward(y)
            scaled.append((z - z.min()) / (float(np.ptp(z)) or 1.0))
        together = np.stack(scaled, axis=1)
        return _exact(np.max(weights * together, axis=1) + AUGMENTATION * together @ weights)

    rows = parts[0].rows
    return Quantity("scalarised", rows, measured, np.full(len(rows), np.nan), variant=tuple(weights.tolist()))


def violation_quantity(history: History, j: int) -> Quantity:
    """How far outcome j is beyond its bound, where it was measured."""
    violations: Array = history.violations[:, j]
    rows = np.flatnonzero(~np.isnan(violations))
    return Quantity(f"violation {j}", rows, lambda n: _exact(violations[rows[:n]]), np.full(len(rows), np.nan))


def log_cost_quantity(history: History) -> Quantity:
    """What trials cost, in standardised logarithms; one that was stopped early says nothing of a whole one."""
    rows = np.flatnonzero((history.costs > 0) & ~history.where("pruned"))
    logs = np.log(history.costs[rows])

    def measured(n: int) -> Measured:
        return _exact((logs[:n] - logs[:n].mean()) / max(float(logs[:n].std()), MIN_COST_SPREAD))

    return Quantity("log cost", rows, measured, np.full(len(rows), np.nan), is_warped=False)


def feasibility_quantity(history: History) -> Quantity:
    """+1 where a configuration could not be evaluated, -1 where it could."""
    infeasible = history.where("infeasible")
    rows = np.flatnonzero(infeasible | history.is_measured)
    labels: Array = np.where(infeasible[rows], 1.0, -1.0)
    return Quantity("feasibility", rows, lambda n: _exact(labels[:n]), np.full(len(rows), np.nan), is_warped=False)


def _exact(values: Array) -> Measured:
    return Measured(values, np.full(len(values), np.nan))


# ---- points


class ModelProposer:
    """Points of a Gaussian process, one number after the other; its models serve all numbers of a call."""

    def __init__(
        self, space: SearchSpace, goal: Goal, history: History, seed: int, fixed: Mapping[str, Value] | None
    ) -> None:
        self._space, self._goal, self._history, self._seed, self._fixed = space, goal, history, seed, fixed
        self._embedding = Embedding.of(space)
        self._pins = pins_of(space, fixed)
        self._beliefs: tuple[Array, Acquisition] | None = None
        self._objectives: list[Modelled] = []

    def __call__(self, number: int, taken: Callable[[str], bool], batch: Sequence[Suggestion]) -> Suggestion | None:
        """The point of one number; None when the space is exhausted."""
        pending = self._pending(number, batch)
        history = self._history
        n_measured = int(history.is_measured.sum())
        n_informed = n_measured + int(history.where("infeasible").sum()) + len(pending)
        if n_informed < n_initial(self._space) or n_measured < 2:
            return sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        try:
            acquisition = self._acquisition(number, pending)
            point = self._best_unused(acquisition, number, taken)
        except NumericalError as error:
            return self._fallback(number, taken, f"the model could not be fitted: {error.detail}")
        if point is not None:
            return point
        return self._fallback(number, taken, "every promising configuration was already tried")

    def _pending(self, number: int, batch: Sequence[Suggestion]) -> Array:
        rows = self._history.pending_before(number)
        return np.vstack([rows, self._space.encode_many([point.params for point in batch])]) if batch else rows

    def _fallback(self, number: int, taken: Callable[[str], bool], why: str) -> Suggestion | None:
        point = sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        return None if point is None else Suggestion(point.params, "fallback", why)

    def _acquisition(self, number: int, pending: Array) -> Acquisition:
        """With the pending rows believed; what was believed for the number before is gone on from where it fits."""
        if self._goal.n_objectives <= MAX_HYPERVOLUME_OBJECTIVES and self._beliefs is not None:
            rows, acquisition = self._beliefs
            if len(rows) <= len(pending) and np.array_equal(rows, pending[: len(rows)], equal_nan=True):
                acquisition = acquisition.believing(pending[len(rows) :])
                self._beliefs = (pending, acquisition)
                return acquisition
        acquisition = self._build(number).believing(pending)
        self._beliefs = (pending, acquisition)
        return acquisition

    def _model(self, quantity: Quantity) -> Modelled:
        return model(self._history, self._embedding, quantity, self._seed)

    def _build(self, number: int) -> Acquisition:
        m, terms = self._goal.n_objectives, list(self._limits())
        self._objectives = []
        if m == 1:
            terms += self._improvement(objective_quantity(self._history, 0))
        elif m <= MAX_HYPERVOLUME_OBJECTIVES:
            terms += self._hypervolume_improvement()
        else:
            rng = np.random.default_rng([self._seed % 2**64, number % 2**64, WEIGHT_STREAM])
            terms += self._improvement(scalarised_quantity(self._history, rng.dirichlet(np.ones(m))))
        return Acquisition((*terms, *self._thrift()))

    def _improvement(self, quantity: Quantity) -> list[Term]:
        modelled = self._model(quantity)
        self._objectives = [modelled]
        surrogate = modelled.surrogate
        usable = (self._history.is_feasible | self._history.where("pruned"))[modelled.rows]
        order = np.flatnonzero(usable)[np.argsort(modelled.values[usable], kind="stable")][:N_INCUMBENTS]
        if not len(order):
            return []
        told = modelled.told_std[modelled.told_std > 0]
        told_variance = float(np.median(told)) ** 2 if len(told) else 0.0
        noise_std = float(np.sqrt(max(surrogate.noise_variance - UNPROVEN_NOISE, 0.0) + told_variance))
        best = float(surrogate.mean_at_trials[order].min()) - _demanded(modelled.values[usable])
        return [Improvement(surrogate, best, noise_std)]

    def _hypervolume_improvement(self) -> list[Term]:
        models = [self._model(objective_quantity(self._history, j)) for j in range(self._goal.n_objectives)]
        self._objectives = models
        rows = models[0].rows
        for modelled in models[1:]:
            rows = np.intersect1d(rows, modelled.rows)
        usable = rows[(self._history.is_feasible | self._history.where("pruned"))[rows]]
        if not len(usable):
            return []
        at = [np.searchsorted(modelled.rows, usable) for modelled in models]
        means = np.stack([modelled.surrogate.mean_at_trials[i] for modelled, i in zip(models, at, strict=True)], axis=1)
        front = thinned(means[non_dominated(means)], MAX_FRONT[len(models) - 2])
        span = np.maximum(np.ptp(front, axis=0), REFERENCE_SPAN)
        reference = front.max(axis=0) + REFERENCE_MARGIN * span
        return [HypervolumeImprovement(tuple(modelled.surrogate for modelled in models), front, reference)]

    def _thrift(self) -> Sequence[Term]:
        """Cheap trials first, as long as what a trial costs depends on where it is; less with every trial."""
        costs = self._history.costs[(self._history.costs > 0) & ~self._history.where("pruned")]
        if len(costs) < N_INITIAL or (spread := float(np.std(np.log(costs)))) < MIN_COST_SPREAD:
            return []
        weight = spread * 0.5 ** (len(costs) / COOLING)
        return [Thrift(self._model(log_cost_quantity(self._history)).surrogate, weight)]

    def _limits(self) -> Sequence[Term]:
        """What counts beside the objective: outcomes within bounds, and that it can be evaluated at all."""
        history = self._history
        terms: list[Term] = []
        for j in range(history.violations.shape[1]):
            quantity = violation_quantity(history, j)
            if len(quantity.rows) >= 2:
                modelled = self._model(quantity)
                terms.append(Within(modelled.surrogate, float(modelled.warping.forward(np.zeros(1))[0])))
        if history.where("infeasible").any():
            terms.append(Within(self._model(feasibility_quantity(history)).surrogate, 0.0))
        return terms

    def _best_unused(self, acquisition: Acquisition, number: int, taken: Callable[[str], bool]) -> Suggestion | None:
        rng = np.random.default_rng([self._seed % 2**64, number % 2**64, POINT_STREAM])
        if self._branching and number % BRANCH_EVERY == 0:
            point = self._first_free(self._branch(acquisition, rng), acquisition, taken)
            if point is not None:
                return point
        rows = maximize(self._space, acquisition, rng, self._centers(), self._pins, self._effort)
        return self._first_free(rows, acquisition, taken)

    def _branch(self, acquisition: Acquisition, rng: np.random.Generator) -> Array:
        """A few rows of one draw of the choices, the best first.

        Few, because where a branch is hardly known the acquisition is highest in its corners, seldom a good place.
        """
        pins = self._pins.copy()
        for j in self._branching:
            n_levels = self._space.n_levels[j] or 1
            pins[j] = (rng.integers(n_levels) + 0.5) / n_levels
        rows = self._space.snap(feasible.draw(self._space, rng, N_BRANCH, pins))
        return np.asarray(rows[np.argsort(-acquisition.value(rows), kind="stable")], dtype=np.float64)

    @property
    def _branching(self) -> list[int]:
        """Columns of the free unordered parameters, a flag of two values among them."""
        kinds = [self._space.parameters[name] for name in self._space.columns]
        return [j for j, kind in enumerate(kinds) if not kind.is_ordered and np.isnan(self._pins[j])]

    def _first_free(self, rows: Array, acquisition: Acquisition, taken: Callable[[str], bool]) -> Suggestion | None:
        for start in range(0, len(rows), 8):
            some = rows[start : start + 8]
            for row, codes in zip(some, self._space.codes_of_units(some), strict=True):
                params = settled(self._space, codes, self._fixed)
                if params is not None and not taken(self._space.key(params)):
                    return self._explained(params, acquisition, row)
        return None

    @property
    def _effort(self) -> float:
        n = max((len(modelled.rows) for modelled in self._objectives), default=1)
        return min(1.0, FULL_EFFORT / n)

    def _centers(self) -> Array:
        """The trials of the lowest posterior mean of the (first) objective."""
        if not self._objectives:
            return np.empty((0, self._space.n_dimensions))
        surrogate = self._objectives[0].surrogate
        order = np.argsort(surrogate.mean_at_trials, kind="stable")[:N_CENTERS]
        return np.clip(surrogate.units[order], 0.0, 1.0)

    def _explained(self, params: dict[str, Value], acquisition: Acquisition, row: Array) -> Suggestion:
        """The suggestion with what the model believes of it; of scalarised objectives it believes nothing singly."""
        unit = row[None, :]
        limits = [float(term.value(unit)[0]) for term in acquisition.terms if isinstance(term, Within)]
        surrogates, share = self._believed(acquisition, unit)
        beliefs = [
            native(modelled.warping, prediction.mean, prediction.std)
            for modelled, prediction in zip(
                self._objectives, (surrogate.predict(unit) for surrogate in surrogates), strict=False
            )
        ]
        means = [float(sign * mean[0]) for sign, (mean, _) in zip(self._goal.signs, beliefs, strict=False)]
        return Suggestion(
            params,
            "gp",
            exploration=share,
            predicted_mean=tuple(means) or None,
            predicted_std=tuple(float(std[0]) for _, std in beliefs) or None,
            acquisition=float(acquisition.value(unit)[0]),
            feasibility=float(np.exp(sum(limits))) if limits else None,
        )

    def _believed(self, acquisition: Acquisition, unit: Array) -> tuple[Sequence[Surrogate], float | None]:
        """Every objective's surrogate with the pending trials believed, and the share of exploration of the only one"""
        for term in acquisition.terms:
            if isinstance(term, HypervolumeImprovement):
                return term.objectives, None
            if isinstance(term, Improvement) and self._goal.n_objectives == 1:
                prediction = term.objective.predict(unit)
                return (term.objective,), exploration_share(
                    float(prediction.mean[0]), float(prediction.std[0]), term.best
                )
        return (), None


def _demanded(values: Array) -> float:
    """By how much, standardised, the next trial should beat the best of (n,) values.

    Trials that met the best value once more, to the last bit, say that it is a plateau: a model that expects a slope
    there would stay for ever.
    """
    n_ties = int((values == values.min()).sum()) - 1
    return min(DEMANDED_PER_TIE * n_ties, MAX_DEMANDED)


def n_initial(space: SearchSpace) -> int:
    """Space-filling points before the model speaks; pending ones count."""
    return min(max(space.n_dimensions + 1, 4), N_INITIAL)


def posterior(
    space: SearchSpace, goal: Goal, history: History, params_list: Sequence[Mapping[str, Value]], *, seed: int = 0
) -> Posterior:
    """The model's belief about each objective at n configurations.

    The mean is the median of the back-transformed belief and the std half its 68 % interval, since the model is
    Gaussian only in warped units. Without any measured trial both are NaN.
    Raises: FitFailed or NotPositiveDefinite, if the model cannot be made; SpaceViolation, for illegal configurations.
    """
    n, m = len(params_list), goal.n_objectives
    means, stds = np.full((n, m), np.nan), np.full((n, m), np.nan)
    if not history.is_measured.any() or not n:
        return Posterior(means, stds)
    units = space.encode_many(params_list)
    for j in range(m):
        modelled = model(history, Embedding.of(space), objective_quantity(history, j), seed)
        prediction = modelled.surrogate.predict(units)
        mean, stds[:, j] = native(modelled.warping, prediction.mean, prediction.std)
        means[:, j] = goal.signs[j] * mean
    return Posterior(means, stds)


def native(warping: Warping, mean: Array, std: Array) -> tuple[Array, Array]:
    """Median and half the central 68 % interval of the back-transformed belief."""
    width = float(ndtri(0.84134474606854293))
    low, high = warping.backward(mean - width * std), warping.backward(mean + width * std)
    return warping.backward(mean), 0.5 * (high - low)
