"""A Gaussian process over architectures, and what is gained by evaluating one.

    D_b   squared distances in block b: one block for each gene (0 or 1), one of Weisfeiler-Lehman labels, one of size
    s     what the untrained networks promise (`app.nas.proxies`)
    k     exp(−Σ_b w_b D_b) + v s sᵀ, so that w_b says how much block b matters, and v how much the promise may; fitted.
          The second part is a straight line through s with an unknown slope: whole families of which nothing is known
          are believed to be as good as they promise, if what was tried is
    y     metrics, cut off below and standardised: how bad the bad ones are says nothing about the best

Evaluations of one architecture are one row, the mean of n_i values, whose noise is τ / n_i; less, where there are no
more than N trainings of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are named: an API process, which only reads plans, does without
from numpy.typing import NDArray

from app.nas.problem import Problem, Summary
from app.nas.spaces import Genes

Array = NDArray[np.float64]

JITTER = 1e-8
WL_DEPTH = 1
#: With more genes than this they share a weight in groups: each weight takes data to be fitted.
MAX_GENE_BLOCKS = 16
#: Prior of log weights, of the log variance of the slope, and of log noise: mean, standard deviation.
WEIGHT_PRIOR = (np.log(0.3), 1.0)
SLOPE_PRIOR = (np.log(0.3), 1.0)
NOISE_PRIOR = (np.log(0.02), 1.0)
BOUNDS = (-7.0, 3.0)
MAX_ITERATIONS = 20


@dataclass(frozen=True)
class Row:
    """An architecture: how often each label is there, by its place; the length of that vector; its size."""

    places: list[int]
    values: list[float]
    length: float
    log_size: float


class Features:
    """Architectures as rows; labels are numbered as they appear, so that rows made before stay as they are.

    plain: one block alone, in how many genes two differ.
    """

    def __init__(self, problem: Problem, *, plain: bool = False) -> None:
        self.problem = problem
        self.plain = plain
        self._labels: dict[str, int] = {}
        self._rows: dict[Genes, Row] = {}

    def row(self, genes: Genes) -> Row:
        if genes not in self._rows:
            found: dict[int, float] = {}
            for label in self.problem.space.graph(genes).labels(WL_DEPTH):
                place = self._labels.setdefault(label, len(self._labels))
                found[place] = found.get(place, 0.0) + 1.0
            values = list(found.values())
            length = float(np.sqrt(sum(value**2 for value in values)))
            size = float(np.log(0.05 + self.problem.complexity(genes)))
            self._rows[genes] = Row(list(found), values, length, size)
        return self._rows[genes]

    def worth(self, summary: Summary) -> float:
        """The best reward: a metric below it is too low at any complexity."""
        return max(self.problem.reward(*one) for one in zip(summary.genes, summary.means.tolist(), strict=True))

    def promises(self, genes: Sequence[Genes]) -> Array:
        return np.array([self.problem.promise(one) for one in genes])

    def distances(self, rows: Sequence[Genes], columns: Sequence[Genes]) -> Array:
        """D, (blocks, rows, columns)."""
        a, b = np.array(rows), np.array(columns)
        n_genes = a.shape[1]
        differ = (a[:, None, :] != b[None, :, :]).astype(np.float64)
        if self.plain:
            return np.asarray(differ.sum(axis=2)[None], dtype=np.float64)
        starts = [group[0] for group in np.array_split(np.arange(n_genes), min(n_genes, MAX_GENE_BLOCKS))]
        blocks = list(np.moveaxis(np.add.reduceat(differ, starts, axis=2), 2, 0))
        found = [[self.row(one) for one in some] for some in (rows, columns)]
        blocks.append(self._label_distances(*found))
        sizes = [np.array([one.log_size for one in some]) for some in found]
        blocks.append((sizes[0][:, None] - sizes[1][None, :]) ** 2)
        return np.stack(blocks)

    def _label_distances(self, rows: Sequence[Row], columns: Sequence[Row]) -> Array:
        """2 − 2 cosine of the counts of labels."""
        products = (self._matrix(rows) @ self._matrix(columns).T).toarray()  # whole numbers: the same in any order
        lengths = [np.array([one.length for one in some]) for some in (rows, columns)]
        cosines: Array = products / np.outer(*lengths)
        return 2.0 * (1.0 - np.minimum(cosines, 1.0))

    def _matrix(self, rows: Sequence[Row]) -> scipy.sparse.csr_array:
        ends = np.cumsum([0, *(len(one.places) for one in rows)])
        places = np.fromiter(itertools.chain.from_iterable(one.places for one in rows), np.int64)
        values = np.fromiter(itertools.chain.from_iterable(one.values for one in rows), np.float64)
        return scipy.sparse.csr_array((values, places, ends), shape=(len(rows), len(self._labels)))


@dataclass(frozen=True)
class Model:
    """A fitted process. Means and deviations are in the metric's units, above the cut."""

    features: Features
    genes: list[Genes]
    promises: Array
    weights: Array  # log w, log v, log τ
    mean: float
    amplitude: float
    K: Array
    L: Array
    alpha: Array
    centre: float
    scale: float
    below: Array  # of what it was fitted on, how far under the cut it was measured; at most 0

    @property
    def noise(self) -> float:
        """Standard deviation of one evaluation."""
        return float(self.scale * np.sqrt(self.amplitude * np.exp(self.weights[-1])))

    def predict(self, genes: Sequence[Genes]) -> tuple[Array, Array]:
        """Mean and standard deviation of the metric, without the noise of an evaluation."""
        s = self.features.promises(genes)
        K = _kernel(self.weights, self.features.distances(genes, self.genes), s, self.promises)
        return self._posterior(K, s)

    def known(self) -> tuple[Array, Array]:
        """The same of what it was fitted on."""
        return self._posterior(self.K, self.promises)

    def _posterior(self, K: Array, s: Array) -> tuple[Array, Array]:
        v = scipy.linalg.solve_triangular(self.L, K.T, lower=True)
        prior = 1.0 + np.exp(self.weights[-2]) * s**2
        variance = np.maximum(self.amplitude * (prior - np.sum(v**2, axis=0)), 1e-12)
        return self.centre + self.scale * (self.mean + K @ self.alpha), self.scale * np.sqrt(variance)


