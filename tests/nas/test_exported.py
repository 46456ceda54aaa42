"""The ONNX file says what the network says: every layer there is, run by the reference interpreter of `onnx`."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from app.nas.exported import to_onnx
from app.nas.network import LAYERS, Builder, Network
from app.nas.spaces import space_from_json
from app.nas.weights import Tensor, Trained, initial


def everything() -> Builder:
    """A network with every layer, on images with an odd number of columns."""
    build = Builder((6, 5, 2))
    here = build.add("conv", 0, units=4, kernel=3, activation="gelu")
    here = build.add("add", build.add("avgpool", here), build.add("maxpool", here), build.add("skip", here))
    here = build.add("halve", build.add("sepconv", here, units=3, kernel=5, activation="tanh"))
    here = build.add("add", here, build.add("zero", here))
    wide = build.add("dense", build.add("flatten", here), units=4, activation="relu")
    narrow = build.add("dense", build.add("global", here), units=4, activation="relu")
    build.add("dense", build.add("add", wide, narrow), units=3)
    return build


def random_weights(network: Network) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    return {
        name: value + 0.3 * rng.standard_normal(value.shape).astype(np.float32)
        for name, value in initial(network, rng).items()
    }


def test_every_layer_is_exported_as_it_predicts() -> None:
    network = everything().network()
    assert {layer.op for layer in network.layers} == LAYERS
    trained = Trained(network, random_weights(network), ("a", 2, None), 0.5, 2.0)
    content = to_onnx(trained)
    assert content == to_onnx(trained)
    model = onnx.load_from_string(content)
    assert json.loads(model.metadata_props[0].value) == ["a", 2, None]
    x = np.random.default_rng(1).standard_normal((7, 6, 5, 2)).astype(np.float32)
    (said,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert said == pytest.approx(trained.probabilities(x), abs=1e-5)


def test_vectors_have_a_unit_for_each_feature() -> None:
    space = space_from_json({"type": "mlp", "max_depth": 1, "widths": [4, 8]})
    network = space.network((1, 1, 0), (3,), 2)
    centre, scale = np.array([1.0, 2.0, 3.0], np.float32), np.array([0.1, 1.0, 10.0], np.float32)
    trained = Trained(network, random_weights(network), (0, 1), centre, scale)
    x = np.random.default_rng(1).standard_normal((5, 3)).astype(np.float32)
    (said,) = ReferenceEvaluator(onnx.load_from_string(to_onnx(trained))).run(None, {"x": x})
    assert said == pytest.approx(trained.probabilities(x), abs=1e-5)
