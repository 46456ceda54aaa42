"""A network as a list of layers, whatever space it comes from: what is counted, drawn, trained and downloaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import Invalid

#: (height, width, channels), or (features,).
Shape = tuple[int, ...]
#: What a layer may do. `zero` is what an unconnected place gives: nothing, in the shape of its input.
LAYERS = frozenset(
    {"input", "conv", "sepconv", "dense", "avgpool", "maxpool", "halve", "global", "flatten", "add", "zero", "skip"}
)
ACTIVATIONS = ("relu", "tanh", "gelu")


@dataclass(frozen=True)
class Layer:
    """`units` channels or features, `kernel` edge length; conv and dense end in `activation`, unless it is empty."""

    op: str
    inputs: tuple[int, ...] = ()
    units: int = 0
    kernel: int = 0
    activation: str = ""

    def to_json(self) -> dict[str, Any]:
        said: dict[str, Any] = {"op": self.op, "inputs": list(self.inputs)}
        return said | {name: getattr(self, name) for name in ("units", "kernel", "activation") if getattr(self, name)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Layer:
        return cls(said["op"], tuple(said["inputs"]), said.get("units", 0), said.get("kernel", 0),
                   said.get("activation", ""))  # fmt: skip


@dataclass(frozen=True)
class Network:
    """Layers in an order in which each comes after its inputs; the first is the input, the last one the logits."""

    input_shape: Shape
    layers: tuple[Layer, ...]

    def shapes(self) -> list[Shape]:
        """Of each layer's output.  Raises: Invalid, if two do not fit."""
        shapes: list[Shape] = []
        for layer in self.layers:
            shapes.append(_shape(layer, [shapes[i] for i in layer.inputs], self.input_shape))
        return shapes

    def parameters(self) -> int:
        shapes = self.shapes()
        return sum(_parameters(layer, [shapes[i] for i in layer.inputs]) for layer in self.layers)

    def flops(self) -> int:
        """Multiplications with additions, of one example."""
        shapes = self.shapes()
        return sum(
            _flops(layer, [shapes[i] for i in layer.inputs], shape)
            for layer, shape in zip(self.layers, shapes, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        return {"input_shape": list(self.input_shape), "layers": [layer.to_json() for layer in self.layers]}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Network:
        return cls(tuple(said["input_shape"]), tuple(Layer.from_json(one) for one in said["layers"]))


class Builder:
    """Adds layers one by one; each call returns the new layer's place."""

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = input_shape
        self.layers = [Layer("input")]

    def add(self, op: str, *inputs: int, units: int = 0, kernel: int = 0, activation: str = "") -> int:
        self.layers.append(Layer(op, inputs, units, kernel, activation))
        return len(self.layers) - 1

    def total(self, inputs: Sequence[int], like: int) -> int:
        """The sum of what comes in; nothing, in the shape of `like`, if nothing does."""
        if not inputs:
            return self.add("zero", like)
        return inputs[0] if len(inputs) == 1 else self.add("add", *inputs)

    def network(self) -> Network:
        return Network(self.input_shape, tuple(self.layers))


def _shape(layer: Layer, inputs: list[Shape], input_shape: Shape) -> Shape:
    if layer.op == "input":
        return input_shape
    here = inputs[0]
    if layer.op in ("conv", "sepconv", "avgpool", "maxpool", "halve", "global") and len(here) != 3:
        raise Invalid(f"{layer.op} needs images; the examples have the shape {list(here)}. Take the space mlp")
    if layer.op in ("conv", "sepconv"):
        return (here[0], here[1], layer.units)
    if layer.op == "dense":
        return (layer.units,)
    if layer.op == "halve":
        return (-(-here[0] // 2), -(-here[1] // 2), here[2])
    if layer.op == "global":
        return (here[2],)
    if layer.op == "flatten":
        return (math.prod(here),)
    if layer.op == "add" and len(set(inputs)) > 1:
        raise Invalid(f"layers of different shapes cannot be added: {sorted(set(inputs))}")
    return here


def _parameters(layer: Layer, inputs: list[Shape]) -> int:
    if layer.op == "conv":
        return layer.kernel**2 * inputs[0][2] * layer.units + layer.units
    if layer.op == "sepconv":
        return layer.kernel**2 * inputs[0][2] + inputs[0][2] * layer.units + layer.units
    if layer.op == "dense":
        return math.prod(inputs[0]) * layer.units + layer.units
    return 0


def _flops(layer: Layer, inputs: list[Shape], shape: Shape) -> int:
    if layer.op in ("conv", "sepconv"):
        return shape[0] * shape[1] * (_parameters(layer, inputs) - layer.units)
    if layer.op == "dense":
        return _parameters(layer, inputs) - layer.units
    if layer.op in ("avgpool", "maxpool"):
        return 9 * math.prod(shape)
    return math.prod(shape) * (len(inputs) - 1) if layer.op == "add" else 0
