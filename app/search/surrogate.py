"""The Gaussian process: condition it on trials, predict. Its hyperparameters come from `fitting`.

Notation, used in this folder throughout:

    U       (n, D)  configurations as rows of the unit cube, NaN where not active
    Z       (n, F)  their features divided by length scales, see `kernels`
    y       (n,)    standardised objective, minimised
    K       (n, n)  covariance of y, noise included
    L       (n, n)  lower Cholesky factor of K
    alpha   (n,)    K⁻¹ (y − mean)
    theta   (D + 3,) log length scales, log amplitude, log noise variance, mean

The covariance is a Matérn-5/2 with a length scale for every parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.linalg.blas import dtrmm
from scipy.linalg.lapack import dpotrf, dtrtri

from app.errors import NotPositiveDefinite
from app.search.constraints import Array
from app.search.kernels import (
    SQRT5,
    Embedding,
    augmented,
    distances,
    matern52_and_decay,
    matern52_at,
    opposite,
)

JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)  # relative to the amplitude: repeated trials make K singular
NEARLY_NONE = 1e-6  # of a trial's own variance
N_SPARE = 32  # trials that a factor may grow by before its rows are copied
CACHED = 32_768  # covariances between new points and trials that are computed at one time
FEW = 32  # rows, for which the triangle's copy would take longer than its zeros do
KEPT = 8 * 2**20  # bytes

# Freed at once and never touched. From then on the C library keeps freed blocks of up to this size for the next ones
# (glibc's threshold follows what is freed); handed back to the system each time, they cost a quarter of an ask.
np.empty(KEPT, dtype=np.uint8)


@dataclass(frozen=True)
class Prediction:
    """Mean and standard deviation (m,) of the noiseless objective, standardised."""

    mean: Array
    std: Array


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

    @cached_property
    def scale(self) -> Array:
        """(F,) what features are multiplied with, so that squared distances are 5 r²."""
        return self.inverse_lengths * SQRT5


class _Room:
    """The rows of a growing factor and of those that it grew from, each with the first so many.

    units (c, D), opposites (c, F + 2) of the scaled features, L and its inverse (c, c), added (c,): a row is written
    once, by the factor that grows by it; one that finds it written by another copies what it has.
    """

    def __init__(self, capacity: int, n_columns: int, n_features: int) -> None:
        self.units = np.empty((capacity, n_columns))
        self.opposites = np.empty((capacity, n_features + 2))
        self.L, self.inverse = np.empty((capacity, capacity)), np.empty((capacity, capacity))
        self.added = np.empty(capacity)
        self._owners: dict[int, object] = {}

    def is_claimed(self, row: int) -> bool:
        """Whether the row is there and from now on the caller's, also where several threads ask at a time."""
        mine = object()
        return row < len(self.units) and self._owners.setdefault(row, mine) is mine

    def copied(self, n: int) -> _Room:
        """The first n rows, with room for more."""
        room = _Room(n + N_SPARE, self.units.shape[1], self.opposites.shape[1] - 2)
        for name in ("units", "opposites", "added"):
            getattr(room, name)[:n] = getattr(self, name)[:n]
        for old, new in ((self.L, room.L), (self.inverse, room.inverse)):
            new[:n, :n], new[:n, n:] = old[:n, :n], 0.0
        return room


