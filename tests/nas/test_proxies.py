"""What untrained networks promise agrees with the networks themselves, and moves a model only as far as it holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.nas.model import Features, fit
from app.nas.network import Builder, Network
from app.nas.problem import Problem, Summary, Told
from app.nas.proxies import flow, promise
from app.nas.search import Settings, search
from app.nas.spaces import MlpSpace, space_from_json
from app.nas.strategies import Strategy
from app.nas.weights import forward, initial

CELLS = space_from_json({"type": "cell", "nodes": 4, "channels": 3})
WITHOUT_EDGES = space_from_json({"type": "cell", "operations": ["none", "skip", "conv1x1", "avgpool3x3", "maxpool3x3"]})


def synflow(network: Network) -> float:
    """Σ θ ∂R/∂θ by finite differences on the network that would be trained, weights at their mean size."""
    drawn = initial(network, np.random.default_rng(0))
    sizes = {}
    for name, one in drawn.items():
        depthwise = name.endswith("depthwise")
        fan_in = one.shape[0] * one.shape[1] if depthwise else int(np.prod(one.shape[:-1]))
        sizes[name] = (
            np.zeros(one.shape) if name.endswith("bias") else np.full(one.shape, 2.0 / np.sqrt(np.pi * fan_in))
        )

    def come_out(factor: float) -> float:
        grown = {name: one * factor for name, one in sizes.items()}
        return float(forward(network, grown, np.ones((1, *network.input_shape)))[0, 0])

    return (come_out(1.0 + 1e-5) - come_out(1.0 - 1e-5)) / 2e-5


@pytest.mark.parametrize("seed", range(5))
def test_the_flow_is_synflow_of_the_network_itself_where_edges_of_images_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stem = CELLS.network((0, 0, 0, 1, 0, 0), (41, 41, 2), 3)  # a convolution of 3 x 3 before all cells
    assert flow(stem) == pytest.approx(synflow(stem), rel=0.15)
    cell = WITHOUT_EDGES.network(WITHOUT_EDGES.sample(rng), (41, 41, 2), 1)
    assert flow(cell) == pytest.approx(synflow(cell), rel=0.15)
    chain = MlpSpace(activations=("relu",))
    layers = chain.network(chain.sample(rng), (7,), 2)
    assert flow(layers) == pytest.approx(synflow(layers), rel=1e-6)


def test_the_flow_of_separable_convolutions_and_of_nothing() -> None:
    build = Builder((1, 1, 5))
    build.add("dense", build.add("global", build.add("sepconv", 0, units=4, kernel=1)), units=2)
    assert flow(build.network()) == pytest.approx(synflow(build.network()), rel=1e-6)
    assert flow(CELLS.network((0,) * 6, (8, 8, 1), 2)) == 0.0


def test_promises_are_standard_normal_over_the_space_and_nothing_promises_least() -> None:
    drawn = list(dict.fromkeys(CELLS.samples(np.random.default_rng(7), 400)))
    found = [promise(CELLS, genes, (8, 8, 3)) for genes in drawn]
    assert abs(np.mean(found)) < 0.2
    assert 0.8 < np.std(found) < 1.2
    assert promise(CELLS, (0,) * 6, (8, 8, 3)) == min([*found, promise(CELLS, (0,) * 6, (8, 8, 3))])
    assert promise(CELLS, (3,) * 6, (8, 8, 3)) > max(found) - 1.0


def test_where_all_are_alike_nothing_is_promised() -> None:
    alike = space_from_json({"type": "cell", "nodes": 2, "operations": ["skip", "avgpool3x3"]})
    assert {promise(alike, genes, (8, 8, 1)) for genes in ((0,), (1,))} == {0.0}


def test_every_other_of_the_first_architectures_is_one_that_promises_much() -> None:
    here = Problem.of_networks(CELLS, (8, 8, 1), 10, measure=Network.parameters, penalty=0.0)
    told = search(here, Settings(Strategy("gp"), 1, 10), lambda task: 0.0)
    promises = [here.promise(one.genes) for one in told]
    assert min(promises[::2]) > 0.7
    assert np.mean(promises[::2]) > np.mean(promises[1::2]) + 1.0


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_what_was_never_tried_is_believed_to_keep_its_promise_if_what_was_tried_did(sign: float) -> None:
    here = Problem.of_networks(CELLS, (8, 8, 1), 10, measure=Network.parameters, penalty=0.0)
    rng = np.random.default_rng(3)
    drawn = sorted(dict.fromkeys(CELLS.samples(rng, 120)), key=here.promise)
    tried, most = drawn[:60], drawn[-1]
    noise = rng.standard_normal(len(tried))
    told = [Told(genes, value=sign * here.promise(genes) + 0.3 * e) for genes, e in zip(tried, noise, strict=True)]
    without = replace(here, promise=lambda genes: 0.0)
    means = [fit(Features(one), Summary.of(told)).predict([most])[0][0] for one in (here, without)]
    difference = means[0] - means[1]
    assert difference * sign > 0.5 if sign else abs(difference) < 0.5
