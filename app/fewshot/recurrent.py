"""`lstm`: a recurrent learner that reads the support set, and learns in its state instead of its weights.

A bidirectional LSTM reads the support examples one after the other and corrects the features of each by what stands
around it; a second LSTM reads from the corrected examples, a few times for each query, before the query is compared
with them. The classes of the nearest, by attention, are the answer.
Source: Vinyals et al. 2016, appendix A (full context embeddings).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from app.fewshot.backbones import Params
from app.fewshot.heads import COSINE_SCALE, unit

N_READS = 3
WIDTH = 64  # of what is read: the features, projected
EPSILON = 1e-6


def initial(rng: np.random.Generator, n_features: int) -> Params:
    """Small weights: at first an example is hardly corrected."""
    d = WIDTH

    def weights(n_in: int, n_out: int) -> Any:
        return np.asarray(rng.standard_normal((n_in, n_out)) * 0.1 / np.sqrt(n_in), dtype=np.float32)

    projection = rng.standard_normal((n_features, d)) / np.sqrt(n_features)
    params: Params = {"head.scale": np.float32(0), "head.projection": np.asarray(projection, dtype=np.float32)}
    for name, n_in in (("forwards", 2 * d), ("backwards", 2 * d), ("reader", 3 * d)):
        params[f"{name}.w"] = weights(n_in, 4 * d)
        params[f"{name}.b"] = np.zeros(4 * d, np.float32)
    return params


def step(params: Params, name: str, hidden: Any, cell: Any, x: Any, xp: Any) -> tuple[Any, Any]:
    """One step of an LSTM: rows of `x` with their hidden and cell states, which may be wider than the cell."""
    gates = xp.concatenate([x, hidden], axis=-1) @ params[f"{name}.w"] + params[f"{name}.b"]
    d = cell.shape[-1]
    keep, write, out = (opened(gates[..., i * d : (i + 1) * d], xp) for i in range(3))
    cell = keep * cell + write * xp.tanh(gates[..., 3 * d :])
    return out * xp.tanh(cell), cell


def opened(gate: Any, xp: Any) -> Any:
    """1 / (1 + exp(−gate)), whose slope stays finite where exp(−gate) does not."""
    return 0.5 * (1 + xp.tanh(0.5 * gate))


def read(params: Params, name: str, rows: Any, xp: Any, scan: Callable[..., Any]) -> Any:
    """(s, d) → (s, d): the hidden states while reading the rows in order."""

    def advance(state: tuple[Any, Any], x: Any) -> tuple[tuple[Any, Any], Any]:
        hidden, cell = step(params, name, *state, x, xp)
        return (hidden, cell), hidden

    start = xp.zeros_like(rows[0])
    return scan(advance, (start, start), rows)[1]


def in_context(params: Params, support: Any, xp: Any, scan: Callable[..., Any]) -> Any:
    """The support examples' features, each corrected by the others."""
    forwards = read(params, "forwards", support, xp, scan)
    backwards = read(params, "backwards", support[::-1], xp, scan)[::-1]
    return support + forwards + backwards


def lstm(
    params: Params, support: Any, members: Any, queries: Any, xp: Any = np, scan: Callable[..., Any] | None = None
) -> Any:
    """(q, ways) log-probabilities: the attention that each class's examples get."""
    support, queries = support @ params["head.projection"], queries @ params["head.projection"]
    context = in_context(params, support, xp, scan or in_turn)
    scale = COSINE_SCALE * xp.exp(params["head.scale"])
    hidden, cell, found = queries, xp.zeros_like(queries), xp.zeros_like(queries)
    for _ in range(N_READS):
        hidden, cell = step(params, "reader", xp.concatenate([hidden, found], axis=-1), cell, queries, xp)
        hidden = hidden + queries
        found = softmax(scale * unit(hidden, xp) @ unit(context, xp).T, xp) @ context
    attention = softmax(scale * unit(hidden, xp) @ unit(context, xp).T, xp)
    return xp.log(attention @ members + EPSILON)


def softmax(scores: Any, xp: Any) -> Any:
    """Rows that sum to one."""
    powers = xp.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def in_turn(advance: Callable[..., Any], state: Any, rows: Any) -> tuple[Any, Any]:
    """`jax.lax.scan` for NumPy."""
    outputs = []
    for row in rows:
        state, output = advance(state, row)
        outputs.append(output)
    return state, np.stack(outputs)
