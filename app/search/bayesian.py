"""Bayesian optimisation: from a history's models to the acquisition, and from that to the point of one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.errors import NumericalError
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
from app.search.constraints import Array
from app.search.free import Suggestion, pins_of, settled, sobol_point
from app.search.history import Goal, History
from app.search.kernels import Embedding
from app.search.maximize import candidates, maximize
from app.search.models import Modelled, model
from app.search.optimum import Lean
from app.search.pareto import REFERENCE_MARGIN, non_dominated, thinned
from app.search.prior import Prior, objective_model, weight_of
from app.search.quantities import (
    MIN_COST_SPREAD,
    Quantity,
    feasibility_quantity,
    log_cost_quantity,
    objective_quantity,
    scalarised_quantity,
    violation_quantity,
)
from app.search.space import SearchSpace
from app.search.surrogate import Prediction
from app.search.values import Value

BRANCH_EVERY = 3  # numbers: so often the choices are drawn, see docs/decisions
N_BRANCH = 16  # rows of them that are compared
UNPROVEN_NOISE = 1e-3  # variance, standardised: a fitted noise this small may stand for roughness the kernel lacks
N_INCUMBENTS = 250
N_CENTERS = 4
N_INITIAL = 6
MAX_HYPERVOLUME_OBJECTIVES = 3
MAX_FRONT = (64, 24)  # points of the front that count, for two and three objectives
DEMANDED_PER_TIE, MAX_DEMANDED = 0.2, 1.5  # standardised improvement
COOLING = 50  # trials that halve the weight of cost
FULL_EFFORT = 100  # trials up to which the maximiser looks at all its candidates
REFERENCE_SPAN = 0.5  # standardised: a front without extent still has something to improve
N_SHARING = 16  # finished trials that look at the same candidates, if none of them was measured
POINT_STREAM, WEIGHT_STREAM, CANDIDATE_STREAM = 0x0A5C, 0x0E16, 0x0CA2


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of each objective, (n, m), in the user's units and direction."""

    mean: Array
    std: Array


