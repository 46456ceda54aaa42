"""Log expected improvement and its kin: what a configuration is worth before it is tried.

Logarithms, because expected improvement itself underflows to exact zeros over most of the space and leaves a maximiser
without a slope (Ament et al. 2023, "Unexpected improvements to expected improvement").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr

from app.search.constraints import Array
from app.search.surrogate import Surrogate

LOG_2PI_HALF = 0.5 * float(np.log(2.0 * np.pi))
LOG_PI_2_HALF = 0.5 * float(np.log(np.pi / 2.0))
FAR = -1e3  # from here on three terms of the asymptotic series are exact to 1e-11


def log_h(z: Array) -> Array:
    """log(φ(z) + z Φ(z)), accurate for every finite z. Source: Ament et al. 2023, eq. 9."""
    z = np.asarray(z, dtype=np.float64)
    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near**2 - LOG_2PI_HALF) + near * np.exp(log_ndtr(near)))
    middle = np.clip(z, FAR, -1.0)
    tail = np.log(erfcx(-middle / np.sqrt(2.0)) * np.abs(middle)) + LOG_PI_2_HALF
    with np.errstate(divide="ignore"):
        inner = -0.5 * middle**2 - LOG_2PI_HALF + np.log(-np.expm1(tail))
    outer = np.minimum(z, FAR)
    with np.errstate(over="ignore"):
        asymptote = -0.5 * outer**2 - LOG_2PI_HALF - 2.0 * np.log(-outer) + np.log1p(-3.0 / outer**2)
    return np.where(z > -1.0, direct, np.where(z > FAR, inner, asymptote))


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """log E[max(best − f, 0)] for f ~ N(mean, std²), elementwise."""
    return np.asarray(log_h((best - mean) / std) + np.log(std), dtype=np.float64)


def exploration_share(mean: float, std: float, best: float) -> float:
    """σφ(z) / (σφ(z) + |best − μ| Φ(z)), in [0, 1]: the part of expected improvement that is owed to uncertainty."""
    z = (best - mean) / std
    exploring, exploiting = -0.5 * z**2 - LOG_2PI_HALF, float(log_ndtr(z)) + np.log(max(abs(z), 1e-300))
    return float(np.clip(1.0 / (1.0 + np.exp(min(exploiting - exploring, 700.0))), 0.0, 1.0))


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


@dataclass(frozen=True)
class Acquisition:
    """log EI of the objective below `best`, discounted for noise, plus log probabilities of the `limits`.

    Each limit must be at most its bound. `best` None means that nothing feasible is known yet: only the probabilities
    count.
    """

    objective: Surrogate
    best: float | None
    noise_std: float = 0.0  # of the next measurement, standardised
    limits: tuple[Surrogate, ...] = ()
    bounds: tuple[float, ...] = ()

    def value(self, units: Array) -> Array:
        """(m,) at (m, D) rows."""
        total = np.zeros(len(units))
        if self.best is not None:
            prediction = self.objective.predict(units)
            total += log_expected_improvement(prediction.mean, prediction.std, self.best)
            total += noise_discount(prediction.std, self.noise_std).log
        for limit, bound in zip(self.limits, self.bounds, strict=True):
            prediction = limit.predict(units)
            total += log_ndtr((bound - prediction.mean) / prediction.std)
        return total

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        """(m,) values and (m, D) derivatives by the numbers of the unit cube."""
        total, gradient = np.zeros(len(units)), np.zeros(units.shape)
        if self.best is not None:
            p = self.objective.predict_with_gradient(units)
            z = (self.best - p.mean) / p.std
            log_height = log_h(z)
            discount = noise_discount(p.std, self.noise_std)
            total += log_height + np.log(p.std) + discount.log
            by_mean = -np.exp(log_ndtr(z) - log_height) / p.std
            by_std = np.exp(-0.5 * z**2 - LOG_2PI_HALF - log_height) / p.std + discount.by_std
            gradient += by_mean[:, None] * p.mean_gradient + by_std[:, None] * p.std_gradient
        for limit, bound in zip(self.limits, self.bounds, strict=True):
            p = limit.predict_with_gradient(units)
            z = (bound - p.mean) / p.std
            log_probability = log_ndtr(z)
            total += log_probability
            by_z = np.exp(-0.5 * z**2 - LOG_2PI_HALF - log_probability)
            gradient -= (by_z / p.std)[:, None] * (p.mean_gradient + z[:, None] * p.std_gradient)
        return total, gradient

    def believing(self, units: Array) -> Acquisition:
        """With (m, D) rows out for evaluation."""
        if not len(units):
            return self
        objective = self.objective.believing(units)
        best = self.best if self.best is None else min(self.best, float(objective.mean_at_trials[-len(units) :].min()))
        return Acquisition(
            objective, best, self.noise_std, tuple(limit.believing(units) for limit in self.limits), self.bounds
        )
