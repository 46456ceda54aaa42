"""The Gaussian process: fit its hyperparameters, condition it on trials, predict.

Notation, used in this folder throughout:

    U       (n, D)  configurations as rows of the unit cube, NaN where not active
    Z       (n, F)  their features divided by length scales, see `kernels`
    y       (n,)    standardised objective, minimised
    K       (n, n)  covariance of y, noise included
    L       (n, n)  lower Cholesky factor of K
    alpha   (n,)    K⁻¹ (y − mean)
    theta   (D + 3,) log length scales, log amplitude, log noise variance, mean

The covariance is a Matérn-5/2 with a length scale for every parameter.
Hyperparameters are a maximum of the posterior (marginal likelihood times `priors.HyperPrior`), by L-BFGS-B with
analytic gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dtrsm
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs
from scipy.optimize import minimize

from app.errors import FitFailed, NotPositiveDefinite
from app.search.constraints import Array
from app.search.kernels import Embedding, matern52, matern52_with_slope
from app.search.priors import HyperPrior, LogDensity

JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)  # relative to the amplitude: repeated trials make K singular
LENGTH_BOUNDS = (np.log(5e-3), np.log(1e3))
AMPLITUDE_BOUNDS = (np.log(1e-3), np.log(1e3))
NOISE_BOUNDS = (np.log(1e-8), 0.0)
MEAN_BOUNDS = (-5.0, 5.0)
CACHED = 32_768  # covariances between new points and trials that are computed at one time
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


class Trend(Protocol):
    """A prior mean that is no constant: what the process is added to."""

    def values(self, units: Array) -> Array:
        """(m,) at (m, D) rows."""

    def values_and_gradient(self, units: Array) -> tuple[Array, Array]:
        """(m,) and the (m, D) derivatives by the numbers of the unit cube."""


@dataclass(frozen=True)
class Hyperparameters:
    """theta, read."""

    inverse_lengths: Array  # (F,) one over the length scale of every feature
    amplitude: float
    noise_variance: float
    mean: float

    @classmethod
    def of(cls, embedding: Embedding, theta: Array) -> Hyperparameters:
        D = embedding.n_columns
        amplitude, noise_variance = np.exp(theta[[D, D + 1]]).tolist()
        return cls(np.exp(-theta[:D])[embedding.columns], amplitude, noise_variance, float(theta[D + 2]))


@dataclass(frozen=True)
class Factor:
    """The covariance of n trials, factorised, with its hyperparameters; grows by trials.

    added: (n,) what was added to the diagonal of the noiseless covariance.
    jitter: the part of it that is neither noise nor told, in units of the amplitude.
    """

    embedding: Embedding
    theta: Array
    hyper: Hyperparameters
    units: Array
    Z: Array
    L: Array
    added: Array
    jitter: float

    @classmethod
    def of(cls, embedding: Embedding, theta: Array, units: Array, told_variance: Array) -> Factor:
        """For (n, D) rows with (n,) squared standard errors told with the trials, 0 where none.

        Raises: NotPositiveDefinite, if no jitter of the ladder makes K factorisable.
        """
        hyper = Hyperparameters.of(embedding, theta)
        Z = embedding.features(units) * hyper.inverse_lengths
        covariance = matern52(Z, Z, hyper.amplitude)
        for jitter in JITTERS:
            added = hyper.noise_variance + told_variance + jitter * hyper.amplitude
            K = covariance.T.copy(order="F")
            K.reshape(-1, order="F")[:: len(Z) + 1] += added
            L, info = dpotrf(K, lower=1, clean=1, overwrite_a=1)
            if info == 0 and (len(L) == 0 or np.isfinite(L[-1, -1])):
                return cls(embedding, theta, hyper, units, Z, L, added, jitter)
        raise NotPositiveDefinite(f"the covariance of {len(Z)} trials has no Cholesky factor")

    def with_row(self, unit: Array, told_variance: float) -> Factor:
        """With one more (D,) row, in O(n²).

        Raises: NotPositiveDefinite, if the row repeats others so exactly that the factor would break down.
        """
        hyper, n = self.hyper, len(self.Z)
        row = unit[None, :]
        z = self.embedding.features(row) * hyper.inverse_lengths
        k = matern52(self.Z, z, hyper.amplitude)
        added = hyper.noise_variance + told_variance + self.jitter * hyper.amplitude
        own = hyper.amplitude + added
        v = dtrsm(1.0, self.L, k, lower=1)[:, 0] if n else np.empty(0)
        left = own - float(v @ v)
        if not left > 1e-12 * own:
            raise NotPositiveDefinite(f"a trial repeats one of {n} others")
        L = np.empty((n + 1, n + 1), order="F")
        L[:n, :n] = self.L
        L[:n, n] = 0.0
        L[n, :n] = v
        L[n, n] = np.sqrt(left)
        return replace(
            self,
            units=np.vstack([self.units, row]),
            Z=np.vstack([self.Z, z]),
            L=L,
            added=np.append(self.added, added),
        )

    def first(self, n: int) -> Factor:
        """Of the first n rows alone: a Cholesky factor's leading block is one."""
        if n == len(self.Z):
            return self
        L = self.L[:n, :n].copy(order="F")
        return replace(self, units=self.units[:n], Z=self.Z[:n], L=L, added=self.added[:n])

    def given(self, y: Array, trend: Trend | None = None) -> Surrogate:
        """The process conditioned on (n,) standardised values of the trials."""
        rest = y - self.hyper.mean if trend is None else y - self.hyper.mean - trend.values(self.units)
        alpha = dpotrs(self.L, rest, lower=1)[0]
        return Surrogate(self, alpha, y - self.added * alpha, trend=trend)  # (covariance + added) alpha = rest

    def scaled(self, scale: float, mean: float) -> Factor:
        """With the covariance, noise included, times a factor, and another constant mean."""
        D = self.embedding.n_columns
        theta = self.theta.copy()
        theta[[D, D + 1]] += np.log(scale)
        theta[D + 2] = mean
        hyper = Hyperparameters.of(self.embedding, theta)
        L = np.asfortranarray(self.L * np.sqrt(scale))
        return replace(self, theta=theta, hyper=hyper, L=L, added=self.added * scale)


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian process conditioned on n trials; see the notation above.

    n_believed: so many of them, the last ones, are pending.
    trend: what is added to the process; it is part of every mean.
    """

    factor: Factor
    alpha: Array
    mean_at_trials: Array
    n_believed: int = 0
    trend: Trend | None = None

    @property
    def embedding(self) -> Embedding:
        return self.factor.embedding

    @property
    def theta(self) -> Array:
        return self.factor.theta

    @property
    def units(self) -> Array:
        return self.factor.units

    @property
    def amplitude(self) -> float:
        return self.factor.hyper.amplitude

    @property
    def noise_variance(self) -> float:
        return self.factor.hyper.noise_variance

    def predict(self, units: Array) -> Prediction:
        """At (m, D) rows."""
        mean, variance = self._moments(units)
        return Prediction(mean, _std(variance, self.amplitude))

    def _moments(self, units: Array) -> tuple[Array, Array]:
        m = len(units)
        mean, variance = np.empty(m), np.empty(m)
        k = 0
        for some_means, some_variances, _ in self._blocks(units):
            here = slice(k, k := k + len(some_means))
            mean[here], variance[here] = some_means, some_variances
        return mean, variance

    def _blocks(self, units: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Mean and variance (k,) of some rows at a time with V (n, k), their covariances with the trials after L⁻¹.

        Twice as fast as all at once, which the processor's cache cannot hold.
        """
        factor, hyper = self.factor, self.factor.hyper
        Z = self.embedding.features(units) * hyper.inverse_lengths
        step = max(CACHED // max(len(self.alpha), 1), 1)
        for k in range(0, len(Z), step):
            covariance = matern52(Z[k : k + step], factor.Z, hyper.amplitude)
            V = dtrsm(1.0, factor.L, covariance.T, lower=1)
            mean = self.base(units[k : k + step]) + covariance @ self.alpha
            yield mean, hyper.amplitude - np.einsum("ij,ij->j", V, V), V

    def base(self, units: Array) -> Array | float:
        """The prior mean at (m, D) rows, one number where it is constant."""
        constant = self.factor.hyper.mean
        return constant if self.trend is None else constant + self.trend.values(units)

    def predict_with_gradient(self, units: Array) -> PredictionGradient:
        """At (m, D) rows, with derivatives."""
        factor, hyper = self.factor, self.factor.hyper
        Z_new = self.embedding.features(units) * hyper.inverse_lengths
        K_new_train, slope = matern52_with_slope(Z_new, factor.Z, hyper.amplitude)
        v = dtrsm(1.0, factor.L, K_new_train.T, lower=1)
        w = dtrsm(1.0, factor.L, v, lower=1, trans_a=1).T
        std = _std(hyper.amplitude - np.einsum("ij,ij->j", v, v), hyper.amplitude)
        mean = hyper.mean + K_new_train @ self.alpha
        # dk(z, z_i)/dz = slope (z_i - z); the mean weighs these by alpha, the variance by -2 w
        by_alpha, by_w = slope * self.alpha, slope * w
        d_mean = (by_alpha @ factor.Z - by_alpha.sum(axis=1)[:, None] * Z_new) * hyper.inverse_lengths
        d_variance = (by_w @ factor.Z - by_w.sum(axis=1)[:, None] * Z_new) * (-2.0 * hyper.inverse_lengths)
        d_std = d_variance / (2.0 * std[:, None])
        mean_gradient = self.embedding.pull_back(units, d_mean)
        if self.trend is not None:
            values, slopes = self.trend.values_and_gradient(units)
            mean, mean_gradient = mean + values, mean_gradient + slopes
        return PredictionGradient(mean, std, mean_gradient, self.embedding.pull_back(units, d_std))

    def believing(self, unit: Array) -> Surrogate:
        """Conditioned also on a pending (D,) row as if it had returned the present mean (kriging believer).

        The mean stays as it is everywhere; the uncertainty shrinks as it will when the result is in.
        """
        try:
            factor = self.factor.with_row(unit, 0.0)
        except NotPositiveDefinite:  # it repeats a trial: nothing is left to learn there
            return self
        covariance = matern52(factor.Z[-1:], self.factor.Z, self.amplitude)[0]
        mean = self.base(unit[None, :]) + float(covariance @ self.alpha)
        means = np.append(self.mean_at_trials, mean)
        return Surrogate(factor, np.append(self.alpha, 0.0), means, self.n_believed + 1, self.trend)

    def watching(self, units: Array) -> Watched:
        """Predictions at (m, D) rows that are kept up to date while more pending trials are believed."""
        n = len(self.alpha) - self.n_believed
        told = Surrogate(self.factor.first(n), self.alpha[:n], self.mean_at_trials[:n], trend=self.trend)
        blocks = list(told._blocks(units)) or [(np.empty(0), np.empty(0), np.empty((n, 0)))]
        means, variances, V = zip(*blocks, strict=True)
        return Watched(told, units, np.concatenate(means), np.concatenate(variances), V).following(self)


@dataclass(frozen=True)
class Watched:
    """A prediction at (m, D) rows that is kept while pending trials are believed: each shrinks the std, in O(n m).

    told: conditioned on the n trials with values.
    V: blocks (n, k) of columns of L⁻¹ times the rows' covariances with those.
    believed: one further row (m,) of it for every believed trial.
    """

    told: Surrogate
    units: Array
    mean: Array
    variance: Array
    V: tuple[Array, ...]
    believed: tuple[Array, ...] = ()

    @property
    def prediction(self) -> Prediction:
        return Prediction(self.mean, _std(self.variance, self.told.amplitude))

    def following(self, surrogate: Surrogate) -> Watched:
        """After the trials that the surrogate believes beyond those that were believed before."""
        factor, n = surrogate.factor, len(self.told.alpha)
        start = n + len(self.believed)
        if start == len(factor.Z):
            return self
        amplitude = factor.hyper.amplitude
        Z = factor.embedding.features(self.units) * factor.hyper.inverse_lengths
        believed, variance = list(self.believed), self.variance.copy()
        for i in range(start, len(factor.Z)):
            row = matern52(factor.Z[i : i + 1], Z, amplitude)[0]
            row -= np.concatenate([factor.L[i, :n] @ block for block in self.V])
            for weight, other in zip(factor.L[i, n:i], believed, strict=True):
                row -= weight * other
            row /= factor.L[i, i]
            believed.append(row)
            variance -= row * row
        return replace(self, variance=variance, believed=tuple(believed))


def _std(variance: Array, amplitude: float) -> Array:
    return np.sqrt(np.maximum(variance, 1e-14 * amplitude))


def fit(
    embedding: Embedding,
    units: Array,
    y: Array,
    told_variance: Array,
    start: Array | None = None,
    n_steps: int = 60,
    prior: HyperPrior | None = None,
) -> Array:
    """The hyperparameters (D + 3,) of the highest posterior density found, from the prior's mode or a better start.

    Args: as in `Factor`; n_steps: evaluations of the density, about.  prior: one that the past has taught.
    Raises: FitFailed, if the density is finite nowhere on the way.
    """
    prior = prior or HyperPrior(embedding.n_columns)
    features = embedding.features(units)

    def loss(theta: Array) -> tuple[float, Array]:
        density = log_posterior(embedding, features, y, told_variance, theta, prior)
        return -density.value, -density.gradient

    bounds = [LENGTH_BOUNDS] * embedding.n_columns + [AMPLITUDE_BOUNDS, NOISE_BOUNDS, MEAN_BOUNDS]
    lows, highs = np.array(bounds).T
    found = minimize(
        loss,
        np.clip(prior.mode if start is None else start, lows, highs),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": n_steps, "maxfun": n_steps, "ftol": 1e-5, "gtol": 1e-2},
    )
    if not (np.isfinite(found.fun) and found.fun < FAILED):
        raise FitFailed(f"no hyperparameters explain the {len(y)} trials")
    return np.asarray(found.x, dtype=np.float64)


def log_posterior(
    embedding: Embedding,
    features: Array,
    y: Array,
    told_variance: Array,
    theta: Array,
    prior: HyperPrior,
) -> LogDensity:
    """log p(y | theta) + log p(theta) and its gradient (D + 3,); -1e12 and a zero gradient where K has no factor.

    Args:
        features: (n, F).
    Source: Rasmussen & Williams 2006, eq. 5.8 and 5.9.
    """
    n, D = len(y), embedding.n_columns
    amplitude, noise_variance = np.exp(theta[[D, D + 1]]).tolist()
    mean = theta[D + 2]
    Z = features * np.exp(-theta[:D])[embedding.columns]
    covariance, slope = matern52_with_slope(Z, Z, amplitude)
    K = covariance.copy()
    K.reshape(-1)[:: n + 1] += noise_variance + told_variance
    L, info = dpotrf(K.T, lower=1, clean=1, overwrite_a=1)
    if info != 0 or not np.isfinite(L[-1, -1]):
        return LogDensity(-FAILED, np.zeros(D + 3))
    residual = y - mean
    alpha = dpotrs(L, residual, lower=1)[0]
    log_determinant = 2.0 * float(np.log(np.diagonal(L)).sum())
    # d likelihood = tr(W dK) / 2 with W = alpha alphaᵀ − K⁻¹; dK is symmetric, so twice a triangle does for K⁻¹
    W = dpotri(L, lower=1, overwrite_c=1)[0].T
    diagonal = np.diagonal(W).copy()
    W *= -2.0
    W.reshape(-1)[:: n + 1] += diagonal
    W += np.multiply.outer(alpha, alpha)
    likelihood = -0.5 * float(residual @ alpha) - 0.5 * log_determinant - 0.5 * n * np.log(2.0 * np.pi)
    slope *= W
    per_feature = (slope.sum(axis=0) + slope.sum(axis=1)) @ Z**2 - 2.0 * np.einsum("ij,ij->j", Z, slope @ Z)
    gradient = np.empty(D + 3)
    gradient[:D] = 0.5 * np.bincount(embedding.columns, weights=per_feature, minlength=D)
    gradient[D] = 0.5 * float(np.vdot(W, covariance))
    gradient[D + 1] = 0.5 * noise_variance * float(W.reshape(-1)[:: n + 1].sum())
    gradient[D + 2] = float(alpha.sum())
    belief = prior.log_density(theta)
    return LogDensity(likelihood + belief.value, gradient + belief.gradient)
