"""A search in the manner of BANANAS, to compare with: what a neural predictor proposes instead of a Gaussian process.

An ensemble of small networks on path encodings; a batch of ten mutants of the best, each chosen by a draw from what the
ensemble believes (independent Thompson sampling). Source: White, Neiswanger & Savani 2021.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.nas.graphs import Graph
from app.nas.model import standardised
from app.nas.problem import Problem, Task, Told
from app.nas.spaces import Genes

Array = NDArray[np.float64]

INITIAL, BATCH = 10, 10
MEMBERS, WIDTH, HIDDEN = 5, 20, 3
STEPS, RATE = 400, 0.01
PARENTS, MUTANTS = 10, 20


def search(problem: Problem, seed: int, evaluations: int, evaluate: Callable[[Task], float]) -> list[Told]:
    told: list[Told] = []
    rng = np.random.default_rng([seed, 201])
    while len(told) < evaluations:
        seen = {one.genes for one in told}
        if len(told) < INITIAL:
            genes = problem.draw(rng, seen)
            batch = [] if genes is None else [genes]
        else:
            batch = _chosen(problem, told, seen, rng)
        told += [Told(genes, value=evaluate(Task(genes))) for genes in batch[: evaluations - len(told)]]
    return told


def _chosen(problem: Problem, told: list[Told], seen: set[Genes], rng: np.random.Generator) -> list[Genes]:
    values = np.array([one.value for one in told], dtype=float)
    best = [told[i].genes for i in np.argsort(-values)[:PARENTS]]
    found: dict[Genes, None] = {}
    for parent in best:
        for _ in range(MUTANTS):
            child = problem.space.mutate(parent, rng)
            if child not in seen and problem.is_allowed(child):
                found[child] = None
    candidates = list(found)
    y, _, _ = standardised(values)
    places: dict[str, int] = {}
    for one in told:
        for path in _paths(problem.space.graph(one.genes)):
            places.setdefault(path, len(places))
    believed = _ensemble(_encoded(problem, [one.genes for one in told], places), y, rng)(
        _encoded(problem, candidates, places)
    )
    drawn = believed.mean(axis=0) + believed.std(axis=0) * rng.standard_normal(len(candidates))
    return [candidates[i] for i in np.argsort(-drawn)[:BATCH]]


def _paths(graph: Graph) -> set[str]:
    """The operations along each way from input to output."""
    found: list[set[str]] = [{""}, *(set() for _ in graph.operations[1:])]
    for a, b in sorted(graph.edges, key=lambda edge: edge[1]):
        found[b] |= {f"{path}/{graph.operations[b]}" for path in found[a]}
    return found[-1]


def _encoded(problem: Problem, genes: list[Genes], places: dict[str, int]) -> Array:
    X = np.zeros((len(genes), len(places)))
    for row, one in zip(X, genes, strict=True):
        row[[places[path] for path in _paths(problem.space.graph(one)) if path in places]] = 1.0
    return X


def _ensemble(X: Array, y: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
    """Trained side by side by Adam on squared errors; what it returns gives (members, rows)."""
    sizes = [X.shape[1], *([WIDTH] * HIDDEN), 1]
    weights = [rng.standard_normal((MEMBERS, a, b)) * np.sqrt(2.0 / a) for a, b in itertools.pairwise(sizes)]
    weights += [np.zeros((MEMBERS, 1, b)) for b in sizes[1:]]
    n = len(sizes) - 1

    def values(x: Array) -> list[Array]:
        found = [np.broadcast_to(x, (MEMBERS, *x.shape))]
        for i in range(n):
            z = found[-1] @ weights[i] + weights[n + i]
            found.append(np.maximum(z, 0.0) if i < n - 1 else z)
        return found

    first, second = [np.zeros_like(one) for one in weights], [np.zeros_like(one) for one in weights]
    for step in range(1, STEPS + 1):
        found = values(X)
        slope = 2.0 * (found[-1] - y[None, :, None]) / len(y)
        for i in reversed(range(n)):
            slopes = {i: found[i].transpose(0, 2, 1) @ slope, n + i: slope.sum(axis=1, keepdims=True)}
            slope = (slope @ weights[i].transpose(0, 2, 1)) * (found[i] > 0)
            for k, one in slopes.items():
                first[k] = 0.9 * first[k] + 0.1 * one
                second[k] = 0.999 * second[k] + 0.001 * one**2
                weights[k] -= RATE * (first[k] / (1 - 0.9**step)) / (np.sqrt(second[k] / (1 - 0.999**step)) + 1e-8)
    return lambda x: values(x)[-1][:, :, 0]
