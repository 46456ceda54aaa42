"""Covariance functions over encoded configurations.

Every configuration becomes a point of Euclidean space, so that one stationary kernel serves all kinds and is positive
definite by construction:

    number                  its place u
    conditional number      (cos u, sin u); not active: (0, 0), at distance 1 from every active value
    choice k of m           e_k / sqrt(2) of R^m, distance 1 between any two (Hamming); not active: the origin

All features of a parameter share its length scale. Source: the circle is the arc kernel of Swersky et al. 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.errors import ShapeError
from app.search.constraints import Array
from app.search.space import SearchSpace

SQRT2, SQRT5 = float(np.sqrt(2.0)), float(np.sqrt(5.0))


@dataclass(frozen=True)
class Embedding:
    """Where each column of the unit cube goes.

    n_columns: D.  columns: (F,) the column behind each feature.  circular: columns of conditional numbers.
    plain: columns of other numbers.  choices: (column, number of choices) of each unordered column.
    """

    n_columns: int
    columns: NDArray[np.intp]
    plain: tuple[int, ...]
    circular: tuple[int, ...]
    choices: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, space: SearchSpace) -> Embedding:
        plain, circular, choices = [], [], []
        for j, name in enumerate(space.columns):
            kind = space.parameters[name]
            if not kind.is_ordered:
                choices.append((j, kind.n_levels or 1))
            elif kind.when is not None:
                circular.append(j)
            else:
                plain.append(j)
        columns = [*plain, *circular, *circular, *(j for j, m in choices for _ in range(m))]
        return cls(len(space.columns), np.array(columns, dtype=np.intp), tuple(plain), tuple(circular), tuple(choices))

    def features(self, units: Array) -> Array:
        """(n, D) rows, NaN where not active, to (n, F) points; a NaN in an unconditional number counts as 1/2."""
        plain = units[:, self.plain]
        if not self.circular and not self.choices:
            return np.where(np.isnan(plain), 0.5, plain) if np.isnan(plain).any() else plain
        parts = [np.where(np.isnan(plain), 0.5, plain)]
        if self.circular:
            angle = units[:, self.circular]
            active = ~np.isnan(angle)
            angle = np.where(active, angle, 0.0)
            parts += [active * np.cos(angle), active * np.sin(angle)]
        for (j, n_choices), table in zip(self.choices, self._tables, strict=True):
            own = units[:, j]
            places = np.clip(own * n_choices, 0, n_choices - 1)
            parts.append(table[np.where(np.isnan(own), n_choices, places).astype(np.intp)])
        return np.hstack(parts)

    @cached_property
    def _tables(self) -> tuple[Array, ...]:
        """For every unordered column the features of its choices, and the origin for none of them."""
        return tuple(np.vstack([np.eye(m) / SQRT2, np.zeros(m)]) for _, m in self.choices)

    def pull_back(self, units: Array, gradient: Array) -> Array:
        """A gradient in features (n, F) as one in the unit cube (n, D); zero for choices and where not active."""
        if len(self.plain) == self.n_columns:
            return gradient
        result = np.zeros((units.shape[0], self.n_columns))
        n_plain, n_circular = len(self.plain), len(self.circular)
        result[:, self.plain] = gradient[:, :n_plain]
        angle = units[:, self.circular]
        active = ~np.isnan(angle)
        angle = np.where(active, angle, 0.0)
        along_cos = gradient[:, n_plain : n_plain + n_circular]
        along_sin = gradient[:, n_plain + n_circular : n_plain + 2 * n_circular]
        result[:, self.circular] = active * (np.cos(angle) * along_sin - np.sin(angle) * along_cos)
        return result


def squared_distance(Z1: Array, Z2: Array) -> Array:
    """(n, m) squared Euclidean distances between the rows of (n, F) and (m, F). Raises: ShapeError."""
    if Z1.shape[1] != Z2.shape[1]:
        raise ShapeError(f"points have {Z1.shape[1]} and {Z2.shape[1]} features")
    distance = Z1 @ (-2.0 * Z2.T)
    distance += np.einsum("ij,ij->i", Z1, Z1)[:, None]
    distance += np.einsum("ij,ij->i", Z2, Z2)
    return np.asarray(np.maximum(distance, 0.0, out=distance), dtype=np.float64)


def matern52(Z1: Array, Z2: Array, amplitude: float) -> Array:
    """Matérn-5/2 covariance, a (1 + √5 r + 5r²/3) exp(−√5 r).

    Args:
        Z1, Z2: (n, F) and (m, F), features divided by their length scales.
        amplitude: a, in squared standardised objective units.
    Returns: (n, m), in the units of `amplitude`.
    Raises: ShapeError, if the columns differ.
    Source: Rasmussen & Williams 2006, eq. 4.17.
    """
    t = squared_distance(Z1, Z2)
    np.sqrt(t, out=t)
    t *= SQRT5
    decay = np.exp(-t)
    decay *= amplitude
    covariance = t * (1.0 / 3.0)
    covariance += 1.0
    covariance *= t
    covariance += 1.0
    covariance *= decay
    return covariance


def matern52_with_slope(Z1: Array, Z2: Array, amplitude: float) -> tuple[Array, Array]:
    """The covariance and −2 ∂k/∂(r²) = (5/3) a (1 + √5 r) exp(−√5 r), both (n, m).

    The slope gives every derivative: ∂k/∂z₁ = −slope (z₁ − z₂), ∂k/∂log ℓⱼ = slope dⱼ²/ℓⱼ².
    """
    t = squared_distance(Z1, Z2)
    np.sqrt(t, out=t)
    t *= SQRT5
    slope = np.exp(-t)
    slope *= amplitude
    covariance = t * (1.0 / 3.0)
    t += 1.0
    covariance *= t - 1.0
    covariance += t
    covariance *= slope
    slope *= t
    slope *= 5.0 / 3.0
    return covariance, slope
