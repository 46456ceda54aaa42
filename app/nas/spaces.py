"""Spaces of architectures: `cell`, `mlp`, `cnn` and a user's own `graph`, read from JSON by `space_from_json`.

Each says how many choices each gene has, which genes describe the same network, and what network that is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from app.errors import FieldError, Invalid
from app.nas.graphs import Graph, alive, orders
from app.nas.network import ACTIVATIONS, Builder, Network, Shape

Genes = tuple[int, ...]

#: What an edge of a cell, or a node of a graph, may do; `none` is no edge.
OPERATIONS: dict[str, tuple[str, int]] = {
    "none": ("none", 0),
    "skip": ("skip", 0),
    "conv1x1": ("conv", 1),
    "conv3x3": ("conv", 3),
    "conv5x5": ("conv", 5),
    "sepconv3x3": ("sepconv", 3),
    "sepconv5x5": ("sepconv", 5),
    "avgpool3x3": ("avgpool", 3),
    "maxpool3x3": ("maxpool", 3),
}
MAX_NODES = 8
MAX_CHOICES = 64
#: Draws before a space is said to hold nothing that is allowed.
MAX_DRAWS = 2_000


class InvalidSpace(Invalid):
    code = "invalid-space"

    def __init__(self, place: str, detail: str) -> None:
        super().__init__(f"{place}: {detail}", errors=[FieldError(f"/space{place}", detail)])


@dataclass(frozen=True)
class Space(ABC):
    """What all spaces share. `max_parameters` is a hard rule: what has more is in no proposal."""

    type: ClassVar[str]
    max_parameters: int | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def choices(self) -> tuple[int, ...]:
        """How many values each gene has."""

    @abstractmethod
    def canonical(self, genes: Genes) -> Genes:
        """The same genes for all that describe the same network."""

    @abstractmethod
    def graph(self, genes: Genes) -> Graph:
        """What is drawn, and compared."""

    @abstractmethod
    def network(self, genes: Genes, input_shape: Shape, n_classes: int) -> Network: ...

    @abstractmethod
    def describe(self, genes: Genes) -> dict[str, Any]:
        """As it is answered."""

    @abstractmethod
    def read(self, said: Mapping[str, Any]) -> Genes:
        """The inverse of `describe`.  Raises: Invalid."""

    def is_valid(self, genes: Genes) -> bool:
        """Does it keep the space's own rules?"""
        return True

    @abstractmethod
    def to_json(self) -> dict[str, Any]: ...

    @property
    def size(self) -> int:
        """Ways to write genes; networks are fewer."""
        return math.prod(self.choices)

    def key(self, genes: Genes) -> str:
        return "-".join(map(str, self.canonical(genes)))

    def sample(self, rng: np.random.Generator) -> Genes:
        return self.samples(rng, 1)[0]

    def samples(self, rng: np.random.Generator, n: int) -> list[Genes]:
        drawn = rng.integers(self.choices, size=(n, len(self.choices))).tolist()
        return [self.canonical(tuple(row)) for row in drawn]

    def mutate(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """Another value for one gene."""
        places = [i for i, n in enumerate(self.choices) if n > 1]
        place = places[int(rng.integers(len(places)))]
        value = (genes[place] + 1 + int(rng.integers(self.choices[place] - 1))) % self.choices[place]
        return self.canonical((*genes[:place], value, *genes[place + 1 :]))

    def neighbours(self, genes: Genes) -> list[Genes]:
        """All that differ in one gene, each once."""
        found = {
            self.canonical((*genes[:i], value, *genes[i + 1 :])): None
            for i, n in enumerate(self.choices)
            for value in range(n)
        }
        found.pop(self.canonical(genes), None)
        return list(found)


@dataclass(frozen=True)
class CellSpace(Space):
    """A cell is a DAG whose edges do something and whose nodes add up; a network stacks it (Dong & Yang 2020).

    Genes: the operation of each edge, in the order 1←0, 2←0, 2←1, 3←0, … Cells whose live parts are isomorphic are one.
    """

    type: ClassVar[str] = "cell"
    nodes: int
    operations: tuple[str, ...]
    channels: int = 8
    cells: int = 1

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        return tuple((a, b) for b in range(1, self.nodes) for a in range(b))

    @property
    def choices(self) -> tuple[int, ...]:
        return (len(self.operations),) * len(self.edges)

    @cached_property
    def _none(self) -> int:
        return self.operations.index("none") if "none" in self.operations else -1

    def canonical(self, genes: Genes) -> Genes:
        return _canonical_cell(self, genes)

    def graph(self, genes: Genes) -> Graph:
        """Edges become nodes: what they do is what is compared."""
        live = [
            (edge, gene) for edge, gene in zip(self.edges, self.canonical(genes), strict=True) if gene != self._none
        ]
        last = len(live) + 1
        operations = ("input", *(self.operations[gene] for _, gene in live), "output")
        links = [(0, 1 + i) for i, ((a, _), _) in enumerate(live) if a == 0]
        links += [(1 + i, last) for i, ((_, b), _) in enumerate(live) if b == self.nodes - 1]
        links += [
            (1 + i, 1 + j)
            for i, ((_, b), _) in enumerate(live)
            for j, ((a, _), _) in enumerate(live)
            if a == b and b != 0
        ]
        return Graph(operations, tuple(sorted(links)))

    def network(self, genes: Genes, input_shape: Shape, n_classes: int) -> Network:
        build = Builder(input_shape)
        here = build.add("conv", 0, units=self.channels, kernel=3, activation="relu")
        genes = self.canonical(genes)
        for stage in range(2):
            width = self.channels * 2**stage
            if stage:
                here = build.add("conv", build.add("halve", here), units=width, kernel=1)
            for _ in range(self.cells):
                here = self._cell(build, here, genes, width)
        build.add("dense", build.add("global", here), units=n_classes)
        return build.network()

    def _cell(self, build: Builder, start: int, genes: Genes, width: int) -> int:
        into: dict[int, list[int]] = {node: [] for node in range(self.nodes)}
        place = {0: start}
        for (a, b), gene in zip(self.edges, genes, strict=True):
            if gene == self._none:
                continue
            if a not in place:
                place[a] = build.total(into[a], start)
            into[b].append(apply(build, self.operations[gene], place[a], width))
        return build.total(into[self.nodes - 1], start)

    def describe(self, genes: Genes) -> dict[str, Any]:
        return {"edges": {f"{b}<-{a}": self.operations[g] for (a, b), g in zip(self.edges, genes, strict=True)}}

    def read(self, said: Mapping[str, Any]) -> Genes:
        edges = said.get("edges")
        wanted = [f"{b}<-{a}" for a, b in self.edges]
        if not isinstance(edges, Mapping) or set(edges) != set(wanted):
            raise Invalid(f"an architecture of this space has the edges {', '.join(wanted)}")
        return self.canonical(tuple(_place(self.operations, edges[name], name) for name in wanted))

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "nodes": self.nodes, "operations": list(self.operations), "channels": self.channels,
                "cells": self.cells} | _limit(self)  # fmt: skip


