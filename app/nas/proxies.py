"""What an untrained network promises: a proxy that costs no training, sees no label, and needs no engine.

    flow        synflow: Σ θ ∂R/∂θ, where R is what comes out of the network for an input of ones, with the size of each
                weight for the weight and no activation: the sum over all ways through the network
    promise     its normal score: where it lies among random architectures of the space, as a standard normal number

Weights are taken at the size that He's have on average, and images without edges: then all places and channels of a
layer are alike, one number stands for them, and nothing is drawn. A network takes some hundredths of a millisecond.
Source: Tanaka et al. 2020; as a proxy for architectures Abdelfattah et al. 2021.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from app.nas.network import Layer, Network, Shape
from app.nas.spaces import Genes, Space

#: A table does not say what its networks were trained on: these stand for it.
SMALL_IMAGES: Shape = (8, 8, 3)
#: Architectures drawn to know what is usual in a space.
DRAWN = 1000


@lru_cache(200_000)
def promise(space: Space, genes: Genes, input_shape: Shape) -> float:
    """From about −3 to 3; 0 for all, where all are alike."""
    flows, scores = _usual(space, input_shape)
    return float(np.interp(_log_flow(space, genes, input_shape), flows, scores))


@lru_cache(64)
def _usual(space: Space, input_shape: Shape) -> tuple[list[float], list[float]]:
    """What flows through random architectures, growing, and the normal score of each value."""
    drawn = dict.fromkeys(space.samples(np.random.default_rng(0), DRAWN))
    flows, counts = np.unique([_log_flow(space, genes, input_shape) for genes in drawn], return_counts=True)
    shares = (np.cumsum(counts) - counts / 2.0) / len(drawn)
    return flows.tolist(), [NormalDist().inv_cdf(share) for share in shares]


def _log_flow(space: Space, genes: Genes, input_shape: Shape) -> float:
    found = flow(space.network(genes, input_shape, 1))
    return math.log(max(found, sys.float_info.min))  # nothing flows where nothing is connected


def flow(network: Network) -> float:
    """Σ θ ∂R/∂θ is how fast R grows as all weights grow by one factor: each layer carries its value and that slope."""
    shapes = network.shapes()
    values, slopes = [1.0], [0.0]
    for layer in network.layers[1:]:
        value, slope = sum(values[i] for i in layer.inputs), sum(slopes[i] for i in layer.inputs)
        for fan_in in _fan_ins(layer, shapes[layer.inputs[0]]):
            gain = math.sqrt(fan_in * 4.0 / math.pi)  # fan-in weights, |w| = √(2/π) √(2 / fan-in) on average
            value, slope = gain * value, gain * (slope + value)
        values.append(0.0 if layer.op == "zero" else value)
        slopes.append(0.0 if layer.op == "zero" else slope)
    return slopes[-1]


def _fan_ins(layer: Layer, before: Shape) -> list[int]:
    """Of each array of weights of the layer: over how many inputs it sums."""
    if layer.op == "conv":
        return [layer.kernel**2 * before[2]]
    if layer.op == "sepconv":
        return [layer.kernel**2, before[2]]
    return [math.prod(before)] if layer.op == "dense" else []
