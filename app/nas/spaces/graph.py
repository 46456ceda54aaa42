"""`graph`: a user's own nodes, operations and rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from app.errors import Invalid
from app.nas.graphs import Graph, alive, orders
from app.nas.network import Builder, Network, Shape
from app.nas.spaces.operations import apply
from app.nas.spaces.space import Genes, Space, limit_of, place_of


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
        first = [
            place_of(names, one, f"nodes/{i}") for i, (names, one) in enumerate(zip(self.nodes, nodes, strict=True))
        ]
        return self.canonical((*first, *(int(edge in given) for edge in self.edges)))

    def to_json(self) -> dict[str, Any]:
        rules = {"max_edges": self.max_edges, "max_inputs": self.max_inputs}
        said = {"type": self.type, "nodes": [list(one) for one in self.nodes], "channels": self.channels}
        return said | {name: rule for name, rule in rules.items() if rule is not None} | limit_of(self)


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
