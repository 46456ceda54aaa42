"""Architecture searches: `client.nas.search(...)` submits one, and says how it stands and what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatune.job import Job
from metatune.npz import listed
from metatune.wire import Request, creating, given

if TYPE_CHECKING:
    from metatune.connection import Connection

SEARCHES = "/v1/nas/searches"


@dataclass(frozen=True)
class Searches:
    """The searches of a project."""

    _connection: Connection

    def search(
        self,
        name: str | None = None,
        *,
        space: Mapping[str, Any],
        evaluator: Mapping[str, Any],
        strategy: str | Mapping[str, Any] | None = None,
        reward: Mapping[str, Any] | None = None,
        budget: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Search:
        """Submits a search, or finds the one of that name with the same body. It runs at the server: nobody need wait.

        Raises: Invalid, naming each wrong field; Conflict, if the name is another search's.
        """
        body = given(name=name, strategy=strategy, reward=reward, budget=budget, seed=seed)
        document = self._connection.send(creating(SEARCHES, {**body, "space": space, "evaluator": evaluator}))
        return Search(self._connection, document["name"])

    def get(self, name: str) -> Search:
        """Raises: NotFound."""
        found = Search(self._connection, name)
        found.info()
        return found

    def __iter__(self) -> Iterator[Search]:
        for document in self._connection.items(SEARCHES):
            yield Search(self._connection, document["name"])


@dataclass(frozen=True)
class Search(Job):
    """One search."""

    _kind = "search"
    _collection = SEARCHES

    @property
    def best(self) -> dict[str, Any] | None:
        """The architecture with the best believed reward so far."""
        found: dict[str, Any] | None = self._ask("GET", "pareto")["best"]
        return found

    def pareto(self, penalty: float | None = None) -> list[dict[str, Any]]:
        """The front of metric against complexity, the smallest first; rewards by another penalty, if one is given."""
        return list(self._ask("GET", "pareto", **given(penalty=penalty))["items"])

    def architectures(self, penalty: float | None = None) -> Iterator[dict[str, Any]]:
        """Every architecture with its evaluations, best reward first."""
        return self._connection.items(self._path("architectures"), penalty=penalty)

    def download(self, path: str | Path) -> Path:
        """Writes the trained network: a zip of weights.npz and network.json; to a name that ends in .onnx, as ONNX.

        Raises: Conflict, until it is trained.
        """
        path = Path(path)
        query = {"format": "onnx"} if path.suffix == ".onnx" else {}
        content = self._connection.send(Request("GET", self._path("model"), query=query, is_bytes=True))
        path.write_bytes(content)
        return path

    def predict(self, x: Any) -> list[dict[str, Any]]:
        """Label and probabilities of each example."""
        return list(self._ask("POST", "predict", json={"x": listed(x)})["predictions"])
