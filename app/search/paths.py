"""Whole functions drawn from the model's belief, to carry its uncertainty into whatever is computed from a function.

A draw from the prior is corrected by what the trials say about it (Matheron's
rule): f(x) + k(x, U) K⁻¹ (y − f(U) − ε).
The prior's Matérn part is a sum of random cosines, its quadratic trend a sum of products. Every path costs about as
much as a mean, and can be asked at as many points as one likes, which a draw of correlated values cannot.
Source: Wilson et al. 2020, "Efficiently sampling functions from Gaussian process posteriors".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrs

from app.search.constraints import Array
from app.search.kernels import matern52, quadratic
from app.search.surrogate import Surrogate

N_FREQUENCIES = 512
N_PRODUCTS = 1024  # features of the trend's quadratic part; below that many pairs of features it is exact
CHUNK = 4096  # rows at one time
MATERN52_FREEDOM = 5.0  # the spectrum of a Matérn-ν covariance is Student's t with 2ν degrees of freedom


@dataclass(frozen=True)
class Paths:
    """The posterior mean and S functions drawn from the posterior, all standardised."""

    surrogate: Surrogate
    frequencies: Array  # (F, M)
    left: Array  # (F, R), with `right`: features (left · x) (right · x) of the quadratic part
    right: Array
    weights: Array  # (2 M + 1 + F + R, S) of the prior's features
    corrections: Array  # (n, 1 + S) of the trials' covariances, the first column for the mean

    @classmethod
    def draw(cls, surrogate: Surrogate, n_paths: int, rng: np.random.Generator) -> Paths:
        """S = n_paths functions."""
        factor = surrogate.factor
        n_features = factor.X.shape[1]
        frequencies = rng.standard_normal((n_features, N_FREQUENCIES))
        frequencies *= np.sqrt(MATERN52_FREEDOM / rng.chisquare(MATERN52_FREEDOM, N_FREQUENCIES))
        if n_features**2 <= N_PRODUCTS:
            left = np.repeat(np.eye(n_features), n_features, axis=1)
            right = np.tile(np.eye(n_features), n_features)
        else:
            left, right = rng.standard_normal((2, n_features, N_PRODUCTS)) / N_PRODUCTS**0.25
        n_weights = 2 * N_FREQUENCIES + 1 + n_features + left.shape[1]
        weights = rng.standard_normal((n_weights, n_paths))
        empty = np.empty((len(factor.Z), 0))
        paths = cls(surrogate, frequencies, left, right, weights, empty)
        misfit = -(paths._features(factor.Z, factor.X) @ weights)
        misfit -= np.sqrt(factor.added)[:, None] * rng.standard_normal((len(factor.Z), n_paths))
        by_paths = dpotrs(factor.L, misfit, lower=1)[0] if n_paths else empty
        alpha = surrogate.alpha[:, None]
        return cls(surrogate, frequencies, left, right, weights, np.hstack([alpha, alpha + by_paths]))

    def __call__(self, units: Array) -> Array:
        """(m, 1 + S) at (m, D) rows: the mean, then the paths."""
        return np.vstack([self._values(units[i : i + CHUNK]) for i in range(0, max(len(units), 1), CHUNK)])

    def _values(self, units: Array) -> Array:
        factor, hyper = self.surrogate.factor, self.surrogate.factor.hyper
        features = self.surrogate.embedding.features(units)
        Z, X = features * hyper.inverse_lengths, self.surrogate.embedding.centred(features)
        covariance = matern52(Z, factor.Z, hyper.amplitude)
        covariance += hyper.trend_variance * quadratic(X, factor.X)
        values = hyper.mean + covariance @ self.corrections
        if self.weights.shape[1]:
            values[:, 1:] += self._features(Z, X) @ self.weights
        return np.asarray(values, dtype=np.float64)

    def _features(self, Z: Array, X: Array) -> Array:
        """(m, 2 M + 1 + F + R): their products, in expectation, are the covariance."""
        hyper, n_features = self.surrogate.factor.hyper, X.shape[1]
        angles = Z @ self.frequencies
        size = np.sqrt(hyper.amplitude / N_FREQUENCIES)
        trend = np.sqrt(hyper.trend_variance)
        return np.hstack(
            [
                size * np.cos(angles),
                size * np.sin(angles),
                np.full((len(X), 1), trend),
                trend * np.sqrt(2.0 / n_features) * X,
                (trend / n_features) * (X @ self.left) * (X @ self.right),
            ]
        )
