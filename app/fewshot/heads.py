"""Metric-based heads: how the features of a support set classify those of queries.

Each is one function of one task, differentiable in JAX and exact in NumPy: `xp` is the array module. `members`
(s, ways) is 1 where a support example is of a class, so that any number of ways and shots, also different shots, is
only another shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.fewshot.backbones import Params

COSINE_SCALE = 10.0  # cosines lie within ±1, too little for a confident softmax
EPSILON = 1e-6


def means(support: Any, members: Any) -> Any:
    """(ways, d), the prototypes: each class's mean."""
    return (members.T @ support) / members.sum(0)[:, None]


def squared_distances(a: Any, b: Any, xp: Any) -> Any:
    """(n, d), (m, d) → (n, m)."""
    squares = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None, :]
    return xp.maximum(squares - 2 * a @ b.T, 0)


def unit(x: Any, xp: Any) -> Any:
    """Rows of length 1."""
    return x / xp.sqrt((x * x).sum(-1, keepdims=True) + EPSILON)


def prototypical(params: Params, support: Any, members: Any, queries: Any, distance: str, xp: Any = np) -> Any:
    """(q, ways) log-odds: minus the distance from each class's mean, in a learnt unit.  Source: Snell et al. 2017."""
    if distance == "cosine":
        return COSINE_SCALE * xp.exp(params["head.scale"]) * unit(queries, xp) @ unit(means(support, members), xp).T
    distances = squared_distances(queries, means(support, members), xp) / support.shape[1]
    return -COSINE_SCALE * xp.exp(params["head.scale"]) * distances


def same_class(params: Params, a: Any, b: Any, xp: Any = np) -> Any:
    """(n, d), (m, d) → (n, m): the log-odds that two examples are of one class.

    The twins' features are compared component by component, |a − b| with learnt weights; the hidden layers are shared.
    Source: Koch, Zemel & Salakhutdinov 2015.
    """
    apart = xp.abs(a[:, None, :] - b[None, :, :]) @ params["head.weights"]
    return params["head.bias"] - apart


def siamese(params: Params, support: Any, members: Any, queries: Any, xp: Any = np) -> Any:
    """(q, ways): of each class, the mean log-odds of its examples."""
    return (same_class(params, queries, support, xp) @ members) / members.sum(0)


def ridge(params: Params, support: Any, members: Any, queries: Any, xp: Any = np) -> Any:
    """(q, ways): a ridge regression on ±1 that each task solves in closed form, in its s examples' kernel.

    Source: Bertinetto et al. 2019 (R2-D2), eq. 7: W = Zᵀ (Z Zᵀ + λ I)⁻¹ Y, with learnt λ, scale and bias.
    """
    size = support.shape[1] ** 0.5
    support, queries = support / size, queries / size
    gram = support @ support.T + xp.exp(params["head.log_penalty"]) * xp.eye(support.shape[0], dtype=support.dtype)
    weights = support.T @ xp.linalg.solve(gram, members)
    return COSINE_SCALE * xp.exp(params["head.scale"]) * (queries @ weights) + params["head.bias"]


def linear(weights: Params, features: Any, gain: float) -> Any:
    """(q, n_features) → (q, n_outputs): the head that gradient steps have moved; a classification's has a centre."""
    if "head.centre" in weights:
        features = features - weights["head.centre"]
    return gain / features.shape[1] ** 0.5 * (features @ weights["head.w"]) + weights["head.b"]


def initial(method: str, n_features: int) -> Params:
    """The heads' own parameters, which are trained with the backbone's."""
    if method == "siamese":
        weights = np.full(n_features, 1 / np.sqrt(n_features), np.float32)
        return {"head.weights": weights, "head.bias": np.float32(np.sqrt(n_features) / 2)}
    if method == "metasvm":
        zero = np.float32(0)
        return {"head.log_penalty": zero, "head.scale": zero, "head.bias": zero}
    return {"head.scale": np.float32(0)}
