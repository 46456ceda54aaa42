"""Bayesian optimisation: from a history to the acquisition, and from that to the point of one number.

Cost is bounded: hyperparameters see at most 250 trials, the posterior at most 500: the best, the latest and a seeded
random rest. Several objectives become one by an augmented Chebyshev sum with weights drawn for the number (Knowles
2006, ParEGO).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from app.errors import NumericalError
from app.search.acquisition import Acquisition, exploration_share
from app.search.constraints import Array, Mask
from app.search.free import Suggestion, pins_of, settled, sobol_point
from app.search.history import Goal, History
from app.search.kernels import Embedding
from app.search.maximize import maximize
from app.search.parameters import Value
from app.search.space import SearchSpace
from app.search.surrogate import Surrogate, condition, fit
from app.search.warping import Warping

MAX_FITTED = 250
MAX_CONDITIONED = 500
N_RESTARTED = 40  # below this many trials the posterior of hyperparameters has several modes
N_FIT_STARTS = 3
UNPROVEN_NOISE = 1e-3  # variance, standardised: a fitted noise this small may stand for roughness the kernel lacks
N_INCUMBENTS = 250
N_CENTERS = 4
MAX_TOLD_STD = 10.0  # standardised units: such a trial says nothing
AUGMENTATION = 0.05
MODEL_STREAM, POINT_STREAM, WEIGHT_STREAM = 0x0F17, 0x0A5C, 0x0E16


@dataclass(frozen=True)
class Modelled:
    """An objective's surrogate with the warping that leads back to the user's units.

    told_std: (n,) the trials' standard errors in standardised units, 0 where none was told.
    """

    surrogate: Surrogate
    warping: Warping
    told_std: Array


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of each objective, (n, m), in the user's units and direction."""

    mean: Array
    std: Array