def fit(features: Features, summary: Summary) -> Model:
    """Fits weights, the slope's variance and the noise by their posterior, from the prior on."""
    y, _, _ = standardised(summary.means, features.worth(summary))
    D, s = features.distances(summary.genes, summary.genes), features.promises(summary.genes)
    n, n_blocks = len(y), len(D)
    prior_mean = np.array([WEIGHT_PRIOR[0]] * n_blocks + [SLOPE_PRIOR[0], NOISE_PRIOR[0]])
    prior_scale = np.array([WEIGHT_PRIOR[1]] * n_blocks + [SLOPE_PRIOR[1], NOISE_PRIOR[1]])

    def loss(theta: Array) -> tuple[float, Array]:
        """Negative log posterior with mean and amplitude at their best, and its gradient."""
        near = _near(theta, D)
        L, alpha, _, amplitude = _solved(theta, near + np.exp(theta[-2]) * np.outer(s, s), y, summary.noise)
        value = 0.5 * n * np.log(amplitude) + np.log(np.diag(L)).sum()
        inverse = scipy.linalg.cho_solve((L, True), np.eye(n))
        outer = inverse - np.outer(alpha, alpha) / amplitude
        slopes = [-0.5 * np.exp(theta[b]) * float(np.sum(outer * near * D[b])) for b in range(n_blocks)]
        slopes.append(0.5 * np.exp(theta[-2]) * float(s @ outer @ s))
        slopes.append(0.5 * np.exp(theta[-1]) * float(np.sum(np.diag(outer) * summary.noise)))
        away = (theta - prior_mean) / prior_scale
        return value + 0.5 * float(away @ away), np.array(slopes) + away / prior_scale

    theta = prior_mean
    if n >= 3:
        found = scipy.optimize.minimize(loss, theta, jac=True, method="L-BFGS-B", bounds=[BOUNDS] * len(theta),
                         options={"maxiter": MAX_ITERATIONS})  # fmt: skip
        theta = found.x
    return condition(features, summary, theta)


def condition(features: Features, summary: Summary, weights: Array) -> Model:
    """The process with weights that were fitted before."""
    y, centre, scale = standardised(summary.means, features.worth(summary))
    s = features.promises(summary.genes)
    K = _kernel(weights, features.distances(summary.genes, summary.genes), s, s)
    L, alpha, mean, amplitude = _solved(weights, K, y, summary.noise)
    below = summary.means - (centre + scale * y)
    return Model(features, summary.genes, s, weights, mean, amplitude, K, L, alpha, centre, scale, below)


def _solved(weights: Array, K: Array, y: Array, noise: Array) -> tuple[Array, Array, float, float]:
    """L, alpha, and mean and amplitude at their best."""
    L = scipy.linalg.cholesky(K + np.diag(np.exp(weights[-1]) * noise + JITTER), lower=True)
    ones = scipy.linalg.cho_solve((L, True), np.ones(len(y)))
    mean = float(ones @ y / ones.sum())
    alpha = scipy.linalg.cho_solve((L, True), y - mean)
    return L, alpha, mean, max(float((y - mean) @ alpha) / len(y), 1e-6)


def _kernel(weights: Array, D: Array, rows: Array, columns: Array) -> Array:
    line: Array = np.exp(weights[-2]) * np.outer(rows, columns)
    return _near(weights, D) + line


def _near(weights: Array, D: Array) -> Array:
    return np.asarray(np.exp(-np.tensordot(np.exp(weights[:-2]), D, axes=1)), dtype=np.float64)


def standardised(values: Array, worth: float = np.inf) -> tuple[Array, float, float]:
    """Cut off as far below the median as the best is above it, but not above `worth`; mean 0 and deviation 1."""
    median, best = float(np.median(values)), float(values.max())
    cut = np.maximum(values, min(median - (best - median), worth)) if best > median else values
    centre, scale = float(cut.mean()), float(cut.std())
    scale = scale if scale > 0 else 1.0
    return (cut - centre) / scale, centre, scale


def expected_gain(mean: Array, deviation: Array, best: Array | float) -> Array:
    """E[max(0, f − best)] of f ~ N(mean, deviation²)."""
    deviation = np.maximum(deviation, 1e-12)
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return np.asarray(deviation * (z * scipy.special.ndtr(z) + density), dtype=np.float64)


def knowledge_gain(mean: Array, deviation: Array, noise: Array | float, best: Array | float) -> Array:
    """How much the best posterior mean is expected to rise by one more evaluation, all else staying as it is.

    Source: Frazier, Powell & Dayanik 2009, for beliefs taken one by one.
    """
    moves = deviation**2 / np.sqrt(deviation**2 + np.asarray(noise) ** 2 + 1e-18)
    return expected_gain(-np.abs(mean - best), moves, 0.0)
