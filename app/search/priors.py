"""Beliefs over the kernel's hyperparameters, all in log space.

Length scales share a level: log l_k = m + delta_k with m ~ N(log(sqrt(d) / 2), 0.7²) and delta_k ~ N(0, 0.7²), in cube
edges. The level grows with the dimension so that a typical pair of points stays correlated (Hvarfner et al. 2024); the
shared part lets few trials say "all rough" or "all smooth" before they can say which parameter matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.search.constraints import Array

LEVEL_STD = 0.7
SPREAD_STD = 0.7
AMPLITUDE_LOG_STD = 1.5
NOISE_LOG_MEAN = float(np.log(1e-4))  # variance, in standardised units: experiments repeat to about a percent
NOISE_LOG_STD = 3.0
MEAN_STD = 1.0


@dataclass(frozen=True)
class LogDensity:
    """A log density, up to a constant, and its gradient."""

    value: float
    gradient: Array


@dataclass(frozen=True)
class HyperPrior:
    """The prior over θ: log ℓ₁ … log ℓ_D, log amplitude, log noise variance and mean; (D + 3,).

    log_lengths: (D,) where past studies found the length scales, NaN where they know nothing.
    log_noise: where they found the noise variance.
    """

    n_columns: int
    log_lengths: tuple[float, ...] | None = None
    log_noise: float = NOISE_LOG_MEAN

    @property
    def mode(self) -> Array:
        """(D + 3,) where the density is highest."""
        lengths = np.full(self.n_columns, np.log(0.5 * np.sqrt(max(self.n_columns, 1))))
        if self.log_lengths is not None:
            learnt = np.array(self.log_lengths)
            lengths = np.where(np.isnan(learnt), lengths, learnt)
        return np.concatenate([lengths, [0.0, self.log_noise, 0.0]])

    def log_density(self, theta: Array) -> LogDensity:
        """At (D + 3,); the level m is integrated out: log ℓ ~ N(mode, 0.7² I + 0.7² 1 1ᵀ)."""
        off = theta - self.mode
        lengths, others = off[: self.n_columns], off[self.n_columns :]
        share = LEVEL_STD**2 / (SPREAD_STD**2 + LEVEL_STD**2 * self.n_columns)
        pull = (lengths - share * lengths.sum()) / SPREAD_STD**2
        weights = np.array([AMPLITUDE_LOG_STD, NOISE_LOG_STD, MEAN_STD]) ** -2.0
        gradient = -np.concatenate([pull, others * weights])
        return LogDensity(0.5 * float(off @ gradient), gradient)
