"""How much the past is believed: prior means that compete in predicting every trial from the others.

Three prior means of the objective: none; the sources' mean, with a slope >= 0; a stack of them, with weights >= 0 that
are shrunken towards equal shares. Each counts by its leave-one-out predictive likelihood. Slope and weights of a past
that ranks the other way are 0, so the worst that it can do is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotri

from app.search.constraints import Array
from app.search.surrogate import Factor
from app.search.transfer import Past

SLOPE_PRIOR = 2.0  # in units of Σ score²: how firmly the sources' mean is believed to hold as it is
STACK_PRIOR = 2.0  # likewise, that every source counts the same
SCALE_PRIOR = 4.0  # trials that say that the amplitude without a past holds
N_SWEEPS = 30


@dataclass(frozen=True)
class Blend:
    """shares: (3,) of no past, the sources' mean and the stack; they sum to 1.

    weights: (S,) of every source in the prior mean, >= 0.  level: its constant.  scale: what the covariance is
    multiplied with for what is left to explain.
    """

    shares: Array
    weights: Array
    level: float
    scale: float


@dataclass(frozen=True)
class Borrowed:
    """A trend: the sources' means with (S,) weights."""

    past: Past
    weights: Array

    def values(self, units: Array) -> Array:
        return self.past.sum(units, self.weights)

    def values_and_gradient(self, units: Array) -> tuple[Array, Array]:
        return self.past.sum_with_gradient(units, self.weights)


def blend(factor: Factor, y: Array, means: Array, caps: Array) -> Blend:
    """From n trials with a fitted covariance.

    Args:
        y: (n,) standardised.  means: (n, S) what the sources expected.  caps: (S,) the most that each may weigh.
    The amplitude is fitted anew for each prior mean, in closed form; length scales are those without a past.
    Source: Rasmussen & Williams 2006, eq. 5.10 to 5.12 (leave-one-out); Breiman 1996 (stacking with weights >= 0).
    """
    n, S = means.shape
    together = means.mean(axis=1)
    z, t = y - y.mean(), together - together.mean()
    slope = max(0.0, float(t @ z + SLOPE_PRIOR) / float(t @ t + SLOPE_PRIOR))
    weights = np.stack([np.zeros(S), np.full(S, slope / S), stacked(means - means.mean(axis=0), z)])
    weights = np.minimum(weights, caps)
    triangle = dpotri(factor.L, lower=1)[0]
    precision = np.tril(triangle) + np.tril(triangle, -1).T
    d, ones = np.diagonal(precision)[:, None], precision.sum(axis=1)
    rest = y[:, None] - means @ weights.T
    level = (ones @ rest) / (ones.sum() + 1.0)
    rest = rest - level
    alpha = precision @ rest
    scale = ((rest * alpha).sum(axis=0) + SCALE_PRIOR) / (n + SCALE_PRIOR)
    likelihood = 0.5 * (np.log(d) - np.log(scale) - alpha**2 / (d * scale)).sum(axis=0)
    shares = np.exp(likelihood - likelihood.max())
    shares /= shares.sum()
    return Blend(shares, shares @ weights, float(shares @ level), float(shares @ scale))


def stacked(A: Array, r: Array) -> Array:
    """(S,) weights w >= 0 that minimise |A w − r|² + ridge |w − 1/S|², for centred (n, S) columns."""
    S = A.shape[1]
    ridge = STACK_PRIOR * S
    G, h = A.T @ A + ridge * np.eye(S), A.T @ r + ridge / S
    w = np.full(S, 1.0 / S)
    for _ in range(N_SWEEPS):
        for i in range(S):
            w[i] = max(0.0, w[i] + float(h[i] - G[i] @ w) / G[i, i])
    return w
