"""Spaces: one writing for networks that are the same, counts that are right, messages that name the place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.nas.graphs import drawing
from app.nas.network import Network
from app.nas.problem import Problem
from app.nas.spaces import CellSpace, Genes, Space, space_from_json

SPACES: dict[str, dict[str, Any]] = {
    "cell": {"type": "cell", "nodes": 4},
    "small cell": {"type": "cell", "nodes": 3, "operations": ["skip", "conv3x3"]},
    "mlp": {"type": "mlp", "max_depth": 3, "widths": [4, 8]},
    "cnn": {"type": "cnn", "max_depth": 3, "widths": [4, 8], "kernels": [1, 3]},
    "graph": {
        "type": "graph", "nodes": [["conv1x1", "conv3x3"], ["conv1x1", "conv3x3"], ["skip", "maxpool3x3"]],
        "max_edges": 7, "max_inputs": 2,
    },
}  # fmt: skip


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    return space_from_json(SPACES[request.param])


def drawn(space: Space, n: int = 60) -> list[Genes]:
    rng = np.random.default_rng(0)
    return [tuple(int(rng.integers(k)) for k in space.choices) for _ in range(n)]


def test_a_canonical_writing_is_its_own_and_is_read_back(space: Space) -> None:
    for genes in drawn(space):
        canonical = space.canonical(genes)
        assert space.canonical(canonical) == canonical
        assert space.read(space.describe(canonical)) == canonical
        assert space.key(genes) == space.key(canonical)


def test_a_space_is_what_its_json_says(space: Space) -> None:
    assert space_from_json(space.to_json()) == space


def test_the_same_network_costs_the_same_and_is_drawn_the_same_however_it_is_written(space: Space) -> None:
    for genes in drawn(space, 20):
        network = space.network(genes, (8, 8, 1), 10)
        same = space.network(space.canonical(genes), (8, 8, 1), 10)
        assert network.parameters() == same.parameters()
        assert network.shapes()[-1] == (10,)
        svg = drawing(space.graph(genes))
        assert svg.startswith("<svg")
        assert svg.count("<rect") == len(space.graph(genes).operations)


def test_isomorphic_cells_are_one_and_what_is_dead_does_not_count() -> None:
    space = CellSpace(4, ("none", "skip", "conv1x1", "conv3x3"))
    # 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2; nodes 1 and 2 change places
    assert space.canonical((2, 3, 0, 1, 3, 2)) == space.canonical((3, 2, 0, 1, 2, 3))
    # node 2 leads nowhere
    assert space.canonical((2, 3, 3, 0, 3, 0)) == space.canonical((2, 0, 0, 0, 3, 0))
    # nothing reaches the output
    assert space.canonical((2, 3, 3, 0, 0, 0)) == (0,) * 6
    assert space.canonical((2, 0, 3, 0, 0, 3)) != space.canonical((3, 0, 2, 0, 0, 3))


def test_the_cells_of_nas_bench_201_are_as_many_as_their_isomorphy_classes() -> None:
    import itertools

    space = CellSpace(4, ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3"))
    assert len({space.canonical(genes) for genes in itertools.product(range(5), repeat=6)}) == 8765


def test_parameters_are_counted_as_they_are_in_the_network() -> None:
    space = space_from_json({"type": "mlp", "max_depth": 2, "widths": [4, 8], "activations": ["relu"]})
    network = space.network((2, 0, 1, 0), (8, 8, 1), 10)
    assert network.parameters() == (64 * 4 + 4) + (4 * 8 + 8) + (8 * 10 + 10)
    assert network.flops() == 64 * 4 + 4 * 8 + 8 * 10


def test_max_parameters_is_a_rule_of_every_draw() -> None:
    space = space_from_json({**SPACES["cell"], "max_parameters": 900})
    problem = Problem.of_networks(space, (8, 8, 1), 10, measure=Network.parameters, penalty=0.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        genes = problem.draw(rng)
        assert genes is not None
        assert space.network(genes, (8, 8, 1), 10).parameters() <= 900
    low, high = problem.range
    assert low < high
    with pytest.raises(ValueError, match="smallest network has"):
        Problem.of_networks(
            space_from_json({**SPACES["cell"], "max_parameters": 5}),
            (8, 8, 1),
            10,
            measure=Network.parameters,
            penalty=0.0,
        ).check()


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"type": "tree"}, "/space/type"),
        ({"type": "cell", "nodes": 99}, "/space/nodes"),
        ({"type": "cell", "operations": ["none", "fly"]}, "/space/operations/1"),
        ({"type": "cell", "operations": ["none", "none"]}, "/space/operations"),
        ({"type": "cell", "wings": 2}, "/space/wings"),
        ({"type": "cell", "max_parameters": 0}, "/space/max_parameters"),
        ({"type": "mlp", "widths": [16, -1]}, "/space/widths/1"),
        ({"type": "mlp", "widths": "16"}, "/space/widths"),
        ({"type": "cnn", "kernels": [2]}, "/space/kernels"),
        ({"type": "graph"}, "/space/nodes"),
        ({"type": "graph", "nodes": [["conv3x3"], ["none"]]}, "/space/nodes/1/0"),
        ({"type": "graph", "nodes": [[]]}, "/space/nodes/0"),
    ],
)
def test_what_is_wrong_with_a_space_is_named_with_its_place(said: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ValueError) as refused:
        space_from_json(said)
    assert refused.value.errors[0].pointer == pointer  # type: ignore[attr-defined]