@dataclass(frozen=True)
class Factor:
    """The covariance of n trials, factorised, with its hyperparameters; grows by trials.

    jitter: what is added to the diagonal beside noise and told variances, in units of the amplitude.
    The inverse of L is kept too: products with it take a third of the time of triangular solves.
    """

    embedding: Embedding
    theta: Array
    hyper: Hyperparameters
    jitter: float
    n: int
    room: _Room

    @classmethod
    def of(cls, embedding: Embedding, theta: Array, units: Array, told_variance: Array) -> Factor:
        """For (n, D) rows with (n,) squared standard errors told with the trials, 0 where none.

        Raises: NotPositiveDefinite, if no jitter of the ladder makes K factorisable.
        """
        hyper, n = Hyperparameters.of(embedding, theta), len(units)
        S = embedding.features(units) * hyper.scale
        opposites = opposite(S)
        covariance = matern52_at(distances(augmented(S), opposites), hyper.amplitude)
        for jitter in JITTERS:
            added = hyper.noise_variance + told_variance + jitter * hyper.amplitude
            K = covariance.T.copy(order="F")
            K.reshape(-1, order="F")[:: n + 1] += added
            L, info = dpotrf(K, lower=1, clean=1, overwrite_a=1)
            if info == 0 and (n == 0 or np.isfinite(L[-1, -1])):
                room = _Room(n + N_SPARE, units.shape[1], S.shape[1])
                room.units[:n], room.opposites[:n], room.added[:n] = units, opposites, added
                room.L[:n, :n], room.L[:n, n:] = L, 0.0
                room.inverse[:n, :n], room.inverse[:n, n:] = dtrtri(L, lower=1, overwrite_c=1)[0], 0.0
                return cls(embedding, theta, hyper, jitter, n, room)
        raise NotPositiveDefinite(f"the covariance of {n} trials has no Cholesky factor")

    @property
    def units(self) -> Array:
        return self.room.units[: self.n]

    @property
    def Z(self) -> Array:
        return self.room.opposites[: self.n, :-2] * (-0.5 / SQRT5)

    @property
    def L(self) -> Array:
        return self.room.L[: self.n, : self.n]

    @property
    def inverse(self) -> Array:
        """(n, n) of L."""
        return self.room.inverse[: self.n, : self.n]

    @property
    def added(self) -> Array:
        """(n,) what was added to the diagonal of the noiseless covariance."""
        return self.room.added[: self.n]

    @property
    def opposites(self) -> Array:
        return self.room.opposites[: self.n]

    def scaled_features(self, units: Array) -> Array:
        """(m, F) of (m, D) rows, as far apart as 5 r² says."""
        return self.embedding.features(units) * self.hyper.scale

    def with_row(self, unit: Array, told_variance: float) -> Factor:
        """With one more (D,) row, in O(n²).

        Raises: NotPositiveDefinite, if the row repeats others so exactly that the factor would break down.
        """
        return self.extended(unit, told_variance)[0]

    def extended(self, unit: Array, told_variance: float) -> tuple[Factor, Array]:
        """As `with_row`, and the row's covariances (n,) with the trials before it."""
        hyper, n = self.hyper, self.n
        S = self.scaled_features(unit[None, :])
        k = matern52_at(distances(augmented(S), self.opposites), hyper.amplitude)[0]
        added = hyper.noise_variance + told_variance + self.jitter * hyper.amplitude
        own = hyper.amplitude + added
        v = self.inverse @ k
        left = own - float(v @ v)
        if left < NEARLY_NONE * own:  # what is left is a difference: refined, as accurate as a triangular solve
            v += self.inverse @ (k - self.L @ v)
            left = own - float(v @ v)
        if not left > 1e-12 * own:
            raise NotPositiveDefinite(f"a trial repeats one of {n} others")
        room = self.room
        if not room.is_claimed(n):
            room = room.copied(n)
            room.is_claimed(n)
        corner = float(np.sqrt(left))
        room.units[n], room.opposites[n], room.added[n] = unit, opposite(S)[0], added
        room.L[n, :n], room.L[n, n], room.L[n, n + 1 :] = v, corner, 0.0
        room.inverse[n, :n], room.inverse[n, n] = (v @ self.inverse) / -corner, 1.0 / corner
        room.inverse[n, n + 1 :] = 0.0
        return Factor(self.embedding, self.theta, hyper, self.jitter, n + 1, room), k

    def first(self, n: int) -> Factor:
        """Of the first n rows alone: a Cholesky factor's leading block is one."""
        return self if n == self.n else Factor(self.embedding, self.theta, self.hyper, self.jitter, n, self.room)

    def given(self, y: Array, trend: Trend | None = None) -> Surrogate:
        """The process conditioned on (n,) standardised values of the trials."""
        rest = y - self.hyper.mean if trend is None else y - self.hyper.mean - trend.values(self.units)
        alpha = (self.inverse @ rest) @ self.inverse
        return Surrogate(self, alpha, y - self.added * alpha, trend=trend)  # (covariance + added) alpha = rest

    def scaled(self, scale: float, mean: float) -> Factor:
        """With the covariance, noise included, times a factor, and another constant mean."""
        D = self.embedding.n_columns
        theta = self.theta.copy()
        theta[[D, D + 1]] += np.log(scale)
        theta[D + 2] = mean
        n = self.n
        room = self.room.copied(n)
        room.L[:n, :n] *= np.sqrt(scale)
        room.inverse[:n, :n] *= 1.0 / np.sqrt(scale)
        room.added[:n] *= scale
        return replace(self, theta=theta, hyper=Hyperparameters.of(self.embedding, theta), room=room)


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
        if len(units) > FEW:
            mean, variance = self._moments(units, None)
            return Prediction(mean, _std(variance, self.amplitude))
        factor = self.factor
        k = matern52_at(distances(augmented(factor.scaled_features(units)), factor.opposites), self.amplitude)
        v = k @ factor.inverse.T
        mean = k @ self.alpha
        mean += self.base(units)
        return Prediction(mean, _std(self.amplitude - np.vecdot(v, v), self.amplitude))

    def _moments(self, units: Array, V: Array | None) -> tuple[Array, Array]:
        """Mean and variance (m,); in V (m, n), where given, the covariances with the trials times L⁻ᵀ.

        Some rows at a time, in memory that is used again: twice as fast as all at once, which the processor's cache
        cannot hold.
        """
        factor, m, n = self.factor, len(units), self.factor.n
        left, right = augmented(factor.scaled_features(units)), factor.opposites
        inverse = np.asfortranarray(factor.inverse.T)
        mean, variance = np.empty(m), np.empty(m)
        step = min(max(CACHED // max(n, 1), 1), max(m, 1))
        scratch = np.empty((3, step, n))
        for k in range(0, m, step):
            some = left[k : k + step]
            s, t, decay = scratch[:, : len(some)]
            if V is not None:
                s = V[k : k + step]
            matern52_at(distances(some, right, s), self.amplitude, t, decay)
            np.matmul(s, self.alpha, out=mean[k : k + step])
            # transposed, the product with the triangle is made in place
            v = dtrmm(1.0, inverse, s.T, lower=0, trans_a=1, overwrite_b=1).T if n else s
            np.vecdot(v, v, out=variance[k : k + step])
        mean += self.base(units)
        return mean, np.subtract(self.amplitude, variance, out=variance)

    def base(self, units: Array) -> Array | float:
        """The prior mean at (m, D) rows, one number where it is constant."""
        constant = self.factor.hyper.mean
        return constant if self.trend is None else constant + self.trend.values(units)

    def linearised(self, units: Array) -> Linearised:
        """A prediction at (m, D) rows, with what its derivatives are made from."""
        factor = self.factor
        S = factor.scaled_features(units)
        k, decay = matern52_and_decay(distances(augmented(S), factor.opposites), self.amplitude)
        v = k @ factor.inverse.T
        std = _std(self.amplitude - np.vecdot(v, v), self.amplitude)
        mean = k @ self.alpha
        mean += factor.hyper.mean
        trend_slopes = None
        if self.trend is not None:
            values, trend_slopes = self.trend.values_and_gradient(units)
            mean += values
        return Linearised(mean, std, self, units, S, decay, v, trend_slopes)

    def believing(self, unit: Array) -> Surrogate:
        """Conditioned also on a pending (D,) row as if it had returned the present mean (kriging believer).

        The mean stays as it is everywhere; the uncertainty shrinks as it will when the result is in.
        """
        try:
            factor, k = self.factor.extended(unit, 0.0)
        except NotPositiveDefinite:  # it repeats a trial: nothing is left to learn there
            return self
        means = np.append(self.mean_at_trials, self.base(unit[None, :]) + k @ self.alpha)
        return Surrogate(factor, np.append(self.alpha, 0.0), means, self.n_believed + 1, self.trend)

    def watching(self, units: Array) -> Watched:
        """Predictions at (m, D) rows that are kept up to date while more pending trials are believed."""
        n = len(self.alpha) - self.n_believed
        told = Surrogate(self.factor.first(n), self.alpha[:n], self.mean_at_trials[:n], trend=self.trend)
        V = np.empty((len(units), n))
        mean, variance = told._moments(units, V)
        return Watched(told, augmented(self.factor.scaled_features(units)), mean, variance, V).following(self)


@dataclass(frozen=True, slots=True)
class Linearised:
    """A prediction (m,) at (m, D) rows that knows its slopes.

    S: (m, F) their scaled features.  decay: (m, n) 3/5 of the covariances' slopes.  v: (m, n) covariances times L⁻ᵀ.
    """

    mean: Array
    std: Array
    surrogate: Surrogate
    units: Array
    S: Array
    decay: Array
    v: Array
    trend_slopes: Array | None

    def gradient(self, by_mean: Array, by_std: Array) -> Array:
        """(m, D) derivatives, by the numbers of the unit cube, of what has these (m,) by mean and std.

        One pass backwards, which takes half of the time of the derivatives of mean and std each.
        """
        factor = self.surrogate.factor
        # dk(s, s_i)/ds = decay (s_i - s) / 3; the mean weighs these by alpha, the variance by -2 K⁻¹ k
        weights = self.v @ factor.inverse
        weights *= (by_std / -self.std)[:, None]
        weights += by_mean[:, None] * self.surrogate.alpha
        weights *= self.decay
        sums = weights @ factor.opposites[:, :-1]  # of −2 s_i, and of 1
        pull = self.S * sums[:, -1:]
        sums *= 0.5
        pull += sums[:, :-1]
        pull *= factor.hyper.scale / -3.0
        gradient = factor.embedding.pull_back(self.units, pull)
        return gradient if self.trend_slopes is None else gradient + by_mean[:, None] * self.trend_slopes


@dataclass(frozen=True)
class Watched:
    """A prediction at m rows that is kept while pending trials are believed: each shrinks the std, in O(n m).

    told: conditioned on the n trials with values.  rows: (m, F + 2) their scaled features, `augmented`.
    V: (m, n) the rows' covariances with those trials times L⁻ᵀ.
    believed: one further column (m,) of it for every believed trial.
    """

    told: Surrogate
    rows: Array
    mean: Array
    variance: Array
    V: Array
    believed: tuple[Array, ...] = ()

    @property
    def prediction(self) -> Prediction:
        return Prediction(self.mean, _std(self.variance, self.told.amplitude))

    def following(self, surrogate: Surrogate) -> Watched:
        """After the trials that the surrogate believes beyond those that were believed before."""
        factor, n = surrogate.factor, self.told.factor.n
        start = n + len(self.believed)
        if start == factor.n:
            return self
        believed, variance = list(self.believed), self.variance.copy()
        for i in range(start, factor.n):
            L = factor.L[i]
            column = matern52_at(distances(self.rows, factor.opposites[i : i + 1]), self.told.amplitude)[:, 0]
            column -= self.V @ L[:n]
            for weight, other in zip(L[n:i], believed, strict=True):
                column -= weight * other
            column /= L[i]
            believed.append(column)
            variance -= column * column
        return Watched(self.told, self.rows, self.mean, variance, self.V, tuple(believed))


def _std(variance: Array, amplitude: float) -> Array:
    return np.sqrt(np.maximum(variance, 1e-14 * amplitude))
