"""`cell`: a DAG whose edges do something, stacked to a network."""

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
        return self.canonical(tuple(place_of(self.operations, edges[name], name) for name in wanted))

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "nodes": self.nodes, "operations": list(self.operations), "channels": self.channels,
                "cells": self.cells} | limit_of(self)  # fmt: skip


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