@lru_cache(200_000)
def _canonical_cell(space: CellSpace, genes: Genes) -> Genes:
    none = space._none
    if none < 0:
        return min(_permuted(space, genes), default=genes)
    used = [edge for edge, gene in zip(space.edges, genes, strict=True) if gene != none]
    living = alive(space.nodes, used)
    pruned = tuple(
        gene if a in living and b in living else none for (a, b), gene in zip(space.edges, genes, strict=True)
    )
    return min(_permuted(space, pruned))


def _permuted(space: CellSpace, genes: Genes) -> list[Genes]:
    place = {edge: i for i, edge in enumerate(space.edges)}
    used = [(edge, gene) for edge, gene in zip(space.edges, genes, strict=True) if gene != space._none]
    found = []
    for new in orders(space.nodes, [edge for edge, _ in used]):
        renamed = [max(space._none, 0)] * len(space.edges) if space._none >= 0 else list(genes)
        for (a, b), gene in used:
            renamed[place[new[a], new[b]]] = gene
        found.append(tuple(renamed))
    return found


@dataclass(frozen=True)
class MlpSpace(Space):
    """Layers of features: how many, how wide each, and their activation. Genes: depth, width of each, activation."""

    type: ClassVar[str] = "mlp"
    max_depth: int = 3
    widths: tuple[int, ...] = (16, 32, 64, 128)
    activations: tuple[str, ...] = ("relu", "tanh")

    @property
    def choices(self) -> tuple[int, ...]:
        return (self.max_depth + 1, *(len(self.widths),) * self.max_depth, len(self.activations))

    def canonical(self, genes: Genes) -> Genes:
        depth = genes[0]
        kept = tuple(gene if i < depth else 0 for i, gene in enumerate(genes[1:-1]))
        return (depth, *kept, genes[-1] if depth else 0)

    def graph(self, genes: Genes) -> Graph:
        return _chain([f"dense {self.widths[gene]} {self.activations[genes[-1]]}" for gene in genes[1 : 1 + genes[0]]])

    def network(self, genes: Genes, input_shape: Shape, n_classes: int) -> Network:
        build = Builder(input_shape)
        here = build.add("flatten", 0)
        for gene in genes[1 : 1 + genes[0]]:
            here = build.add("dense", here, units=self.widths[gene], activation=self.activations[genes[-1]])
        build.add("dense", here, units=n_classes)
        return build.network()

    def describe(self, genes: Genes) -> dict[str, Any]:
        widths = [self.widths[gene] for gene in genes[1 : 1 + genes[0]]]
        return {"widths": widths, "activation": self.activations[genes[-1]]}

    def read(self, said: Mapping[str, Any]) -> Genes:
        widths = said.get("widths")
        if not isinstance(widths, list) or len(widths) > self.max_depth:
            raise Invalid(f"an architecture of this space has a list of at most {self.max_depth} widths")
        places = [_place(self.widths, one, "widths") for one in widths]
        places += [0] * (self.max_depth - len(widths))
        last = _place(self.activations, said.get("activation"), "activation")
        return self.canonical((len(widths), *places, last))

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "max_depth": self.max_depth, "widths": list(self.widths),
                "activations": list(self.activations)} | _limit(self)  # fmt: skip


