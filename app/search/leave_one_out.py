"""How well the model predicts a trial that it has not seen, without fitting it again.

The covariance's factor already holds the answer: with K = L Lᵀ, leaving trial i out predicts its value as
y_i − α_i / (K⁻¹)_ii with variance 1 / (K⁻¹)_ii, noise included.
Source: Rasmussen & Williams 2006, eq. 5.12; Dubrule 1983; Sundararajan & Keerthi 2001.

The hyperparameters have seen every trial, so the figures flatter a little where trials are fewer than about five for
every parameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotri

from app.search.constraints import Array
from app.search.surrogate import Surrogate

CENTRAL_95 = 1.959963984540054  # standard deviations


@dataclass(frozen=True)
class LeaveOneOut:
    """Of n trials: their values, and the mean and standard deviation of what the others predict; all (n,), standardised

    The standard deviation is that of a measurement, noise included.
    """

    values: Array
    mean: Array
    std: Array

    @property
    def r2(self) -> float:
        """1 − squared errors over those of the mean of the others: 1 is perfect, 0 no better than no model."""
        n = len(self.values)
        centred = (self.values - self.values.mean()) * n / max(n - 1, 1)
        total = float(centred @ centred)
        error = self.values - self.mean
        return 1.0 - float(error @ error) / total if total > 0 else 0.0

    @property
    def rank_correlation(self) -> float:
        """Spearman's, between the predicted and the measured values, in [-1, 1]."""
        return rank_correlation(self.mean, self.values)

    @property
    def coverage(self) -> float:
        """The share of values within their central 95 % interval."""
        return float(np.mean(np.abs(self.values - self.mean) <= CENTRAL_95 * self.std))


def leave_one_out(surrogate: Surrogate) -> LeaveOneOut:
    """Every one of the n trials as the others predict it, in O(n³) with a small constant."""
    values = surrogate.mean_at_trials + surrogate.factor.added * surrogate.alpha
    precision = np.diagonal(dpotri(surrogate.factor.L, lower=1)[0])
    return LeaveOneOut(values, values - surrogate.alpha / precision, 1.0 / np.sqrt(precision))


def rank_correlation(x: Array, y: Array) -> float:
    """Spearman's correlation of two (n,) arrays, ties at their mean rank; 0 where one of them is constant."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def ranks(x: Array) -> Array:
    """(n,) ranks from 1, ties at their mean."""
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - 0.5 * (count - 1))[place], dtype=np.float64)
