"""A trained network as an ONNX file, which other programs run without us. A worker alone loads this module.

The `onnx` package has the operators and checks the file. Our layers are few and are written one by one: exporters read
a framework's graph, and what is trained here is a list of layers of our own. Images are (n, h, w, c) outside, as they
are everywhere here, and (n, c, h, w) between the layers, as ONNX wants them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.nas.network import Layer, Shape
from app.nas.weights import Trained

#: The oldest set of operators that has gelu: more programs read older files.
OPSET = 20
IR_VERSION = 9
FLOAT = TensorProto.FLOAT


def to_onnx(trained: Trained) -> bytes:
    """`x` (n, *shape), in the caller's units, to `probabilities` (n, classes); the labels are in the metadata."""
    writer = _Writer(trained)
    network = trained.network
    centred = writer.add("Sub", "x", writer.constant("centre", np.asarray(trained.centre, np.float32)))
    here = writer.add("Div", centred, writer.constant("scale", np.asarray(trained.scale, np.float32)))
    if len(network.input_shape) == 3:
        here = writer.add("Transpose", here, perm=[0, 3, 1, 2])
    shapes = network.shapes()
    values: list[str] = []
    for number, layer in enumerate(network.layers):
        if layer.op != "input":
            here = writer.layer(number, layer, [values[i] for i in layer.inputs], [shapes[i] for i in layer.inputs])
        values.append(here)
    writer.add("Softmax", values[-1], axis=1, output="probabilities")
    graph = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info("x", FLOAT, ["n", *network.input_shape])],
        [helper.make_tensor_value_info("probabilities", FLOAT, ["n", *shapes[-1]])],
        writer.constants,
    )
    model = helper.make_model(
        graph, producer_name="metatune", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    helper.set_model_props(model, {"labels": json.dumps(list(trained.labels))})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Writer:
    """Nodes and constants as they are added; each value has the name of what made it."""

    def __init__(self, trained: Trained) -> None:
        self.weights = trained.weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def layer(self, number: int, layer: Layer, inputs: Sequence[str], before: Sequence[Shape]) -> str:
        here = inputs[0]
        if layer.op in ("conv", "sepconv"):
            return self._activated(layer, self._conv(number, layer, here))
        if layer.op == "dense":
            kernel, bias = self._weight(number, "kernel"), self._weight(number, "bias")
            return self._activated(layer, self.add("Gemm", here, kernel, bias))
        if layer.op in ("avgpool", "maxpool"):
            kind = "AveragePool" if layer.op == "avgpool" else "MaxPool"  # the average is of what lies inside
            return self.add(kind, here, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if layer.op == "halve":
            odd = [size % 2 for size in before[0][:2]]
            if any(odd):
                pads = self.constant(f"{number}.pads", np.array([0, 0, 0, 0, 0, 0, *odd], np.int64))
                here = self.add("Pad", here, pads, mode="edge")
            return self.add("AveragePool", here, kernel_shape=[2, 2], strides=[2, 2])
        if layer.op == "global":
            axes = self.constant(f"{number}.axes", np.array([2, 3], np.int64))
            return self.add("ReduceMean", here, axes, keepdims=0)
        if layer.op == "flatten":
            if len(before[0]) == 3:
                here = self.add("Transpose", here, perm=[0, 2, 3, 1])
            return self.add("Flatten", here)
        if layer.op == "add":
            return self.add("Sum", *inputs)
        if layer.op == "zero":
            return self.add("Mul", here, self.constant(f"{number}.zero", np.float32(0.0)))
        return self.add("Identity", here)

    def _conv(self, number: int, layer: Layer, here: str) -> str:
        bias, pads = self._weight(number, "bias"), [layer.kernel // 2] * 4
        if layer.op == "conv":
            kernel = self.constant(f"{number}.kernel", self.weights[f"{number}.kernel"].transpose(3, 2, 0, 1))
            return self.add("Conv", here, kernel, bias, pads=pads)
        depthwise = self.weights[f"{number}.depthwise"].transpose(2, 0, 1)[:, None]
        here = self.add("Conv", here, self.constant(f"{number}.depthwise", depthwise), pads=pads, group=len(depthwise))
        kernel = self.constant(f"{number}.kernel", self.weights[f"{number}.kernel"].T[:, :, None, None])
        return self.add("Conv", here, kernel, bias)

    def _weight(self, number: int, name: str) -> str:
        return self.constant(f"{number}.{name}", self.weights[f"{number}.{name}"])

    def _activated(self, layer: Layer, here: str) -> str:
        if layer.activation == "gelu":
            return self.add("Gelu", here, approximate="tanh")
        names = {"relu": "Relu", "tanh": "Tanh"}
        return self.add(names[layer.activation], here) if layer.activation else here
