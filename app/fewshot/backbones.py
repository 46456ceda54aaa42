"""Networks that turn an example into features; parameters are a flat dictionary of arrays.

`xp` is the array module: `numpy` to embed with a trained learner, `jax.numpy` to differentiate. A convolution is nine
shifted slices and one matrix product: under a `vmap` over tasks that is a batched product, where JAX's own convolution
becomes a grouped one, sixteen times slower on a CPU. Each example is normalised by itself, unless the caller says how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from app.fewshot.tasks import Array

Kind: TypeAlias = Literal["conv4", "mlp", "linear", "hog"]
Params: TypeAlias = dict[str, Any]  # arrays of NumPy or of JAX
Convolution: TypeAlias = Callable[[Any, Any, int], Any]  # (images, weights, stride)
Normalisation: TypeAlias = Callable[[Any, int], Any]  # (what a convolution made, the block's number)

#: Of conv4: each block's channels as a part of the width. Most of the work lies where the image is large: few there.
PARTS = (0.5, 0.5, 0.75, 1.0)
SMALLEST_SIDE = 3  # of an image, after which its pixels are not pooled any more
WIDTHS = {"conv4": 64, "mlp": 128, "linear": 64}
EPSILON = 1e-5


@dataclass(frozen=True)
class Backbone:
    """`shape` is that of one example: (h, w), (h, w, channels) or (d,)."""

    kind: Kind
    shape: tuple[int, ...]
    width: int

    def initial(self, rng: np.random.Generator) -> Params:
        """He-normal weights."""
        if self.kind == "conv4":
            params: Params = {}
            channels = self.shape[2] if len(self.shape) == 3 else 1
            for block, part in enumerate(PARTS):
                width = max(1, round(part * self.width))
                params[f"conv{block}.w"] = _he(rng, 9 * channels, width)
                params[f"conv{block}.scale"] = np.ones(width, np.float32)
                params[f"conv{block}.shift"] = np.zeros(width, np.float32)
                channels = width
            return params
        sizes = [int(np.prod(self.shape)), self.width, self.width] if self.kind == "mlp" else []
        if self.kind == "linear":
            sizes = [int(np.prod(self.shape)), self.width]
        params = {}
        for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
            params[f"dense{layer}.w"] = _he(rng, n_in, n_out)
            params[f"dense{layer}.b"] = np.zeros(n_out, np.float32)
        return params

    def features(
        self,
        params: Params,
        x: Any,
        xp: Any = np,
        convolution: Convolution | None = None,
        normalisation: Normalisation | None = None,
    ) -> Any:
        """(n, *shape) → (n, n_features).

        Args:
            convolution: another one than that for every array module and `vmap`.
            normalisation: of conv4's blocks, if not of each example by itself.
        """
        if self.kind == "conv4":
            each = normalisation or (lambda hidden, _: normalised(hidden, xp))
            return self._convolved(params, x, xp, convolution or partial(sliced, xp=xp), each)
        hidden = x.reshape(x.shape[0], -1)
        n_layers = sum(name.startswith("dense") for name in params) // 2
        for layer in range(n_layers):
            hidden = hidden @ params[f"dense{layer}.w"] + params[f"dense{layer}.b"]
            if layer < n_layers - 1 or self.kind == "mlp":
                hidden = xp.maximum(normalised(hidden, xp), 0)
        return hidden

    def settled(self, params: Params, x: Array) -> Params:
        """With scales and shifts of conv4 that do to every example what the statistics of these ones would do."""
        fixed = dict(params)

        def normalisation(hidden: Any, block: int) -> Any:
            mean, deviation = moments(hidden)
            scale = params[f"conv{block}.scale"] / deviation
            fixed[f"conv{block}.scale"] = scale
            fixed[f"conv{block}.shift"] = params[f"conv{block}.shift"] - mean * scale
            return (hidden - mean) / deviation

        self.features(params, x, normalisation=normalisation)
        return fixed

    def _convolved(
        self, params: Params, x: Any, xp: Any, convolution: Convolution, normalisation: Normalisation
    ) -> Any:
        hidden = x.reshape(*x.shape[:3], -1)
        for block in range(len(PARTS)):
            is_large = min(hidden.shape[1:3]) > SMALLEST_SIDE
            hidden = convolution(hidden, params[f"conv{block}.w"], 2 if is_large and block == 0 else 1)
            if is_large and block > 0:
                hidden = pooled(hidden, xp)
            hidden = normalisation(hidden, block) * params[f"conv{block}.scale"] + params[f"conv{block}.shift"]
            hidden = xp.maximum(hidden, 0)
        return hidden.reshape(hidden.shape[0], -1)


def sliced(x: Any, weights: Any, stride: int = 1, xp: Any = np) -> Any:
    """A 3 × 3 convolution: (n, h, w, c), (9 c, k) → (n, ⌈h/stride⌉, ⌈w/stride⌉, k)."""
    _, h, w, c = x.shape
    padded = xp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    slices = [padded[:, i : i + h : stride, j : j + w : stride] for i in range(3) for j in range(3)]
    columns = xp.concatenate(slices, axis=-1)
    return (columns.reshape(-1, 9 * c) @ weights).reshape(*columns.shape[:3], -1)


def banded(x: Array, weights: Array, stride: int = 1) -> Array:
    """As `sliced`, in NumPy alone and in two thirds of the time: three columns side by side, and each row thrice.

    Rows of pixels that lie below each other are one matrix with another start, so nothing is copied for them. What the
    matrix products make across the ends of images is left out.
    """
    if stride != 1:
        return np.asarray(sliced(x, weights, stride))
    n, h, w, c = x.shape
    columns = np.zeros((n, h + 2, w, 3 * c), x.dtype)
    columns[:, 1:-1, :, c : 2 * c] = x
    columns[:, 1:-1, 1:, :c] = x[:, :, :-1]
    columns[:, 1:-1, :-1, 2 * c :] = x[:, :, 1:]
    flat = columns.reshape(-1, 3 * c)
    n_rows = len(flat) - 2 * w
    convolved = np.empty((len(flat), weights.shape[1]), np.result_type(x, weights))
    above, here, below = (flat[i * w : i * w + n_rows] for i in range(3))
    np.matmul(above, weights[: 3 * c], out=convolved[:n_rows])
    convolved[:n_rows] += here @ weights[3 * c : 6 * c]
    convolved[:n_rows] += below @ weights[6 * c :]
    return convolved.reshape(n, h + 2, w, -1)[:, :h]


def pooled(x: Any, xp: Any = np) -> Any:
    """The largest of every 2 × 2 pixels: (n, h, w, c) → (n, ⌊h/2⌋, ⌊w/2⌋, c).

    Rows first, then columns: whole blocks of memory are compared, in a fifth of the time of a maximum over axes.
    """
    n, h, w, c = x.shape
    pairs = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2 * c)
    rows = xp.maximum(pairs[:, :, 0], pairs[:, :, 1])
    return xp.maximum(rows[..., :c], rows[..., c:])


def moments(x: Any, xp: Any = np) -> tuple[Any, Any]:
    """(k,) and (k,): of each channel over examples and pixels, the mean and the deviation (batch normalisation)."""
    mean = x.mean((0, 1, 2))
    return mean, xp.sqrt((x * x).mean((0, 1, 2)) - mean * mean + EPSILON)


def as_it_is(hidden: Any, _block: int) -> Any:
    """Where scales and shifts are settled."""
    return hidden


def normalised(x: Any, xp: Any) -> Any:
    """Each example to mean 0 and variance 1 over its pixels and channels (layer normalisation)."""
    axes = tuple(range(1, x.ndim))
    mean = x.mean(axes, keepdims=True)
    variance = (x * x).mean(axes, keepdims=True) - mean * mean
    return (x - mean) / xp.sqrt(variance + EPSILON)


def _he(rng: np.random.Generator, n_in: int, n_out: int) -> Array:
    return np.asarray(rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in), dtype=np.float32)
