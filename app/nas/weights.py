"""A trained network without an engine: its weights, the file it is downloaded as, and what it predicts, in NumPy."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from app.errors import ShapeError
from app.nas.network import Layer, Network

#: Arrays of float32, whose type NumPy's own functions lose on the way.
Tensor: TypeAlias = Any
WEIGHTS_FILE, GRAPH_FILE, ONNX_FILE = "weights.npz", "network.json", "network.onnx"


@dataclass(frozen=True)
class Trained:
    """`weights` by name: "3.kernel", "3.bias", … of layer 3. Inputs are first brought to mean 0 and deviation 1."""

    network: Network
    weights: Mapping[str, Tensor]
    labels: tuple[Any, ...]
    centre: float | NDArray[np.float32]
    scale: float | NDArray[np.float32]

    def pack(self, onnx: bytes, **more: Any) -> bytes:
        """A zip of the weights as .npz, the graph as JSON, with whatever else is to be said in it, and both as ONNX."""
        arrays, whole = io.BytesIO(), io.BytesIO()
        np.savez(arrays, **self.weights)
        graph = {
            **self.network.to_json(),
            "labels": list(self.labels),
            "centre": np.asarray(self.centre).tolist(),
            "scale": np.asarray(self.scale).tolist(),
            **more,
        }
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in (
                (WEIGHTS_FILE, arrays.getvalue()),
                (GRAPH_FILE, json.dumps(graph, indent=1).encode()),
                (ONNX_FILE, onnx),
            ):
                file.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)  # the same bytes at any time
        return whole.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> Trained:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            said = json.loads(file.read(GRAPH_FILE))
            with np.load(io.BytesIO(file.read(WEIGHTS_FILE)), allow_pickle=False) as arrays:
                weights = {name: arrays[name] for name in arrays.files}
        return cls(
            Network.from_json(said), weights, tuple(said["labels"]), _units(said["centre"]), _units(said["scale"])
        )

    def probabilities(self, x: NDArray[Any]) -> Tensor:
        """(n, classes).  Raises: ShapeError, naming the shape that would be right."""
        wanted = self.network.input_shape
        try:
            given = np.asarray(x, dtype=np.float32)
            given = given.reshape(len(given), *wanted) if given.ndim and given.size else given
        except (ValueError, TypeError) as problem:
            raise ShapeError(f"x is a list of examples, each of the shape {list(wanted)}") from problem
        if given.shape[1:] != wanted or not np.isfinite(given).all():
            raise ShapeError(
                f"x is a list of finite examples, each of the shape {list(wanted)}; got {list(given.shape)}"
            )
        logits = forward(self.network, self.weights, (given - self.centre) / self.scale)
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)


def _units(said: float | list[float]) -> float | NDArray[np.float32]:
    return np.array(said, dtype=np.float32) if isinstance(said, list) else said


def initial(network: Network, rng: np.random.Generator) -> dict[str, Tensor]:
    """He's: deviation √(2 / fan-in).  Source: He et al. 2015."""
    shapes = network.shapes()
    found: dict[str, Tensor] = {}

    def draw(name: str, fan_in: int, *shape: int) -> None:
        found[name] = (rng.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    for number, layer in enumerate(network.layers):
        if layer.op not in ("conv", "sepconv", "dense"):
            continue
        before = shapes[layer.inputs[0]]
        if layer.op == "conv":
            draw(f"{number}.kernel", layer.kernel**2 * before[2], layer.kernel, layer.kernel, before[2], layer.units)
        elif layer.op == "sepconv":
            draw(f"{number}.depthwise", layer.kernel**2, layer.kernel, layer.kernel, before[2])
            draw(f"{number}.kernel", before[2], before[2], layer.units)
        else:
            draw(f"{number}.kernel", before[0], before[0], layer.units)
        found[f"{number}.bias"] = np.zeros(layer.units, np.float32)
    return found


def forward(network: Network, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """(n, classes), logits."""
    values: list[Tensor] = []
    for number, layer in enumerate(network.layers):
        values.append(_apply(layer, number, weights, [values[i] for i in layer.inputs], x))
    return values[-1]


def _apply(layer: Layer, number: int, weights: Mapping[str, Tensor], inputs: list[Tensor], x: Tensor) -> Tensor:
    if layer.op == "input":
        return x
    here = inputs[0]
    if layer.op == "conv":
        return _activated(layer, _windows(here, layer.kernel, weights[f"{number}.kernel"]) + weights[f"{number}.bias"])
    if layer.op == "sepconv":
        patches = _patches(here, layer.kernel, 0.0)
        depthwise = np.einsum("nhwcij,ijc->nhwc", patches, weights[f"{number}.depthwise"])
        return _activated(layer, depthwise @ weights[f"{number}.kernel"] + weights[f"{number}.bias"])
    if layer.op == "dense":
        return _activated(layer, here @ weights[f"{number}.kernel"] + weights[f"{number}.bias"])
    if layer.op == "avgpool":
        inside = _patches(np.ones_like(here[:1, :, :, :1]), 3, 0.0).sum(axis=(4, 5))
        return _patches(here, 3, 0.0).sum(axis=(4, 5)) / inside
    if layer.op == "maxpool":
        return _patches(here, 3, -np.inf).max(axis=(4, 5))
    if layer.op == "halve":
        odd = [(0, 0), *((0, size % 2) for size in here.shape[1:3]), (0, 0)]
        padded: Tensor = np.pad(here, odd, mode="edge")
        n, h, w, c = padded.shape
        return padded.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))
    if layer.op == "global":
        return here.mean(axis=(1, 2))
    if layer.op == "flatten":
        return here.reshape(len(here), -1)
    return sum(inputs[1:], start=here) if layer.op == "add" else here * 0.0 if layer.op == "zero" else here


def _patches(here: Tensor, kernel: int, fill: float) -> Tensor:
    """(n, h, w, c, kernel, kernel), padded so that the size stays."""
    edge = kernel // 2
    padded = np.pad(here, [(0, 0), (edge, edge), (edge, edge), (0, 0)], constant_values=fill)
    return sliding_window_view(padded, (kernel, kernel), axis=(1, 2))


def _windows(here: Tensor, kernel: int, weights: Tensor) -> Tensor:
    return np.einsum("nhwcij,ijco->nhwo", _patches(here, kernel, 0.0), weights, optimize=True)


def _activated(layer: Layer, value: Tensor) -> Tensor:
    if layer.activation == "relu":
        return np.maximum(value, 0.0)
    if layer.activation == "tanh":
        return np.tanh(value)
    if layer.activation == "gelu":  # the usual approximation by tanh, as in training
        return 0.5 * value * (1.0 + np.tanh(0.7978845608 * (value + 0.044715 * value**3)))
    return value