@dataclass(frozen=True)
class CnnSpace(Space):
    """A chain of blocks: how many, and of each the width, the kernel, and whether it is skipped beside.

    Genes: depth, then width, kernel and skip of each block. The second half of the blocks sees half the size.
    """

    type: ClassVar[str] = "cnn"
    max_depth: int = 4
    widths: tuple[int, ...] = (8, 16, 32)
    kernels: tuple[int, ...] = (1, 3, 5)

    @property
    def choices(self) -> tuple[int, ...]:
        return (self.max_depth, *((len(self.widths), len(self.kernels), 2) * self.max_depth))

    def canonical(self, genes: Genes) -> Genes:
        used = 3 * (genes[0] + 1)
        return (genes[0], *(gene if i < used else 0 for i, gene in enumerate(genes[1:])))

    def _blocks(self, genes: Genes) -> list[tuple[int, int, bool]]:
        places = [genes[1 + 3 * i : 4 + 3 * i] for i in range(genes[0] + 1)]
        return [(self.widths[w], self.kernels[k], bool(s)) for w, k, s in places]

    def graph(self, genes: Genes) -> Graph:
        blocks = self._blocks(genes)
        chain = _chain([f"conv{k}x{k} {width}" for width, k, _ in blocks])
        skips = tuple((i, i + 2) for i, (_, _, skip) in enumerate(blocks) if skip)
        return Graph(chain.operations, tuple(sorted(chain.edges + skips)))

    def network(self, genes: Genes, input_shape: Shape, n_classes: int) -> Network:
        build, blocks = Builder(input_shape), self._blocks(genes)
        here, channels = 0, 0
        for number, (width, kernel, skip) in enumerate(blocks):
            if number and number == -(-len(blocks) // 2):
                here = build.add("halve", here)
            beside = here
            here = build.add("conv", here, units=width, kernel=kernel, activation="relu")
            if skip:
                beside = beside if channels == width else build.add("conv", beside, units=width, kernel=1)
                here = build.add("add", here, beside)
            channels = width
        build.add("dense", build.add("global", here), units=n_classes)
        return build.network()

    def describe(self, genes: Genes) -> dict[str, Any]:
        return {"blocks": [{"width": w, "kernel": k, "skip": s} for w, k, s in self._blocks(genes)]}

    def read(self, said: Mapping[str, Any]) -> Genes:
        blocks = said.get("blocks")
        if not isinstance(blocks, list) or not 1 <= len(blocks) <= self.max_depth:
            raise Invalid(f"an architecture of this space has 1 to {self.max_depth} blocks")
        genes = [len(blocks) - 1]
        for one in blocks:
            genes += [_place(self.widths, one.get("width"), "width"), _place(self.kernels, one.get("kernel"), "kernel"),
                      int(bool(one.get("skip")))]  # fmt: skip
        return self.canonical((*genes, *(0,) * (3 * (self.max_depth - len(blocks)))))

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "max_depth": self.max_depth, "widths": list(self.widths),
                "kernels": list(self.kernels)} | _limit(self)  # fmt: skip


