"""Labelled directed acyclic graphs: what is alive in them, when two are the same, and what they look like."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Of the nodes between input and output, more are not permuted one by one: 120 orders at most.
MAX_PERMUTED = 5
_BOX = (96, 30)


@dataclass(frozen=True)
class Graph:
    """Node 0 is the input, the last one the output; edges go from lower to higher numbers."""

    operations: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    def labels(self, depth: int) -> list[str]:
        """Weisfeiler-Lehman labels of all nodes after 0 … depth rounds: a node's own and its predecessors', sorted.

        Source: Shervashidze et al. 2011; for architectures Ru et al. 2021 (NAS-BOWL).
        """
        before: list[list[int]] = [[] for _ in self.operations]
        for a, b in self.edges:
            before[b].append(a)
        found = list(self.operations)
        labels = list(found)
        for _ in range(depth):
            labels = [
                f"{label}({','.join(sorted(labels[a] for a in before[node]))})" if before[node] else label
                for node, label in enumerate(labels)
            ]
            found += labels
        return found


def alive(n_nodes: int, edges: Iterable[tuple[int, int]]) -> set[int]:
    """The nodes that lie on a way from the first to the last one."""
    edges = sorted(edges)
    forward, backward = {0}, {n_nodes - 1}
    for a, b in edges:
        if a in forward:
            forward.add(b)
    for a, b in sorted(edges, key=lambda edge: -edge[1]):
        if b in backward:
            backward.add(a)
    return forward & backward


def orders(n_nodes: int, edges: Sequence[tuple[int, int]]) -> Iterable[tuple[int, ...]]:
    """Every renumbering of the inner nodes that keeps edges going upward; only the given one of large graphs.

    Yields: the new number of each node.
    """
    inner = range(1, n_nodes - 1)
    if len(inner) > MAX_PERMUTED:
        yield tuple(range(n_nodes))
        return
    for order in itertools.permutations(inner):
        new = (0, *order, n_nodes - 1)
        if all(new[a] < new[b] for a, b in edges):
            yield new


def drawing(graph: Graph) -> str:
    """An SVG: layers from left to right by the longest way from the input."""
    rank = [0] * len(graph.operations)
    for a, b in sorted(graph.edges):
        rank[b] = max(rank[b], rank[a] + 1)
    rank[-1] = max(rank)
    columns: dict[int, list[int]] = {}
    for node, column in enumerate(rank):
        columns.setdefault(column, []).append(node)
    width, height = _BOX
    tall = max(len(nodes) for nodes in columns.values())
    place = {
        node: (20 + column * (width + 50), 20 + (row + (tall - len(nodes)) / 2) * (height + 24))
        for column, nodes in columns.items()
        for row, node in enumerate(nodes)
    }
    lines = [
        f'<path d="M{place[a][0] + width:.0f} {place[a][1] + height / 2:.0f} C{place[a][0] + width + 30:.0f} '
        f"{place[a][1] + height / 2:.0f} {place[b][0] - 30:.0f} {place[b][1] + height / 2:.0f} "
        f'{place[b][0]:.0f} {place[b][1] + height / 2:.0f}" fill="none" stroke="#667" marker-end="url(#tip)"/>'
        for a, b in graph.edges
    ]
    boxes = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" rx="6" fill="#eef" stroke="#446"/>'
        f'<text x="{x + width / 2:.0f}" y="{y + height / 2 + 4:.0f}" text-anchor="middle">'
        f"{html.escape(graph.operations[node])}</text>"
        for node, (x, y) in place.items()
    ]
    size = f"{40 + max(columns) * (width + 50) + width} {40 + tall * (height + 24) - 24}"
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#667"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="12">'
        f"{tip}{''.join(lines)}{''.join(boxes)}</svg>"
    )
