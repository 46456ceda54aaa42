"""Covariance functions over encoded configurations.

Every configuration becomes a point of Euclidean space, so that one stationary kernel serves all kinds and is positive
definite by construction:

    number                  its place u
    conditional number      (cos u, sin u); not active: (0, 0), at distance 1 from every active value
    choice k of m           e_k / sqrt(2) of R^m, distance 1 between any two (Hamming); not active: the origin

All features of a parameter share its length scale. Source: the circle is the arc kernel of Swersky et al. 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.errors import ShapeError
from app.search.constraints import Array
from app.search.space import SearchSpace

SQRT2, SQRT5 = float(np.sqrt(2.0)), float(np.sqrt(5.0))


@dataclass(frozen=True)
class _Where:
    """An embedding's columns as indices.

    counts: of every unordered column how many choices it has.  tables: their features, and the origin for none of them.
    """

    plain: NDArray[np.intp]
    circular: NDArray[np.intp]
    choices: NDArray[np.intp]
    counts: Array
    tables: tuple[Array, ...]


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
        if len(self.plain) == self.n_columns:
            return np.where(np.isnan(units), 0.5, units) if np.isnan(units).any() else units
        where = self._where
        features = np.empty((len(units), len(self.columns)))
        n_plain, n_circular = len(self.plain), len(self.circular)
        plain = units[:, where.plain]
        features[:, :n_plain] = np.where(np.isnan(plain), 0.5, plain)
        if n_circular:
            angle = units[:, where.circular]
            active = ~np.isnan(angle)
            angle = np.where(active, angle, 0.0)
            np.multiply(active, np.cos(angle), out=features[:, n_plain : n_plain + n_circular])
            np.multiply(active, np.sin(angle), out=features[:, n_plain + n_circular : n_plain + 2 * n_circular])
        if self.choices:
            own = units[:, where.choices]
            places = np.minimum(np.maximum(own * where.counts, 0), where.counts - 1)
            rows = np.where(np.isnan(own), where.counts, places).astype(np.intp)
            first = n_plain + 2 * n_circular
            for k, table in enumerate(where.tables):
                last = first + table.shape[1]
                features[:, first:last] = table[rows[:, k]]
                first = last
        return features

    @cached_property
    def _where(self) -> _Where:
        return _Where(
            np.array(self.plain, dtype=np.intp),
            np.array(self.circular, dtype=np.intp),
            np.array([j for j, _ in self.choices], dtype=np.intp),
            np.array([m for _, m in self.choices], dtype=np.float64),
            tuple(np.vstack([np.eye(m) / SQRT2, np.zeros(m)]) for _, m in self.choices),
        )

    def pull_back(self, units: Array, gradient: Array) -> Array:
        """A gradient in features (n, F) as one in the unit cube (n, D); zero for choices and where not active."""
        if len(self.plain) == self.n_columns:
            return gradient
        result = np.zeros((units.shape[0], self.n_columns))
        n_plain, n_circular = len(self.plain), len(self.circular)
        result[:, self._where.plain] = gradient[:, :n_plain]
        if not n_circular:
            return result
        angle = units[:, self._where.circular]
        active = ~np.isnan(angle)
        angle = np.where(active, angle, 0.0)
        along_cos = gradient[:, n_plain : n_plain + n_circular]
        along_sin = gradient[:, n_plain + n_circular : n_plain + 2 * n_circular]
        result[:, self._where.circular] = active * (np.cos(angle) * along_sin - np.sin(angle) * along_cos)
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
    s = squared_distance(Z1, Z2)
    s *= 5.0
    return matern52_at(s, amplitude)


def matern52_with_slope(Z1: Array, Z2: Array, amplitude: float) -> tuple[Array, Array]:
    """The covariance and −2 ∂k/∂(r²) = (5/3) a (1 + √5 r) exp(−√5 r), both (n, m).

    The slope gives every derivative: ∂k/∂z₁ = −slope (z₁ − z₂), ∂k/∂log ℓⱼ = slope dⱼ²/ℓⱼ².
    """
    s = squared_distance(Z1, Z2)
    s *= 5.0
    covariance, slope = matern52_and_decay(s, amplitude)
    slope *= 5.0 / 3.0
    return covariance, slope


def augmented(S: Array) -> Array:
    """(n, F + 2) rows s, |s|², 1 of (n, F): times those of `opposite`, the squared distances in one product."""
    n, F = S.shape
    result = np.empty((n, F + 2))
    result[:, :F] = S
    np.vecdot(S, S, out=result[:, F])
    result[:, F + 1] = 1.0
    return result


def opposite(S: Array) -> Array:
    """(n, F + 2) rows −2 s, 1, |s|² of (n, F)."""
    n, F = S.shape
    result = np.empty((n, F + 2))
    np.multiply(S, -2.0, out=result[:, :F])
    result[:, F] = 1.0
    np.vecdot(S, S, out=result[:, F + 1])
    return result


def distances(left: Array, right: Array, out: Array | None = None) -> Array:
    """(m, n) squared distances of rows as `augmented` and `opposite` make them."""
    distances: Array = np.matmul(left, right.T, out=out)
    np.maximum(distances, 0.0, out=distances)
    return distances


def matern52_at(s: Array, amplitude: float, t: Array | None = None, decay: Array | None = None) -> Array:
    """The covariance at s = 5 r² >= 0, written over s.

    Args:
        t, decay: of the shape of s, room to work in: where s is large, new memory costs more than the arithmetic.
    """
    t = np.sqrt(s, out=t)
    decay = np.subtract(math.log(amplitude), t, out=decay)
    np.exp(decay, out=decay)
    s *= 1.0 / 3.0
    s += t
    s += 1.0
    s *= decay
    return s


def matern52_and_decay(s: Array, amplitude: float) -> tuple[Array, Array]:
    """The covariance at s = 5 r² >= 0, written over s, and a (1 + √5 r) exp(−√5 r), 3/5 of the slope."""
    t = np.sqrt(s)
    decay = math.log(amplitude) - t
    np.exp(decay, out=decay)
    s *= decay
    s *= 1.0 / 3.0
    t += 1.0
    decay *= t
    s += decay
    return s, decay