@dataclass(frozen=True)
class GraphSpace(Space):
    """A user's own: nodes that each do one of their operations, and edges that may be there.

    Genes: the operation of each inner node, then 0 or 1 for each possible edge, in the order 1←0, 2←0, 2←1, …
    """

    type: ClassVar[str] = "graph"
    nodes: tuple[tuple[str, ...], ...]
    max_edges: int | None = None
    max_inputs: int | None = None
    channels: int = 8

    @property
    def n_nodes(self) -> int:
        return len(self.nodes) + 2

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        return tuple((a, b) for b in range(1, self.n_nodes) for a in range(b))

    @property
    def choices(self) -> tuple[int, ...]:
        return (*(len(one) for one in self.nodes), *(2,) * len(self.edges))

    def _used(self, genes: Genes) -> list[tuple[int, int]]:
        return [edge for edge, gene in zip(self.edges, genes[len(self.nodes) :], strict=True) if gene]

    def canonical(self, genes: Genes) -> Genes:
        return _canonical_graph(self, genes)

    def is_valid(self, genes: Genes) -> bool:
        used = self._used(self.canonical(genes))
        if not used or (self.max_edges is not None and len(used) > self.max_edges):
            return False
        return self.max_inputs is None or all(
            sum(b == node for _, b in used) <= self.max_inputs for node in range(1, self.n_nodes)
        )

    def graph(self, genes: Genes) -> Graph:
        genes = self.canonical(genes)
        used = self._used(genes)
        living = sorted(alive(self.n_nodes, used) | {0, self.n_nodes - 1})
        new = {node: i for i, node in enumerate(living)}
        names = ["input", *(self.nodes[i][genes[i]] for i in range(len(self.nodes))), "output"]
        return Graph(tuple(names[node] for node in living), tuple((new[a], new[b]) for a, b in used))

    def network(self, genes: Genes, input_shape: Shape, n_classes: int) -> Network:
        graph = self.graph(genes)
        build = Builder(input_shape)
        place = {0: build.add("conv", 0, units=self.channels, kernel=3, activation="relu")}
        for node, operation in enumerate(graph.operations[1:], start=1):
            here = build.total([place[a] for a, b in graph.edges if b == node], place[0])
            place[node] = here if operation == "output" else apply(build, operation, here, self.channels)
        build.add("dense", build.add("global", place[len(graph.operations) - 1]), units=n_classes)
        return build.network()

    def describe(self, genes: Genes) -> dict[str, Any]:
        return {
            "nodes": [self.nodes[i][genes[i]] for i in range(len(self.nodes))],
            "edges": [[a, b] for a, b in self._used(genes)],
        }

    def read(self, said: Mapping[str, Any]) -> Genes:
        nodes, edges = said.get("nodes"), said.get("edges")
        if not isinstance(nodes, list) or len(nodes) != len(self.nodes) or not isinstance(edges, list):
            raise Invalid(f"an architecture of this space has {len(self.nodes)} nodes and a list of edges")
        given = {tuple(edge) for edge in edges if isinstance(edge, list)}
        if len(given) != len(edges) or given - set(self.edges):
            raise Invalid(f"edges lead from lower to higher nodes of 0 to {self.n_nodes - 1}")
        first = [_place(names, one, f"nodes/{i}") for i, (names, one) in enumerate(zip(self.nodes, nodes, strict=True))]
        return self.canonical((*first, *(int(edge in given) for edge in self.edges)))

    def to_json(self) -> dict[str, Any]:
        rules = {"max_edges": self.max_edges, "max_inputs": self.max_inputs}
        said = {"type": self.type, "nodes": [list(one) for one in self.nodes], "channels": self.channels}
        return said | {name: rule for name, rule in rules.items() if rule is not None} | _limit(self)