class ModelProposer:
    """Points of a Gaussian process, one number after the other; its models serve all numbers of a call."""

    def __init__(
        self,
        space: SearchSpace,
        goal: Goal,
        history: History,
        seed: int,
        fixed: Mapping[str, Value] | None,
        prior: Prior | None = None,
    ) -> None:
        self._space, self._goal, self._history, self._seed, self._fixed = space, goal, history, seed, fixed
        self._prior = prior
        self._embedding = Embedding.of(space)
        self._pins = pins_of(space, fixed)
        self._beliefs: tuple[Array, Acquisition] | None = None
        self._objectives: list[Modelled] = []
        self._block: int | None = None
        self._batch = np.empty((0, space.n_dimensions))

    def __call__(self, number: int, taken: Callable[[str], bool], batch: Sequence[Suggestion]) -> Suggestion | None:
        """The point of one number; None when the space is exhausted."""
        pending = self._pending(number, batch)
        history = self._history
        if self._prior is not None:
            position = history.n_finished + len(pending) + 1
            n_own = self._prior.n_own(history)
            if n_own is not None and n_own + len(pending) < n_initial(self._space):
                return self._first(number, taken)
            if not self._prior.is_silent and self._prior.stands_back(position):
                return self._without_past(number, taken, batch)
        n_measured = int(history.is_measured.sum())
        n_informed = n_measured + int(history.where("infeasible").sum()) + len(pending)
        is_heard = self._prior is not None and self._prior.is_heard(history)
        if (n_informed < n_initial(self._space) and not is_heard) or n_measured < 2:
            return self._first(number, taken)
        try:
            acquisition = self._acquisition(number, pending)
            point = self._best_unused(acquisition, number, len(pending), taken)
        except NumericalError as error:
            return self._fallback(number, taken, f"the model could not be fitted: {error.detail}")
        if point is not None:
            return point
        return self._fallback(number, taken, "every promising configuration was already tried")

    def acquisition(self, number: int) -> Acquisition:
        """What the number's point maximises, with the trials out for evaluation before it believed.

        Raises: FitFailed, NotPositiveDefinite.
        """
        return self._acquisition(number, self._pending(number, ()))

    def _first(self, number: int, taken: Callable[[str], bool]) -> Suggestion | None:
        """A space-filling point; every second one is spread over what the user believes of the optimum."""
        return sobol_point(
            self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed, is_drawn=number % 2 == 0
        )

    def _pending(self, number: int, batch: Sequence[Suggestion]) -> Array:
        new = [point.params for point in batch[len(self._batch) :]]
        if new:
            self._batch = np.vstack([self._batch, self._space.encode_many(new, strict=False)])
        return np.vstack([self._history.pending_before(number), self._batch])

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

    @cached_property
    def _without_past(self) -> ModelProposer:
        prior = None if self._prior is None else self._prior.silent
        return ModelProposer(self._space, self._goal, self._history, self._seed, self._fixed, prior)

    def _model(self, quantity: Quantity) -> Modelled:
        return model(self._history, self._embedding, quantity, self._seed)

    def _objective(self, j: int) -> Modelled:
        """Its model, with what past studies lend to it."""
        return objective_model(self._history, self._embedding, j, self._seed, self._prior)

    def _build(self, number: int) -> Acquisition:
        m, terms = self._goal.n_objectives, list(self._limits())
        self._objectives = []
        if m == 1:
            terms += self._improvement(self._objective(0))
        elif m <= MAX_HYPERVOLUME_OBJECTIVES:
            terms += self._hypervolume_improvement()
        else:
            rng = np.random.default_rng([self._seed % 2**64, number % 2**64, WEIGHT_STREAM])
            weights = rng.dirichlet(np.ones(m))
            terms += self._improvement(self._model(scalarised_quantity(self._history, weights)))
        lean = Lean.of(self._space, int(self._history.is_measured.sum()))
        return Acquisition((*terms, *self._thrift()), lean)

    def _improvement(self, modelled: Modelled) -> list[Term]:
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
        models = [self._objective(j) for j in range(self._goal.n_objectives)]
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
        quantity = log_cost_quantity(self._history)
        n = len(quantity.rows)
        if n < N_INITIAL or (spread := float(np.log(self._history.costs[quantity.rows]).std())) < MIN_COST_SPREAD:
            return []
        return [Thrift(self._model(quantity).surrogate, spread * 0.5 ** (n / COOLING))]

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

    def _best_unused(
        self, acquisition: Acquisition, number: int, n_pending: int, taken: Callable[[str], bool]
    ) -> Suggestion | None:
        rng = np.random.default_rng([self._seed % 2**64, number % 2**64, POINT_STREAM])
        if self._branching and number % BRANCH_EVERY == 0 and not self._knows_branches(rng):
            point = self._first_free(self._branch(acquisition, rng), acquisition, taken)
            if point is not None:
                return point
        watching = self._watching(acquisition, number - n_pending)
        # among many pending trials one suggestion matters less, and many are wanted at a time
        effort = self._effort / (1 + n_pending)
        rows = maximize(self._space, watching, self._pins, effort)
        return self._first_free(rows, acquisition, taken)

    def _watching(self, acquisition: Acquisition, first: int) -> Acquisition:
        """The acquisition that watches the candidates.

        first: the number less the trials that are pending before it. It is the same for all numbers that are asked for
        together, so they share their candidates: one more pending trial then costs a fraction of a prediction
        everywhere. It grows with trials that failed, so that they do not keep the study at one set of candidates.
        """
        block = first // N_SHARING
        if acquisition.rows is not None and self._block == block:
            return acquisition
        n_measured = int(self._history.is_measured.sum())
        rng = np.random.default_rng([self._seed % 2**64, n_measured, block % 2**64, CANDIDATE_STREAM])
        rows = candidates(self._space, rng, self._centers(), self._pins, self._effort)
        watching = acquisition.watching(rows)
        self._block = block
        if self._beliefs is not None:
            self._beliefs = (self._beliefs[0], watching)
        return watching

    def _branch(self, acquisition: Acquisition, rng: np.random.Generator) -> Array:
        """A few rows of one draw of the choices, the best first.

        Few, because where a branch is hardly known the acquisition is highest in its corners, seldom a good place.
        """
        pins = self._pins.copy()
        lean = acquisition.lean
        believed = self._space.optimum.drawn(rng.random((1, len(pins))))[0] if lean is not None else pins
        is_believed = lean is not None and rng.random() < lean.weight
        for j in self._branching:
            n_levels = self._space.n_levels[j] or 1
            place = believed[j] * n_levels // 1 if is_believed else rng.integers(n_levels)
            pins[j] = (place + 0.5) / n_levels
        rows = self._space.snap(feasible.draw(self._space, rng, N_BRANCH, pins))
        return np.asarray(rows[np.argsort(-acquisition.value(rows), kind="stable")], dtype=np.float64)

    def _knows_branches(self, rng: np.random.Generator) -> bool:
        """Whether to do without a draw of the choices: a past that is believed tells already what they are worth."""
        # nothing is drawn where nothing is borrowed, so that a study without a past keeps its stream
        return self._borrowed > 0.0 and bool(rng.random() < self._borrowed)

    @property
    def _borrowed(self) -> float:
        """How much of the objectives' means is borrowed, in [0, 1]."""
        return max(map(weight_of, self._objectives), default=0.0)

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
        return np.minimum(np.maximum(surrogate.units[order], 0.0), 1.0)

    def _explained(self, params: dict[str, Value], acquisition: Acquisition, row: Array) -> Suggestion:
        """The suggestion with what the model believes of it; of scalarised objectives it believes nothing singly."""
        unit = row[None, :]
        predictions = [[surrogate.predict(unit) for surrogate in term.surrogates] for term in acquisition.terms]
        values = [float(term.value(of)[0]) for term, of in zip(acquisition.terms, predictions, strict=True)]
        limits = [value for term, value in zip(acquisition.terms, values, strict=True) if isinstance(term, Within)]
        believed: list[Prediction] = []
        share = None
        for term, of in zip(acquisition.terms, predictions, strict=True):
            if isinstance(term, HypervolumeImprovement):
                believed = of
            elif isinstance(term, Improvement) and self._goal.n_objectives == 1:
                believed = of
                share = exploration_share(float(of[0].mean[0]), float(of[0].std[0]), term.best)
        beliefs = [
            modelled.in_units(prediction.mean, prediction.std)
            for modelled, prediction in zip(self._objectives, believed, strict=False)
        ]
        means = [float(sign * mean[0]) for sign, (mean, _) in zip(self._goal.signs, beliefs, strict=False)]
        return Suggestion(
            params,
            "gp",
            exploration=share,
            predicted_mean=tuple(means) or None,
            predicted_std=tuple(float(std[0]) for _, std in beliefs) or None,
            acquisition=sum(values) + (0.0 if acquisition.lean is None else float(acquisition.lean.value(unit)[0])),
            feasibility=float(np.exp(sum(limits))) if limits else None,
            prior_weight=self._borrowed,
        )


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
        mean, stds[:, j] = modelled.in_units(prediction.mean, prediction.std)
        means[:, j] = goal.signs[j] * mean
    return Posterior(means, stds)
