"""What a search is about: a space, what a network costs, and what has been evaluated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from app.errors import Invalid
from app.nas.network import Network, Shape
from app.nas.proxies import promise
from app.nas.spaces import MAX_DRAWS, Genes, Space

#: Rounds over all genes in which the smallest and the largest network are looked for.
MAX_ROUNDS = 10


@dataclass(frozen=True)
class Told:
    """An evaluation in the order of submission. `value` is the metric; None: it failed, or is under way."""

    genes: Genes
    #: Which of the architecture's trainings: 0, 1, …
    repeat: int = 0
    epochs: int | None = None
    value: float | None = None
    is_pending: bool = False


@dataclass(frozen=True)
class Task:
    """What is to be evaluated next, and why."""

    genes: Genes
    repeat: int = 0
    epochs: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Problem:
    """`count` is a network's parameters, FLOPs or milliseconds, `parameters` what `max_parameters` limits."""

    space: Space
    count: Callable[[Genes], float]
    parameters: Callable[[Genes], float]
    penalty: float = 0.0
    #: What is expected of a network before any training: a proxy in standard deviations; 0 where there is none.
    promise: Callable[[Genes], float] = lambda genes: 0.0
    #: How many trainings there are of an architecture, all in all; None: as many as one likes.
    trainings: Callable[[Genes], int | None] = lambda genes: None
    #: The only architectures there are; None: all of the space.
    table: Collection[Genes] | None = None
    #: Spread over the front of metric against complexity, instead of going for one reward.
    front: bool = False
    _complexities: dict[Genes, float] = field(default_factory=dict, repr=False)

    @classmethod
    def of_networks(
        cls,
        space: Space,
        input_shape: Shape,
        n_classes: int,
        *,
        measure: Callable[[Network], float],
        penalty: float,
        front: bool = False,
    ) -> Problem:
        """Counted on the networks that would be trained.  Raises: Invalid, if they do not fit the examples."""
        counts: dict[Genes, tuple[float, int]] = {}

        def counted(genes: Genes) -> tuple[float, int]:
            if genes not in counts:
                network = space.network(genes, input_shape, n_classes)
                counts[genes] = (measure(network), network.parameters())
            return counts[genes]

        return cls(
            space,
            count=lambda genes: counted(genes)[0],
            parameters=lambda genes: counted(genes)[1],
            penalty=penalty,
            promise=lambda genes: promise(space, genes, input_shape),
            front=front,
        )

    @cached_property
    def range(self) -> tuple[float, float]:
        """The least and the most that a network of the space costs: found by climbing gene by gene."""
        if self.table is not None:
            counts = [self.count(genes) for genes in self.table]
            return min(counts), max(counts)
        return self._extreme(-1.0), self._extreme(1.0)

    def _extreme(self, sign: float) -> float:
        best = -np.inf
        for value in (0, -1):
            genes = self.space.canonical(tuple(value % n for n in self.space.choices))
            here = sign * self.count(genes)
            for _ in range(MAX_ROUNDS):
                found, genes = max((sign * self.count(one), one) for one in self.space.neighbours(genes))
                if found <= here:
                    break
                here = found
            best = max(best, here)
        return sign * best

    def complexity(self, genes: Genes) -> float:
        """In [0, 1] over the space."""
        if genes not in self._complexities:
            low, high = self.range
            self._complexities[genes] = (
                0.0 if high <= low else min(1.0, max(0.0, (self.count(genes) - low) / (high - low)))
            )
        return self._complexities[genes]

    def reward(self, genes: Genes, metric: float) -> float:
        return metric - self.penalty * self.complexity(genes)

    def is_allowed(self, genes: Genes) -> bool:
        """The hard rules, looked at before anything is evaluated."""
        if self.table is not None and genes not in self.table:
            return False
        limit = self.space.max_parameters
        return self.space.is_valid(genes) and (limit is None or self.parameters(genes) <= limit)

    def draw(self, rng: np.random.Generator, without: Collection[Genes] = ()) -> Genes | None:
        """A random allowed architecture beyond `without`; None, if none was met."""
        for _ in range(MAX_DRAWS):
            genes = self.space.sample(rng)
            if genes not in without and self.is_allowed(genes):
                return genes
        return None

    def check(self) -> None:
        """Raises: Invalid, for a space in which nothing is allowed, or whose networks do not fit the examples."""
        genes = self.draw(np.random.default_rng(0))
        if genes is not None:
            self.count(genes)
        else:
            least = "" if self.space.max_parameters is None else f"; the smallest network has {self.range[0]:.0f}"
            raise Invalid(f"no architecture of this space keeps its rules and max_parameters{least}")

    def neighbours(self, genes: Genes) -> list[Genes]:
        return [one for one in self.space.neighbours(genes) if self.is_allowed(one)]


@dataclass(frozen=True)
class Summary:
    """The evaluations of each architecture together, by the order of their first one."""

    genes: list[Genes]
    means: np.ndarray[tuple[int], np.dtype[np.float64]]
    #: The variance of each mean, in those of one training.
    noise: np.ndarray[tuple[int], np.dtype[np.float64]]

    @classmethod
    def of(cls, told: Sequence[Told], trainings: Callable[[Genes], int | None] = lambda genes: None) -> Summary:
        """Of finite values at the most epochs that an architecture came to.

        Of N trainings that there are, the mean of n is off by the noise of one times 1/n (1 − n/N): once all were seen,
        theirs is known.
        """
        values: dict[Genes, dict[int, list[float]]] = {}
        for one in told:
            if one.value is not None:
                values.setdefault(one.genes, {}).setdefault(one.epochs or 0, []).append(one.value)
        last = {genes: found[max(found)] for genes, found in values.items()}
        return cls(
            list(last),
            np.array([sum(one) / len(one) for one in last.values()]),
            np.array([_noise(len(one), trainings(genes)) for genes, one in last.items()]),
        )


def _noise(n: int, most: int | None) -> float:
    return 1.0 / n if most is None else max(0.0, 1.0 / n - 1.0 / most)