@lru_cache(200_000)
def _canonical_graph(space: GraphSpace, genes: Genes) -> Genes:
    n = len(space.nodes)
    living = alive(space.n_nodes, space._used(genes))
    edges = [(a, b) for a, b in space._used(genes) if a in living and b in living]
    operations = [gene if i + 1 in living else 0 for i, gene in enumerate(genes[:n])]
    found = []
    for new in orders(space.n_nodes, edges):
        if any(space.nodes[i] != space.nodes[new[i + 1] - 1] for i in range(n)):
            continue  # nodes with other choices are no copies of each other
        renamed = [0] * n
        for i, gene in enumerate(operations):
            renamed[new[i + 1] - 1] = gene
        there = {(new[a], new[b]) for a, b in edges}
        found.append((*renamed, *(int(edge in there) for edge in space.edges)))
    return min(found)


def apply(build: Builder, operation: str, start: int, width: int) -> int:
    """Adds what an operation does."""
    op, kernel = OPERATIONS[operation]
    if op == "skip":
        return start
    if op in ("conv", "sepconv"):
        return build.add(op, start, units=width, kernel=kernel, activation="relu")
    return build.add(op, start, kernel=kernel)


def _chain(operations: list[str]) -> Graph:
    return Graph(("input", *operations, "output"), tuple((i, i + 1) for i in range(len(operations) + 1)))


def _limit(space: Space) -> dict[str, Any]:
    return {} if space.max_parameters is None else {"max_parameters": space.max_parameters}


def _place(names: tuple[Any, ...], one: Any, where: str) -> int:
    for i, name in enumerate(names):
        if type(name) is type(one) and name == one:
            return i
    raise Invalid(f"{where} is one of {', '.join(map(str, names))}; got {one!r}")


# --- from JSON --------------------------------------------------------------------------------------------------

#: Of each type, the fields it takes beside `type` and `max_parameters`.
FIELDS = {
    "cell": {"nodes", "operations", "channels", "cells"},
    "mlp": {"max_depth", "widths", "activations"},
    "cnn": {"max_depth", "widths", "kernels"},
    "graph": {"nodes", "max_edges", "max_inputs", "channels"},
}


