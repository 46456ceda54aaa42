"""Where a learning curve is going: a Bayesian mixture of simple curves, from a trial's own reports alone.

Each member is y(t) = c + a φ(t) + noise, with one of the shapes

    power      φ(t) = t^−α                 pow3 of Domhan et al. 2015
    exponent   φ(t) = exp(−t / τ)          exp3
    logistic   φ(t) = 1 / (1 + (t / τ)^α)  log-power

scaled so that φ is 1 at the first report and 0 at the last step: c is then the final value itself. Given the shape
the model is linear, so (a, c) and the noise are integrated in closed form (normal-inverse-gamma), and the shapes, on
a grid, are weighted by their evidence. Nothing is sampled or optimised, so a forecast takes half a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.errors import ShapeError
from app.search.constraints import Array

#: Fewer reports say nothing about a curve with three parameters.
MIN_REPORTS = 4
#: Reports that a fit looks at; of a longer curve as many, evenly spread.
MAX_REPORTS = 64
#: Noise of a report that is expected before any is seen, in units of the curve's range, and how firmly.
NOISE_STD, NOISE_SHAPE = 0.05, 1.5
#: The final value is expected within so many ranges of the last report.
REACH = 3.0
_ALPHAS = (0.1, 0.25, 0.5, 1.0, 2.0)
_TAUS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)  # in units of the last step
_LOGISTIC = tuple((tau, alpha) for tau in (0.05, 0.2, 0.5) for alpha in (1.0, 2.0))
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(48)


@dataclass(frozen=True)
class Forecast:
    """A mixture of Student t distributions over the final value: (k,) each; dof is shared."""

    weights: Array
    means: Array
    scales: Array
    dof: float

    def probability_below(self, bar: float) -> float:
        """P(final value < bar)."""
        return float(self.weights @ student_cdf((bar - self.means) / self.scales, self.dof))

    @property
    def mean(self) -> float:
        return float(self.weights @ self.means)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """(n,) final values."""
        member = rng.choice(len(self.weights), size=n, p=self.weights)
        drawn = self.means[member] + self.scales[member] * rng.standard_t(self.dof, size=n)
        return np.asarray(drawn, dtype=np.float64)


def forecast(steps: Array, values: Array, last_step: float) -> Forecast | None:
    """What the curve will have come to at the last step; None, if there are too few finite reports to say.

    Args:
        steps: (n,) positive, rising.  values: (n,), in any units, of one objective.  last_step: where it ends.
    Raises: ShapeError, if steps and values differ in length.
    Source: shapes and weighting after Domhan, Springenberg & Hutter 2015; the linear part after Bishop 2006, 3.5.
    """
    steps, values = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if steps.shape != values.shape or steps.ndim != 1:
        raise ShapeError(f"steps have shape {steps.shape}, values {values.shape}")
    is_usable = np.isfinite(values) & (steps > 0) & (steps < last_step)
    steps, values = steps[is_usable], values[is_usable]
    if len(steps) < MIN_REPORTS:
        return None
    kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MAX_REPORTS)).round().astype(int))
    t, y = steps[kept] / last_step, values[kept]
    origin, unit = float(y[-1]), float(np.ptp(y)) or max(abs(float(y[-1])), 1.0) * 1e-9
    z = (y - origin) / unit

    designs = np.stack([_design(shape, t) for shape in _SHAPES])  # (k, n, 2)
    prior_precision = np.diag([NOISE_STD**2, NOISE_STD**2]) / REACH**2
    prior_mean = np.array([0.0, z[0]])
    precision = prior_precision + designs.transpose(0, 2, 1) @ designs
    covariance = np.linalg.inv(precision)  # 2 by 2, and positive: the prior sees to it
    moment = prior_precision @ prior_mean + designs.transpose(0, 2, 1) @ z
    mean = np.einsum("kij,kj->ki", covariance, moment)
    shape_n = NOISE_SHAPE + len(t) / 2.0
    explained = np.einsum("ki,kij,kj->k", mean, precision, mean)
    rate_n = (NOISE_SHAPE * NOISE_STD**2 + 0.5 * (z @ z + prior_mean @ prior_precision @ prior_mean - explained)).clip(
        min=1e-12
    )
    log_evidence = -0.5 * np.linalg.slogdet(precision)[1] - shape_n * np.log(rate_n)
    weights = np.exp(log_evidence - log_evidence.max())
    scales = np.sqrt(rate_n / shape_n * (1.0 + covariance[:, 0, 0]))
    return Forecast(
        weights=weights / weights.sum(),
        means=origin + unit * mean[:, 0],
        scales=unit * scales,
        dof=2.0 * shape_n,
    )


def student_cdf(t: Array, dof: float) -> Array:
    """P(T < t) of Student's t, by quadrature in the angle θ = atan(t / √dof): ∫ cos^(dof−1) θ dθ / B(½, dof/2)."""
    half = np.arctan(np.asarray(t, dtype=np.float64) / math.sqrt(dof))[..., None] / 2.0
    theta = half * (_NODES + 1.0)
    beta = math.exp(math.lgamma(0.5) + math.lgamma(dof / 2.0) - math.lgamma((dof + 1.0) / 2.0))
    area = (half * np.cos(theta) ** (dof - 1.0)) @ _NODE_WEIGHTS / beta
    return np.asarray((0.5 + area).clip(0.0, 1.0), dtype=np.float64)


Shape = Callable[[Array], Array]


def _power(alpha: float) -> Shape:
    return lambda t: t**-alpha


def _exponent(tau: float) -> Shape:
    return lambda t: np.exp(-t / tau)


def _logistic(tau: float, alpha: float) -> Shape:
    return lambda t: 1.0 / (1.0 + (t / tau) ** alpha)


_SHAPES: tuple[Shape, ...] = (
    *map(_power, _ALPHAS), *map(_exponent, _TAUS), *(_logistic(tau, alpha) for tau, alpha in _LOGISTIC),
)  # fmt: skip


def _design(shape: Shape, t: Array) -> Array:
    """(n, 2) columns 1 and φ, where φ is 1 at the first of the times (n,) and 0 at time 1."""
    end = shape(np.ones(1))
    drop = shape(t[:1]) - end
    return np.column_stack([np.ones_like(t), (shape(t) - end) / np.where(drop > 0, drop, 1.0)])
