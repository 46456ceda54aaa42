"""`mlp` and `cnn`: layers or blocks one after another, as many as the first gene says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from app.errors import Invalid
from app.nas.graphs import Graph
from app.nas.network import Builder, Network, Shape
from app.nas.spaces.space import Genes, Space, limit_of, place_of


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
        places = [place_of(self.widths, one, "widths") for one in widths]
        places += [0] * (self.max_depth - len(widths))
        last = place_of(self.activations, said.get("activation"), "activation")
        return self.canonical((len(widths), *places, last))

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "max_depth": self.max_depth, "widths": list(self.widths),
                "activations": list(self.activations)} | limit_of(self)  # fmt: skip


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
            genes += [
                place_of(self.widths, one.get("width"), "width"),
                place_of(self.kernels, one.get("kernel"), "kernel"),
                int(bool(one.get("skip"))),
            ]
        return self.canonical((*genes, *(0,) * (3 * (self.max_depth - len(blocks)))))

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "max_depth": self.max_depth, "widths": list(self.widths),
                "kernels": list(self.kernels)} | limit_of(self)  # fmt: skip


def _chain(operations: list[str]) -> Graph:
    return Graph(("input", *operations, "output"), tuple((i, i + 1) for i in range(len(operations) + 1)))
