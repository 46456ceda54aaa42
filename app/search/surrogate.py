"""The Gaussian process: fit its hyperparameters, condition it on trials, predict.

Notation, used in this folder throughout:

    U       (n, D)  configurations as rows of the unit cube, NaN where not active
    Z       (n, F)  their features divided by length scales, see `kernels`
    y       (n,)    standardised objective, minimised
    K       (n, n)  covariance of y, noise included
    L       (n, n)  lower Cholesky factor of K
    alpha   (n,)    K⁻¹ (y − mean)
    theta   (D + 3,) log length scales, log amplitude, log noise variance, mean

Hyperparameters are a maximum of the posterior (marginal likelihood times `priors.HyperPrior`), by L-BFGS-B with
analytic gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.optimize import minimize

from app.errors import FitFailed, NotPositiveDefinite
from app.search.constraints import Array
from app.search.kernels import Embedding, matern52, matern52_with_slope
from app.search.priors import HyperPrior, LogDensity

JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)  # relative to the amplitude: repeated trials make K singular
MIN_NOISE, MAX_NOISE = 1e-8, 1.0
LENGTH_BOUNDS = (np.log(5e-3), np.log(1e3))
AMPLITUDE_BOUNDS = (np.log(1e-3), np.log(1e3))
MEAN_BOUNDS = (-5.0, 5.0)
MAX_ITERATIONS = 60
FAILED = 1e12  # objective of the search where K cannot be factorised


@dataclass(frozen=True)
class Prediction:
    """Mean and standard deviation (m,) of the noiseless objective, standardised."""

    mean: Array
    std: Array


@dataclass(frozen=True)
class PredictionGradient:
    """A prediction with the derivatives (m, D) of mean and std by the numbers of the unit cube."""

    mean: Array
    std: Array
    mean_gradient: Array
    std_gradient: Array


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian process conditioned on n trials; see the notation above."""

    embedding: Embedding
    theta: Array
    units: Array
    Z: Array
    L: Array
    alpha: Array
    mean_at_trials: Array

    @property
    def amplitude(self) -> float:
        return float(np.exp(self.theta[self.embedding.n_columns]))

    @property
    def noise_variance(self) -> float:
        return float(np.exp(self.theta[self.embedding.n_columns + 1]))

    @property
    def inverse_lengths(self) -> Array:
        """(F,) one over the length scale of every feature."""
        return np.exp(-self.theta[: self.embedding.n_columns])[self.embedding.columns]

    def predict(self, units: Array) -> Prediction:
        """At (m, D) rows."""
        Z_new = self.embedding.features(units) * self.inverse_lengths
        K_train_new = matern52(self.Z, Z_new, self.amplitude)
        v = solve_triangular(self.L, K_train_new, lower=True, check_finite=False)
        variance = self.amplitude - np.sum(v**2, axis=0)
        return Prediction(self.theta[-1] + K_train_new.T @ self.alpha, self._std(variance))

    def predict_with_gradient(self, units: Array) -> PredictionGradient:
        """At (m, D) rows, with derivatives."""
        inverse_lengths = self.inverse_lengths
        Z_new = self.embedding.features(units) * inverse_lengths
        K_train_new, slope = matern52_with_slope(self.Z, Z_new, self.amplitude)
        v = solve_triangular(self.L, K_train_new, lower=True, check_finite=False)
        w = solve_triangular(self.L, v, lower=True, trans=1, check_finite=False)
        std = self._std(self.amplitude - np.sum(v**2, axis=0))
        mean = self.theta[-1] + K_train_new.T @ self.alpha
        # dk(z_i, z)/dz = slope (z_i - z); the mean weighs these by alpha, the variance by -2 w
        by_alpha, by_w = slope * self.alpha[:, None], slope * w
        d_mean = by_alpha.T @ self.Z - by_alpha.sum(axis=0)[:, None] * Z_new
        d_variance = -2.0 * (by_w.T @ self.Z - by_w.sum(axis=0)[:, None] * Z_new)
        d_std = d_variance / (2.0 * std[:, None])
        return PredictionGradient(
            mean,
            std,
            self.embedding.pull_back(units, d_mean * inverse_lengths),
            self.embedding.pull_back(units, d_std * inverse_lengths),
        )

    def believing(self, units: Array) -> Surrogate:
        """Conditioned also on (m, D) pending rows as if they had returned the present mean (kriging believer).

        The mean stays as it is everywhere; the uncertainty shrinks as it will when the results are in.
        """
        if not len(units):
            return self
        U = np.vstack([self.units, units])
        noise = np.concatenate(
            [np.diagonal(self.L @ self.L.T) - self.amplitude, np.full(len(units), self.noise_variance)]
        )
        Z, L, _ = _factorised(self.embedding, self.theta, U, np.maximum(noise - self.noise_variance, 0.0))
        mean = np.concatenate([self.mean_at_trials, self.predict(units).mean])
        alpha = np.concatenate([self.alpha, np.zeros(len(units))])
        return Surrogate(self.embedding, self.theta, U, Z, L, alpha, mean)

    def _std(self, variance: Array) -> Array:
        return np.sqrt(np.maximum(variance, 1e-14 * self.amplitude))


