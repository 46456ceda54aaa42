"""What all spaces of architectures share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from app.errors import FieldError, Invalid
from app.nas.graphs import Graph
from app.nas.network import Network, Shape

Genes = tuple[int, ...]

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


def limit_of(space: Space) -> dict[str, Any]:
    return {} if space.max_parameters is None else {"max_parameters": space.max_parameters}


def place_of(names: tuple[Any, ...], one: Any, where: str) -> int:
    for i, name in enumerate(names):
        if type(name) is type(one) and name == one:
            return i
    raise Invalid(f"{where} is one of {', '.join(map(str, names))}; got {one!r}")