def space_from_json(said: Mapping[str, Any]) -> Space:
    """Raises: InvalidSpace, naming the place."""
    kind = said.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise InvalidSpace("/type", f"is one of {', '.join(FIELDS)}; got {kind!r}")
    for name in said:
        if name not in FIELDS[kind] | {"type", "max_parameters"}:
            raise InvalidSpace(f"/{name}", f"a space of type {kind} has no such field; it takes {sorted(FIELDS[kind])}")
    limit = None if said.get("max_parameters") is None else _int(said, "max_parameters", 1, 2**53)
    if kind == "cell":
        operations = _names(said, "operations", OPERATIONS, ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"])
        return CellSpace(
            _int(said, "nodes", 2, MAX_NODES, 4), operations, _int(said, "channels", 1, 1024, 8),
            _int(said, "cells", 1, 16, 1), max_parameters=limit,
        )  # fmt: skip
    if kind == "mlp":
        return MlpSpace(
            _int(said, "max_depth", 1, 32, 3), _ints(said, "widths", [16, 32, 64, 128], 65_536),
            _names(said, "activations", ACTIVATIONS, ["relu", "tanh"], least=1), max_parameters=limit,
        )  # fmt: skip
    if kind == "cnn":
        kernels = _ints(said, "kernels", [1, 3, 5], 15)
        if any(kernel % 2 == 0 for kernel in kernels):
            raise InvalidSpace("/kernels", f"kernels are odd; got {list(kernels)}")
        return CnnSpace(
            _int(said, "max_depth", 1, 32, 4), _ints(said, "widths", [8, 16, 32], 4096), kernels, max_parameters=limit
        )
    nodes = said.get("nodes")
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= MAX_NODES:
        raise InvalidSpace("/nodes", f"is a list of 1 to {MAX_NODES} nodes, each a list of operations; got {nodes!r}")
    known = {name: what for name, what in OPERATIONS.items() if name != "none"}
    read = tuple(
        _names({"nodes": one}, "nodes", known, [], least=1, place=f"/nodes/{i}") for i, one in enumerate(nodes)
    )
    return GraphSpace(
        read,
        None if said.get("max_edges") is None else _int(said, "max_edges", 1, 1000),
        None if said.get("max_inputs") is None else _int(said, "max_inputs", 1, 1000),
        _int(said, "channels", 1, 1024, 8),
        max_parameters=limit,
    )


def _int(said: Mapping[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    value = said.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidSpace(f"/{name}", f"is a whole number from {low} to {high}; got {value!r}")
    return value


def _ints(said: Mapping[str, Any], name: str, default: list[int], high: int) -> tuple[int, ...]:
    values = said.get(name, default)
    if (
        not isinstance(values, list)
        or not 1 <= len(values) <= MAX_CHOICES
        or len({str(v) for v in values}) < len(values)
    ):
        raise InvalidSpace(f"/{name}", f"is a list of 1 to {MAX_CHOICES} different whole numbers; got {values!r}")
    for i, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
            raise InvalidSpace(f"/{name}/{i}", f"is a whole number from 1 to {high}; got {value!r}")
    return tuple(values)


def _names(
    said: Mapping[str, Any], name: str, known: Any, default: list[str], *, least: int = 2, place: str = ""
) -> tuple[str, ...]:
    values = said.get(name, default)
    place = place or f"/{name}"
    if not isinstance(values, list) or not least <= len(values) <= MAX_CHOICES:
        raise InvalidSpace(place, f"is a list of at least {least} of {', '.join(known)}; got {values!r}")
    for i, value in enumerate(values):
        if not isinstance(value, str) or value not in known:
            raise InvalidSpace(f"{place}/{i}", f"is one of {', '.join(known)}; got {value!r}")
    if len(set(values)) < len(values):
        raise InvalidSpace(place, f"names something twice: {values!r}")
    return tuple(values)
