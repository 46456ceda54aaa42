"""Objectives made Gaussian: shift and scale by the better half, squash outliers, Yeo–Johnson, standardise.

A model of a quantity that spans decades spends itself on the bad end; the transformation is monotone, so nothing about
which trial is better is lost, and its power is chosen by likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.search.constraints import Array

LARGEST = 1e150  # differences of clipped values stay finite
KNEE = 1e4  # scaled values beyond it grow logarithmically: an outlier ranks last without ruling the scale
POWERS = (-4.0, 3.0)
N_POWERS = 21  # about a third apart
_GRID = np.linspace(*POWERS, N_POWERS)


@dataclass(frozen=True)
class Warping:
    """z = (yeo_johnson(squash((y - center) / scale), power) - mean) / std."""

    center: float
    scale: float
    power: float
    mean: float
    std: float

    @classmethod
    def fit(cls, y: Array) -> Warping:
        """The warping of (n,) finite objectives; n >= 1, all equal values too."""
        y = np.sort(np.minimum(np.maximum(y, -LARGEST), LARGEST))
        center = _quantile(y, 0.5)
        scale = better_half_spread(y, center)
        squashed = _squash(_scaled(y, center, scale))
        power = _most_gaussian_power(squashed)
        warped = yeo_johnson(squashed, power)
        std = float(np.std(warped))
        return cls(center, scale, power, float(np.mean(warped)), std if std > 1e-12 else 1.0)

    @classmethod
    def none(cls) -> Warping:
        """The identity."""
        return cls(0.0, 1.0, 1.0, 0.0, 1.0)

    def forward(self, y: Array) -> Array:
        """Objective units to standardised ones, elementwise."""
        squashed = _squash(_scaled(y, self.center, self.scale))
        return (yeo_johnson(squashed, self.power) - self.mean) / self.std

    def backward(self, z: Array) -> Array:
        """The inverse of `forward`; beyond the range of the transformation its end."""
        squashed = inverse_yeo_johnson(z * self.std + self.mean, self.power)
        return np.clip(_unsquash(squashed) * self.scale + self.center, -LARGEST, LARGEST)

    def slope(self, y: Array) -> Array:
        """dz/dy, elementwise, > 0: carries standard errors over."""
        scaled = _scaled(y, self.center, self.scale)
        squashed = _squash(scaled)
        exponent = np.where(squashed >= 0, self.power - 1.0, 1.0 - self.power)
        slope = np.exp(exponent * np.log1p(np.abs(squashed)))
        beyond = np.where(np.abs(scaled) > KNEE, KNEE / np.maximum(np.abs(scaled), KNEE), 1.0)
        return np.asarray(slope * beyond / (self.scale * self.std), dtype=np.float64)


def yeo_johnson(x: Array, power: float) -> Array:
    """((1 + x)^p - 1) / p for x >= 0, -((1 - x)^(2 - p) - 1) / (2 - p) below; logarithms at p = 0 and p = 2.

    Source: Yeo & Johnson 2000.
    """
    log = np.log1p(np.abs(x))
    return np.where(x >= 0, _box_cox_of_log(log, power), -_box_cox_of_log(log, 2.0 - power))


def inverse_yeo_johnson(z: Array, power: float) -> Array:
    """The x with yeo_johnson(x, power) = z; where z is beyond the transformation's range, a very large x."""
    exponent = np.where(z >= 0, power, 2.0 - power)
    argument = np.maximum(np.abs(z) * exponent, -1.0 + 1e-12)
    near_zero = np.abs(exponent) < 1e-8
    log = np.where(near_zero, np.abs(z), np.log1p(argument) / np.where(near_zero, 1.0, exponent))
    return np.where(z >= 0, 1.0, -1.0) * np.expm1(np.minimum(log, 100.0))


def _box_cox_of_log(log: Array, exponent: float) -> Array:
    return log if abs(exponent) < 1e-8 else np.expm1(exponent * log) / exponent


def better_half_spread(y: Array, center: float) -> float:
    """Of (n,) rising values, the spread of the better half, which matters; wider measures where that is nothing."""
    for spread in (center - _quantile(y, 0.1), _quantile(y, 0.75) - _quantile(y, 0.25), float(y[-1] - y[0])):
        if spread > 1e-14 * abs(center) and spread > 1e-300:
            return spread
    return 1.0


def _quantile(y: Array, q: float) -> float:
    """Of (n,) rising values, between two of them in proportion."""
    place = q * (len(y) - 1)
    k = int(place)
    low, high = float(y[k]), float(y[min(k + 1, len(y) - 1)])
    return low + (place - k) * (high - low)


def _scaled(y: Array, center: float, scale: float) -> Array:
    """(y - center) / scale of clipped values, within ±1e300."""
    with np.errstate(over="ignore"):
        y = np.minimum(np.maximum(y, -LARGEST), LARGEST)
        return np.minimum(np.maximum((y - center) / scale, -1e300), 1e300)


def _squash(x: Array) -> Array:
    size = np.abs(x)
    if not (size > KNEE).any():
        return x
    size = np.maximum(size, KNEE)
    return np.where(np.abs(x) <= KNEE, x, np.sign(x) * KNEE * (1.0 + np.log(size / KNEE)))


def _unsquash(x: Array) -> Array:
    beyond = np.minimum(np.maximum(np.abs(x) / KNEE - 1.0, 0.0), 330.0)
    return np.where(np.abs(x) <= KNEE, x, np.sign(x) * KNEE * np.exp(beyond))


def _most_gaussian_power(x: Array) -> float:
    """The power of the largest profile likelihood: the best of a grid, improved by a parabola."""
    if len(x) < 3 or float(np.ptp(x)) < 1e-12:
        return 1.0
    is_above = x >= 0
    log = np.log1p(np.abs(x))
    exponents = np.where(is_above, _GRID[:, None], 2.0 - _GRID[:, None])
    warped = exponents * log
    np.exp(warped, out=warped)  # no exponent of the grid is near 0, so that 1 may be subtracted
    warped -= 1.0
    warped /= exponents
    log = np.where(is_above, log, -log)
    warped[:, ~is_above] *= -1.0
    warped -= warped.mean(axis=1, keepdims=True)
    variance = np.maximum(np.einsum("ij,ij->i", warped, warped) / len(x), 1e-300)
    loss = 0.5 * len(x) * np.log(variance) - (_GRID - 1.0) * float(log.sum())
    k = int(np.argmin(loss))
    if not 0 < k < N_POWERS - 1:
        return float(_GRID[k])
    before, here, after = loss[k - 1 : k + 2]
    bend = before - 2.0 * here + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(_GRID[k] + min(max(float(shift), -0.5), 0.5) * (_GRID[1] - _GRID[0]))