def condition(embedding: Embedding, theta: Array, units: Array, y: Array, told_variance: Array) -> Surrogate:
    """The process with hyperparameters `theta` given trials.

    Args:
        units: (n, D).  y: (n,).  told_variance: (n,) squared standard errors told with the trials, 0 where none.
    Raises: NotPositiveDefinite, if no jitter of the ladder makes K factorisable.
    """
    Z, L, covariance = _factorised(embedding, theta, units, told_variance)
    alpha = dpotrs(L, y - theta[-1], lower=1)[0]
    return Surrogate(embedding, theta, units, Z, L, alpha, theta[-1] + covariance @ alpha)


def fit(
    embedding: Embedding, units: Array, y: Array, told_variance: Array, rng: np.random.Generator, n_starts: int
) -> Array:
    """The hyperparameters (D + 3,) of the highest posterior density found from the prior's mode and random draws.

    Args: as in `condition`; n_starts: how many searches, the first from the mode.
    Raises: FitFailed, if no start leads to a finite density.
    """
    prior = HyperPrior(embedding.n_columns)
    features = embedding.features(units)
    bounds = [LENGTH_BOUNDS] * embedding.n_columns + [
        AMPLITUDE_BOUNDS,
        (np.log(MIN_NOISE), np.log(MAX_NOISE)),
        MEAN_BOUNDS,
    ]
    lows, highs = np.array(bounds).T

    def loss(theta: Array) -> tuple[float, Array]:
        density = log_posterior(embedding, features, y, told_variance, theta, prior)
        return -density.value, -density.gradient

    starts = [prior.mode, *(prior.sample(rng) for _ in range(n_starts - 1))]
    best_value, best = FAILED, None
    for start in starts:
        found = minimize(
            loss,
            np.clip(start, lows, highs),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": MAX_ITERATIONS, "ftol": 1e-7, "gtol": 1e-4},
        )
        if np.isfinite(found.fun) and found.fun < best_value:
            best_value, best = float(found.fun), np.asarray(found.x, dtype=np.float64)
    if best is None:
        raise FitFailed(f"no hyperparameters explain the {len(y)} trials")
    return best


def log_posterior(
    embedding: Embedding, features: Array, y: Array, told_variance: Array, theta: Array, prior: HyperPrior
) -> LogDensity:
    """log p(y | theta) + log p(theta) and its gradient (D + 3,); -1e12 and a zero gradient where K has no factor.

    Source: Rasmussen & Williams 2006, eq. 5.8 and 5.9.
    """
    n, D = len(y), embedding.n_columns
    amplitude, noise_variance, mean = np.exp(theta[D]), np.exp(theta[D + 1]), theta[D + 2]
    Z = features * np.exp(-theta[:D])[embedding.columns]
    covariance, slope = matern52_with_slope(Z, Z, amplitude)
    K = covariance.copy()
    K[np.diag_indices(n)] += noise_variance + told_variance
    L, info = dpotrf(K, lower=1, clean=1)
    if info != 0 or not np.isfinite(L[-1, -1]):
        return LogDensity(-FAILED, np.zeros(D + 3))
    residual = y - mean
    alpha = dpotrs(L, residual, lower=1)[0]
    lower = dpotri(L, lower=1)[0]  # its upper triangle stays zero
    K_inverse = lower + lower.T
    K_inverse[np.diag_indices(n)] *= 0.5
    likelihood = -0.5 * float(residual @ alpha) - float(np.log(np.diagonal(L)).sum()) - 0.5 * n * np.log(2.0 * np.pi)
    W = np.outer(alpha, alpha) - K_inverse  # d likelihood = tr(W dK) / 2
    by_slope = W * slope
    per_feature = 2.0 * (by_slope.sum(axis=1) @ Z**2 - np.sum(Z * (by_slope @ Z), axis=0))
    gradient = np.empty(D + 3)
    gradient[:D] = 0.5 * np.bincount(embedding.columns, weights=per_feature, minlength=D)
    gradient[D] = 0.5 * float(np.sum(W * covariance))
    gradient[D + 1] = 0.5 * noise_variance * float(np.trace(W))
    gradient[D + 2] = float(alpha.sum())
    belief = prior.log_density(theta)
    return LogDensity(likelihood + belief.value, gradient + belief.gradient)


def _factorised(embedding: Embedding, theta: Array, units: Array, told_variance: Array) -> tuple[Array, Array, Array]:
    """Z, L and the covariance without noise."""
    D = embedding.n_columns
    amplitude, noise_variance = float(np.exp(theta[D])), float(np.exp(theta[D + 1]))
    Z = embedding.features(units) * np.exp(-theta[:D])[embedding.columns]
    covariance = matern52(Z, Z, amplitude)
    for jitter in JITTERS:
        K = covariance.copy()
        K[np.diag_indices(len(Z))] += noise_variance + told_variance + jitter * amplitude
        L, info = dpotrf(K, lower=1, clean=1)
        if info == 0 and np.isfinite(L[-1, -1]):
            return Z, np.asarray(L, dtype=np.float64), covariance
    raise NotPositiveDefinite(f"the covariance of {len(Z)} trials has no Cholesky factor")
