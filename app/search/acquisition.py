"""Log expected improvement and its kin: what a configuration is worth before it is tried.

Logarithms, because expected improvement itself underflows to exact zeros over most of the space and leaves a maximiser
without a slope (Ament et al. 2023, "Unexpected improvements to expected improvement").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from app.search.constraints import Array
from app.search.optimum import Lean
from app.search.pareto import Cells, cells_below
from app.search.surrogate import Prediction, Surrogate, Watched

LOG_2PI_HALF = 0.5 * float(np.log(2.0 * np.pi))
SQRT2, SQRT_PI_2 = float(np.sqrt(2.0)), float(np.sqrt(np.pi / 2.0))
FEW = 8  # rows that are faster one by one
FAR = 1e3  # standard deviations; from here on two terms of the asymptotic series are exact to 1e-11


def log_h(z: Array) -> Array:
    """log h(z) with h(z) = φ(z) + z Φ(z), accurate for every finite z. Source: Ament et al. 2023, eq. 9.

    With the Mills ratio R(z) = (1 − Φ(z)) / φ(z) it is φ(z) (1 − |z| R(|z|)) for z < 0, and by reflection
    z + φ(z) (1 − |z| R(|z|)) else.
    """
    size = np.abs(z)
    is_far = size >= FAR
    left = 1.0 - size * (erfcx(np.minimum(size, FAR) * (1.0 / SQRT2)) * SQRT_PI_2)
    if is_far.any():
        beyond = np.maximum(size, FAR) ** -2.0
        left = np.where(is_far, beyond * (1.0 - 3.0 * beyond), left)
    log_density = -0.5 * z * z - LOG_2PI_HALF
    is_low = z < 0.0
    inside = np.where(is_low, left, z + np.exp(log_density) * left)
    return np.asarray(np.log(inside) + np.where(is_low, log_density, 0.0), dtype=np.float64)


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """log E[max(best − f, 0)] for f ~ N(mean, std²), elementwise."""
    return np.asarray(log_h((best - mean) / std) + np.log(std), dtype=np.float64)


def _improvement(mean: float, std: float, best: float) -> tuple[float, float, float]:
    """`log_expected_improvement` of one belief, and its derivatives by mean and std.

    With h as in `log_h`, d log h / dz = Φ / h, and what the std adds of itself is φ / h.
    """
    z = (best - mean) / std
    size = abs(z)
    if size < FAR:
        mills = float(erfcx(size / SQRT2)) * SQRT_PI_2
        left = 1.0 - size * mills
    else:
        beyond = size**-2.0
        left, mills = beyond * (1.0 - 3.0 * beyond), (1.0 - beyond) / size
    log_density = -0.5 * z * z - LOG_2PI_HALF
    if z < 0.0:
        return log_density + math.log(left) + math.log(std), -mills / (left * std), 1.0 / (left * std)
    density = math.exp(log_density)
    above = z + density * left
    return math.log(above) + math.log(std), (density * mills - 1.0) / (above * std), density / (above * std)


def exploration_share(mean: float, std: float, best: float) -> float:
    """σφ(z) / (σφ(z) + |best − μ| Φ(z)), in [0, 1]: the part of expected improvement that is owed to uncertainty."""
    z = (best - mean) / std
    exploring, exploiting = -0.5 * z**2 - LOG_2PI_HALF, float(log_ndtr(z)) + math.log(max(abs(z), 1e-300))
    return min(max(1.0 / (1.0 + math.exp(min(exploiting - exploring, 700.0))), 0.0), 1.0)


@dataclass(frozen=True)
class Discount:
    """A logarithm (m,) and its derivative by the standard deviation (m,)."""

    log: Array
    by_std: Array


def noise_discount(std: Array, noise_std: float) -> Discount:
    """log(1 − τ / √(σ² + τ²)): what one measurement with noise τ can still teach where the belief has spread σ.

    Zero without noise. It keeps a noisy study from measuring the neighbourhood of a lucky trial over and over.
    Source: Huang et al. 2006, augmented expected improvement.
    """
    total = np.sqrt(std**2 + noise_std**2)
    log = 2.0 * np.log(std) - np.log(total) - np.log(total + noise_std)
    return Discount(log, 2.0 / std - std / total**2 - std / (total * (total + noise_std)))


class Term(Protocol):
    """One summand of an acquisition, a logarithm: at (m, D) rows of the unit cube."""

    @property
    def surrogates(self) -> tuple[Surrogate, ...]:
        """What it is made from."""

    def value(self, predictions: Sequence[Prediction]) -> Array:
        """(m,) from what its surrogates predict at m rows."""

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        """(m,) and the (m, D) derivatives by the numbers of the unit cube."""

    def believing(self, unit: Array) -> Term:
        """With a pending (D,) row out for evaluation."""


@dataclass(frozen=True)
class Improvement:
    """log EI below `best`, discounted for the noise of the next measurement (`noise_std`, standardised)."""

    objective: Surrogate
    best: float
    noise_std: float = 0.0

    @property
    def surrogates(self) -> tuple[Surrogate, ...]:
        return (self.objective,)

    def value(self, predictions: Sequence[Prediction]) -> Array:
        (p,) = predictions
        is_few = len(p.mean) <= FEW
        total: Array = self._slopes(p.mean, p.std)[0] if is_few else log_expected_improvement(p.mean, p.std, self.best)
        return total + noise_discount(p.std, self.noise_std).log if self.noise_std else total

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        p = self.objective.linearised(units)
        total, by_mean, by_std = self._slopes(p.mean, p.std)
        if self.noise_std:
            discount = noise_discount(p.std, self.noise_std)
            total, by_std = total + discount.log, by_std + discount.by_std
        return total, p.gradient(by_mean, by_std)

    def _slopes(self, mean: Array, std: Array) -> Array:
        """(3, m) log EI and its derivatives by mean and std, one by one: of a handful arrays would take longer."""
        slopes = [_improvement(m, s, self.best) for m, s in zip(mean.tolist(), std.tolist(), strict=True)]
        return np.array(slopes, dtype=np.float64).reshape(-1, 3).T

    def believing(self, unit: Array) -> Improvement:
        objective = self.objective.believing(unit)
        if objective is self.objective:
            return self
        return Improvement(objective, min(self.best, float(objective.mean_at_trials[-1])), self.noise_std)


@dataclass(frozen=True)
class HypervolumeImprovement:
    """log of the expected growth of the hypervolume below `reference`, for independent objectives.

    objectives: one surrogate for each.  front: (k, m) values that count as reached, standardised.
    Source: Yang et al. 2019 (the sum over cells); its logarithm as in Ament et al. 2023, section 4.
    """

    objectives: tuple[Surrogate, ...]
    front: Array
    reference: Array

    @property
    def surrogates(self) -> tuple[Surrogate, ...]:
        return self.objectives

    @property
    def cells(self) -> Cells:
        return cells_below(self.front, self.reference)

    def value(self, predictions: Sequence[Prediction]) -> Array:
        return _log_volume(self.cells, [(p.mean, p.std) for p in predictions])[0]

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        predictions = [objective.linearised(units) for objective in self.objectives]
        total, slopes = _log_volume(self.cells, [(p.mean, p.std) for p in predictions])
        gradient = np.zeros(units.shape)
        for p, (by_mean, by_std) in zip(predictions, slopes, strict=True):
            gradient += p.gradient(by_mean, by_std)
        return total, gradient

    def believing(self, unit: Array) -> HypervolumeImprovement:
        objectives = tuple(objective.believing(unit) for objective in self.objectives)
        believed = np.array([[float(objective.predict(unit[None, :]).mean[0]) for objective in objectives]])
        return replace(self, objectives=objectives, front=np.vstack([self.front, believed]))


@dataclass(frozen=True)
class Within:
    """log P(quantity <= bound): an outcome within its limit, or that a configuration can be evaluated at all."""

    quantity: Surrogate
    bound: float

    @property
    def surrogates(self) -> tuple[Surrogate, ...]:
        return (self.quantity,)

    def value(self, predictions: Sequence[Prediction]) -> Array:
        (p,) = predictions
        return np.asarray(log_ndtr((self.bound - p.mean) / p.std), dtype=np.float64)

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        p = self.quantity.linearised(units)
        z = (self.bound - p.mean) / p.std
        log_probability = log_ndtr(z)
        near = np.maximum(
            z, -FAR
        )  # below, the density over the probability is −z, and a difference of logarithms rounding
        by_z = np.where(z < -FAR, -z, np.exp(-0.5 * near**2 - LOG_2PI_HALF - log_ndtr(near)))
        by_mean = -by_z / p.std
        return log_probability, p.gradient(by_mean, by_mean * z)

    def believing(self, unit: Array) -> Within:
        return replace(self, quantity=self.quantity.believing(unit))


@dataclass(frozen=True)
class Thrift:
    """−weight · E[log cost]: improvement per cost, for a standardised log cost; the weight cools.

    Source: Lee et al. 2020, "Cost-aware Bayesian optimization" (EI-cool).
    """

    log_cost: Surrogate
    weight: float

    @property
    def surrogates(self) -> tuple[Surrogate, ...]:
        return (self.log_cost,)

    def value(self, predictions: Sequence[Prediction]) -> Array:
        return -self.weight * predictions[0].mean

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        p = self.log_cost.linearised(units)
        by_mean = np.full(len(units), -self.weight)
        return by_mean * p.mean, p.gradient(by_mean, np.zeros(len(units)))

    def believing(self, unit: Array) -> Thrift:
        return self  # a believed trial leaves every mean as it is


@dataclass(frozen=True)
class Acquisition:
    """The sum of some terms. Without an improvement (nothing feasible is known yet) only the probabilities count.

    lean: towards where the user believes the optimum to lie, None where nothing is said.
    rows: (m, D) those that are watched, None before `watching`.
    watched: for every term what its surrogates predict there.
    """

    terms: tuple[Term, ...]
    lean: Lean | None = None
    rows: Array | None = None
    watched: tuple[tuple[Watched, ...], ...] = ()

    def value(self, units: Array) -> Array:
        """(m,) at (m, D) rows."""
        total = self._leaning(units)
        for term in self.terms:
            total += term.value([surrogate.predict(units) for surrogate in term.surrogates])
        return total

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        """(m,) values and (m, D) derivatives by the numbers of the unit cube."""
        total, gradient = np.zeros(len(units)), np.zeros(units.shape)
        for term in self.terms:
            value, slope = term.value_and_gradient(units)
            total += value
            gradient += slope
        if self.lean is not None:
            value, slope = self.lean.value_and_gradient(units)
            total += value
            gradient += slope
        return total, gradient

    def _leaning(self, units: Array) -> Array:
        return np.zeros(len(units)) if self.lean is None else self.lean.value(units)

    def watching(self, units: Array) -> Acquisition:
        """The same, with (m, D) rows whose value stays at hand while pending trials are believed."""
        watched = (tuple(surrogate.watching(units) for surrogate in term.surrogates) for term in self.terms)
        return Acquisition(self.terms, self.lean, units, tuple(watched))

    def value_at_watched(self) -> Array:
        """(m,) at the watched rows."""
        total = np.zeros(0) if self.rows is None else self._leaning(self.rows)
        for term, watched in zip(self.terms, self.watched, strict=True):
            total += term.value([w.prediction for w in watched])
        return total

    def believing(self, units: Array) -> Acquisition:
        """With (p, D) rows out for evaluation, taken one after the other."""
        terms = self.terms
        for unit in units:
            terms = tuple(term.believing(unit) for term in terms)
        watched = (
            tuple(w.following(surrogate) for w, surrogate in zip(ws, term.surrogates, strict=True))
            for term, ws in zip(terms, self.watched, strict=False)
        )
        return Acquisition(terms, self.lean, self.rows, tuple(watched))


def _log_volume(cells: Cells, beliefs: list[tuple[Array, Array]]) -> tuple[Array, list[tuple[Array, Array]]]:
    """log Σ_cells Π_j (G_j(upper) − G_j(lower)), with G_j(c) = E[max(c − f_j, 0)], and its slopes by mean and std."""
    parts: list[Array] = []
    edges = []
    for j, (mean, std) in enumerate(beliefs):
        levels, low, high = cells.levels[j], cells.lower[:, j], cells.upper[:, j]
        z = (levels - mean[:, None]) / std[:, None]  # (m, levels)
        log_gain = log_h(z) + np.log(std)[:, None]
        top, bottom = log_gain[:, high], np.where(low < 0, -np.inf, log_gain[:, np.maximum(low, 0)])
        with np.errstate(divide="ignore"):
            parts.append(top + np.log(-np.expm1(np.minimum(bottom - top, -1e-15))))
        edges.append((z, low, high))
    together = np.sum(parts, axis=0)  # (m, cells)
    largest = together.max(axis=1)
    total = largest + np.log(np.exp(together - largest[:, None]).sum(axis=1))
    share = np.exp(together - total[:, None])
    slopes = []
    for (z, low, high), part in zip(edges, parts, strict=True):
        by_mean = _difference(log_ndtr(z), part, low, high)
        by_std = _difference(-0.5 * z**2 - LOG_2PI_HALF, part, low, high)
        slopes.append((-(share * by_mean).sum(axis=1), (share * by_std).sum(axis=1)))
    return total, slopes


def _difference(log: Array, part: Array, low: NDArray[np.intp], high: NDArray[np.intp]) -> Array:
    """(exp(log at upper edges) − exp(log at lower edges)) / exp(part), (m, cells); nothing at minus infinity."""
    below = np.where(low >= 0, np.exp(log[:, np.maximum(low, 0)] - part), 0.0)
    return np.asarray(np.exp(log[:, high] - part) - below, dtype=np.float64)
