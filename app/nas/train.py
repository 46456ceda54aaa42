"""Training a network with JAX. A worker alone loads this module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from app.errors import NumericalError
from app.nas.data import Split
from app.nas.network import Layer, Network
from app.nas.weights import Tensor, Trained, initial

LEARNING_RATE = 5e-3
BATCH = 32
#: Of Adam.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Diverged(NumericalError):
    code = "diverged"


@dataclass(frozen=True)
class Outcome:
    """`accuracy` on the validation part at its best epoch, whose weights are kept; `curve` one value an epoch."""

    accuracy: float
    curve: list[float]
    trained: Trained


def train(
    network: Network,
    split: Split,
    *,
    epochs: int,
    seed: int,
    patience: int | None = None,
    learning_rate: float = LEARNING_RATE,
    on_epoch: Callable[[int, float], None] = lambda epoch, accuracy: None,
) -> Outcome:
    """Trains from scratch; the same seed gives the same network on one machine.

    Args:
        patience: epochs without a better validation accuracy after which training stops.
        on_epoch: called after each; what it raises ends the training.
    Raises: Diverged, when the loss is not finite.
    """
    rng = np.random.default_rng(seed)
    weights = {name: jnp.asarray(value) for name, value in initial(network, rng).items()}
    moments = {name: (jnp.zeros_like(value), jnp.zeros_like(value)) for name, value in weights.items()}
    x, y = jnp.asarray(split.train_x), jnp.asarray(split.train_y)
    batch = min(BATCH, len(x))
    steps = max(1, len(x) // batch)

    def loss(weights: dict[str, Any], x: Any, y: Any) -> Any:
        logits = forward(network, weights, x)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))

    @jax.jit
    def epoch_of(weights: Any, moments: Any, order: Any, first: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            weights, moments, n = state
            value, slopes = jax.value_and_grad(loss)(weights, x[rows], y[rows])
            rate = learning_rate * jnp.sqrt(1 - BETA2**n) / (1 - BETA1**n)
            new_weights, new_moments = {}, {}
            for name, slope in slopes.items():
                m = BETA1 * moments[name][0] + (1 - BETA1) * slope
                v = BETA2 * moments[name][1] + (1 - BETA2) * slope**2
                new_weights[name] = weights[name] - rate * m / (jnp.sqrt(v) + EPSILON)
                new_moments[name] = (m, v)
            return (new_weights, new_moments, n + 1), value

        (weights, moments, last), losses = lax.scan(step, (weights, moments, first), order)
        return weights, moments, last, jnp.mean(losses)

    predict = jax.jit(lambda weights, x: jnp.argmax(forward(network, weights, x), axis=1))
    counted = jnp.asarray(1.0)
    best, best_weights, curve = -1.0, weights, []
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(x))[: steps * batch].reshape(steps, batch)
        weights, moments, counted, value = epoch_of(weights, moments, jnp.asarray(order), counted)
        if not np.isfinite(float(value)):
            raise Diverged(f"training diverged: the loss of epoch {epoch} is {float(value)}")
        accuracy = float(np.mean(np.asarray(predict(weights, split.validation_x)) == split.validation_y))
        curve.append(accuracy)
        if accuracy > best:
            best, best_weights = accuracy, weights
        on_epoch(epoch, accuracy)
        if patience is not None and epoch - int(np.argmax(curve)) > patience:
            break
    kept: dict[str, Tensor] = {name: np.asarray(value, dtype=np.float32) for name, value in best_weights.items()}
    return Outcome(best, curve, Trained(network, kept, split.labels, split.centre, split.scale))


def forward(network: Network, weights: dict[str, Any], x: Any) -> Any:
    """Logits, as `weights.forward` has them."""
    values: list[Any] = []
    for number, layer in enumerate(network.layers):
        values.append(_apply(layer, number, weights, [values[i] for i in layer.inputs], x))
    return values[-1]


def _apply(layer: Layer, number: int, weights: dict[str, Any], inputs: list[Any], x: Any) -> Any:
    if layer.op == "input":
        return x
    here = inputs[0]
    if layer.op in ("conv", "sepconv"):
        if layer.op == "sepconv":
            depthwise = weights[f"{number}.depthwise"][:, :, None, :]
            here = _convolved(here, depthwise, groups=here.shape[-1])
            return _activated(layer, here @ weights[f"{number}.kernel"] + weights[f"{number}.bias"])
        return _activated(layer, _convolved(here, weights[f"{number}.kernel"]) + weights[f"{number}.bias"])
    if layer.op == "dense":
        return _activated(layer, here @ weights[f"{number}.kernel"] + weights[f"{number}.bias"])
    if layer.op == "avgpool":
        return _pooled(here, lax.add, 0.0) / _pooled(jnp.ones_like(here[:1, :, :, :1]), lax.add, 0.0)
    if layer.op == "maxpool":
        return _pooled(here, lax.max, -jnp.inf)
    if layer.op == "halve":
        padded = jnp.pad(here, [(0, 0), *((0, size % 2) for size in here.shape[1:3]), (0, 0)], mode="edge")
        n, h, w, c = padded.shape
        return padded.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    if layer.op == "global":
        return here.mean(axis=(1, 2))
    if layer.op == "flatten":
        return here.reshape(len(here), -1)
    return sum(inputs[1:], start=here) if layer.op == "add" else here * 0.0 if layer.op == "zero" else here


def _convolved(here: Any, kernel: Any, groups: int = 1) -> Any:
    return lax.conv_general_dilated(
        here, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def _pooled(here: Any, by: Any, start: float) -> Any:
    return lax.reduce_window(here, start, by, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")


def _activated(layer: Layer, value: Any) -> Any:
    if layer.activation == "relu":
        return jax.nn.relu(value)
    if layer.activation == "tanh":
        return jnp.tanh(value)
    return jax.nn.gelu(value, approximate=True) if layer.activation == "gelu" else value