class ModelProposer:
    """Points of a Gaussian process, one number after the other; fits once for all numbers with one objective."""

    def __init__(
        self, space: SearchSpace, goal: Goal, history: History, seed: int, fixed: Mapping[str, Value] | None
    ) -> None:
        self._space, self._goal, self._history, self._seed, self._fixed = space, goal, history, seed, fixed
        self._embedding = Embedding.of(space)
        self._pins = pins_of(space, fixed)
        self._acquisition: Acquisition | None = None
        self._warping: Warping | None = None
        self._failure: str | None = None

    def __call__(self, number: int, taken: set[str], batch: Sequence[Suggestion]) -> Suggestion | None:
        """The point of one number; None when the space is exhausted."""
        pending = self._pending(number, batch)
        n_informed = int(np.sum(self._history.is_measured | self._history.where("infeasible"))) + len(pending)
        n_measured = int(np.sum(self._history.is_measured))
        if n_informed < n_initial(self._space) or n_measured < 2:
            return sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        try:
            acquisition = self._acquisition_for(number).believing(pending)
            point = self._best_unused(acquisition, number, taken)
        except NumericalError as error:
            return self._fallback(number, taken, f"the model could not be fitted: {error.detail}")
        if point is not None:
            return point
        return self._fallback(number, taken, "every promising configuration was already tried")

    def _pending(self, number: int, batch: Sequence[Suggestion]) -> Array:
        waiting = self._history.where("pending") & (np.array(self._history.numbers) < number)
        rows = self._history.units[waiting]
        return np.vstack([rows, self._space.encode_many([point.params for point in batch])]) if batch else rows

    def _fallback(self, number: int, taken: set[str], why: str) -> Suggestion | None:
        point = sobol_point(self._space, seed=self._seed, number=number, taken=taken, fixed=self._fixed)
        return None if point is None else Suggestion(point.params, "fallback", why)

    def _acquisition_for(self, number: int) -> Acquisition:
        if self._acquisition is None or self._goal.n_objectives > 1:
            weights = np.ones(1)
            if self._goal.n_objectives > 1:
                rng = np.random.default_rng([self._seed % 2**64, number % 2**64, WEIGHT_STREAM])
                weights = rng.dirichlet(np.ones(self._goal.n_objectives))
            self._acquisition = self._build(weights)
        return self._acquisition

    def _build(self, weights: Array) -> Acquisition:
        history, rng = self._history, np.random.default_rng([self._seed % 2**64, MODEL_STREAM])
        rows = history.is_measured
        y = scalarised(history.objectives[rows], weights)
        y = _not_better_than_median(y, history.where("pruned")[rows])
        noise = history.noise_std[rows] if len(weights) == 1 else np.full(len(y), np.nan)
        modelled = model(self._embedding, history.units[rows], y, noise, rng)
        self._warping = modelled.warping if len(weights) == 1 else None
        limits, bounds = self._limits(rng)
        chosen = modelled.surrogate
        best = self._incumbent_mean(
            chosen, y, (history.is_feasible | history.where("pruned"))[rows], history.units[rows]
        )
        told_std = modelled.told_std[modelled.told_std > 0]
        told_variance = float(np.median(told_std)) ** 2 if len(told_std) else 0.0
        noise_std = float(np.sqrt(max(chosen.noise_variance - UNPROVEN_NOISE, 0.0) + told_variance))
        return Acquisition(chosen, best, noise_std, limits, bounds)

    def _incumbent_mean(self, surrogate: Surrogate, y: Array, is_feasible: Mask, units: Array) -> float | None:
        """The lowest posterior mean among the feasible trials with the best values; None if none is feasible."""
        order = np.flatnonzero(is_feasible)[np.argsort(y[is_feasible], kind="stable")][:N_INCUMBENTS]
        return float(surrogate.predict(units[order]).mean.min()) if len(order) else None

    def _limits(self, rng: np.random.Generator) -> tuple[tuple[Surrogate, ...], tuple[float, ...]]:
        """What must hold beside the objective: each outcome within its bound, and that it can be evaluated at all."""
        history = self._history
        limits: list[Surrogate] = []
        bounds: list[float] = []
        for j in range(history.violations.shape[1]):
            told = ~np.isnan(history.violations[:, j])
            if told.sum() >= 2:
                violation = history.violations[told, j]
                modelled = model(self._embedding, history.units[told], violation, np.full(len(violation), np.nan), rng)
                limits.append(modelled.surrogate)
                bounds.append(float(modelled.warping.forward(np.zeros(1))[0]))
        infeasible = history.where("infeasible")
        if infeasible.any():
            labelled = infeasible | history.is_measured
            labels = np.where(infeasible[labelled], 1.0, -1.0)
            limits.append(_conditioned(self._embedding, history.units[labelled], labels, np.zeros(len(labels)), rng))
            bounds.append(0.0)
        return tuple(limits), tuple(bounds)

    def _best_unused(self, acquisition: Acquisition, number: int, taken: set[str]) -> Suggestion | None:
        rng = np.random.default_rng([self._seed % 2**64, number % 2**64, POINT_STREAM])
        rows = maximize(self._space, acquisition, rng, self._centers(acquisition), self._pins)
        for row, codes in zip(rows, self._space.codes_of_units(rows), strict=True):
            params = settled(self._space, codes, self._fixed)
            if params is not None and self._space.key(params) not in taken:
                return self._explained(params, acquisition, row)
        return None

    def _centers(self, acquisition: Acquisition) -> Array:
        """The trials of the lowest posterior mean."""
        surrogate = acquisition.objective
        order = np.argsort(surrogate.mean_at_trials, kind="stable")[:N_CENTERS]
        return np.clip(surrogate.units[order], 0.0, 1.0)

    def _explained(self, params: dict[str, Value], acquisition: Acquisition, row: Array) -> Suggestion:
        prediction = acquisition.objective.predict(row[None, :])
        mean, std = float(prediction.mean[0]), float(prediction.std[0])
        share = None if acquisition.best is None else exploration_share(mean, std, acquisition.best)
        if self._warping is None:
            return Suggestion(params, "gp", None, share)
        native = _native(self._warping, prediction.mean, prediction.std)
        sign = float(self._goal.signs[0])
        return Suggestion(params, "gp", None, share, sign * float(native[0][0]), float(native[1][0]))


