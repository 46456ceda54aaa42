"""Whole functions drawn from the model's belief, to carry its uncertainty into whatever is computed from a function.

A draw from the prior is corrected by what the trials say about it (Matheron's rule):
f(x) + k(x, U) K⁻¹ (y − f(U) − ε).
The prior is a sum of random cosines. Every path costs about as much as a mean, and can be asked at as many points as
one likes, which a draw of correlated values cannot.
Source: Wilson et al. 2020, "Efficiently sampling functions from Gaussian process posteriors".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrs

from app.search.constraints import Array
from app.search.kernels import matern52
from app.search.surrogate import Surrogate

N_FREQUENCIES = 512
CHUNK = 4096  # rows at one time
MATERN52_FREEDOM = 5.0  # the spectrum of a Matérn-ν covariance is Student's t with 2ν degrees of freedom


@dataclass(frozen=True)
class Paths:
    """The posterior mean and S functions drawn from the posterior, all standardised."""

    surrogate: Surrogate
    frequencies: Array  # (F, M)
    weights: Array  # (2 M, S) of the prior's features
    corrections: Array  # (n, 1 + S) of the trials' covariances, the first column for the mean

    @classmethod
    def draw(cls, surrogate: Surrogate, n_paths: int, rng: np.random.Generator) -> Paths:
        """S = n_paths functions."""
        factor = surrogate.factor
        frequencies = rng.standard_normal((factor.Z.shape[1], N_FREQUENCIES))
        frequencies *= np.sqrt(MATERN52_FREEDOM / rng.chisquare(MATERN52_FREEDOM, N_FREQUENCIES))
        weights = rng.standard_normal((2 * N_FREQUENCIES, n_paths))
        empty = np.empty((len(factor.Z), 0))
        paths = cls(surrogate, frequencies, weights, empty)
        misfit = -(paths._features(factor.Z) @ weights)
        misfit -= np.sqrt(factor.added)[:, None] * rng.standard_normal((len(factor.Z), n_paths))
        by_paths = dpotrs(factor.L, misfit, lower=1)[0] if n_paths else empty
        alpha = surrogate.alpha[:, None]
        return cls(surrogate, frequencies, weights, np.hstack([alpha, alpha + by_paths]))

    def __call__(self, units: Array) -> Array:
        """(m, 1 + S) at (m, D) rows: the mean, then the paths."""
        return np.vstack([self._values(units[i : i + CHUNK]) for i in range(0, max(len(units), 1), CHUNK)])

    def _values(self, units: Array) -> Array:
        factor, hyper = self.surrogate.factor, self.surrogate.factor.hyper
        Z = self.surrogate.embedding.features(units) * hyper.inverse_lengths
        base = np.broadcast_to(self.surrogate.base(units), len(units))
        values = base[:, None] + matern52(Z, factor.Z, hyper.amplitude) @ self.corrections
        if self.weights.shape[1]:
            values[:, 1:] += self._features(Z) @ self.weights
        return np.asarray(values, dtype=np.float64)

    def _features(self, Z: Array) -> Array:
        """(m, 2 M): their products, in expectation, are the covariance."""
        angles = Z @ self.frequencies
        size = np.sqrt(self.surrogate.amplitude / N_FREQUENCIES)
        return np.hstack([size * np.cos(angles), size * np.sin(angles)])