def n_initial(space: SearchSpace) -> int:
    """Space-filling points before the model speaks: d + 1, but 6 to 10; pending ones count."""
    return min(max(space.n_dimensions + 1, 6), 10)


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
    rows = history.is_measured
    if not rows.any() or not n:
        return Posterior(means, stds)
    units = space.encode_many(params_list)
    for j in range(m):
        rng = np.random.default_rng([seed % 2**64, MODEL_STREAM])
        y = _not_better_than_median(history.objectives[rows, j], history.where("pruned")[rows])
        noise = history.noise_std[rows] if j == 0 else np.full(int(rows.sum()), np.nan)
        modelled = model(Embedding.of(space), history.units[rows], y, noise, rng)
        prediction = modelled.surrogate.predict(units)
        mean, stds[:, j] = _native(modelled.warping, prediction.mean, prediction.std)
        means[:, j] = goal.signs[j] * mean
    return Posterior(means, stds)


def model(embedding: Embedding, units: Array, y: Array, noise_std: Array, rng: np.random.Generator) -> Modelled:
    """Fit and condition a surrogate of (n,) finite minimised values at (n, D) rows.

    Args:
        noise_std: (n,) standard errors in the units of y, NaN where not told.
    """
    warping = Warping.fit(y)
    with np.errstate(over="ignore"):
        told_std = np.where(np.isnan(noise_std), 0.0, np.minimum(noise_std * warping.slope(y), MAX_TOLD_STD))
    return Modelled(_conditioned(embedding, units, warping.forward(y), told_std**2, rng), warping, told_std)


def _conditioned(embedding: Embedding, units: Array, y: Array, told: Array, rng: np.random.Generator) -> Surrogate:
    chosen = _subset(y, MAX_CONDITIONED, rng)
    units, y, told = units[chosen], y[chosen], told[chosen]
    fitted = _subset(y, MAX_FITTED, rng)
    n_starts = N_FIT_STARTS if len(fitted) < N_RESTARTED else 1
    theta = fit(embedding, units[fitted], y[fitted], told[fitted], rng, n_starts)
    return condition(embedding, theta, units, y, told)


def _subset(y: Array, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of at most `most` trials in order: half the best, a quarter the latest, a random rest."""
    n = len(y)
    if n <= most:
        return np.arange(n)
    chosen = np.zeros(n, dtype=bool)
    chosen[np.argsort(y, kind="stable")[: most // 2]] = True
    chosen[-(most // 4) :] = True
    others = np.flatnonzero(~chosen)
    chosen[rng.choice(others, most - int(chosen.sum()), replace=False)] = True
    return np.flatnonzero(chosen)


def scalarised(objectives: Array, weights: Array) -> Array:
    """(n, m) minimised objectives as one: the augmented Chebyshev sum of their warped values on [0, 1]."""
    if objectives.shape[1] == 1:
        return np.asarray(objectives[:, 0], dtype=np.float64)
    scaled = np.empty(objectives.shape)
    for j in range(objectives.shape[1]):
        z = Warping.fit(objectives[:, j]).forward(objectives[:, j])
        scaled[:, j] = (z - z.min()) / (float(np.ptp(z)) or 1.0)
    return np.asarray(np.max(weights * scaled, axis=1) + AUGMENTATION * scaled @ weights, dtype=np.float64)


def _not_better_than_median(y: Array, is_pruned: Mask) -> Array:
    """A pruned trial's last report is of an earlier step, and it was stopped for being worse than others there."""
    complete = y[~is_pruned]
    if not len(complete) or not is_pruned.any():
        return y
    return np.where(is_pruned, np.maximum(y, float(np.median(complete))), y)


def _native(warping: Warping, mean: Array, std: Array) -> tuple[Array, Array]:
    """Median and half the central 68 % interval of the back-transformed belief."""
    width = float(ndtri(0.84134474606854293))
    low, high = warping.backward(mean - width * std), warping.backward(mean + width * std)
    return warping.backward(mean), 0.5 * (high - low)
