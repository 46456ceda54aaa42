"""Architecture searches: `client.nas.search(...)` submits one, and says how it stands and what it found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from metatune.errors import MetatuneError
from metatune.wire import Request, creating, given

if TYPE_CHECKING:
    from metatune.connection import Connection

SEARCHES = "/v1/nas/searches"
POLL_SECONDS = 1.0
UNFINISHED = ("queued", "running")


class SearchFailed(MetatuneError):
    """The search came to no result: its reason, in the server's words."""


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


def printed(info: Mapping[str, Any]) -> None:
    """One line on standard error, written over as the search goes on."""
    end = "\r" if info["state"] in UNFINISHED else "\n"
    sys.stderr.write(f"{info['name']}: {info['state']}, {info['progress']:4.0%}{end}")
    sys.stderr.flush()


@dataclass(frozen=True)
class Search:
    """One search."""

    _connection: Connection
    name: str

    def info(self) -> dict[str, Any]:
        """How it stands: state, progress, attempts, the last lines of its log, and the result once there is one."""
        return dict(self._send())

    def wait(self, progress: Callable[[Mapping[str, Any]], None] = printed) -> Search:
        """Returns when it is done.  Raises: SearchFailed, if it failed or was cancelled."""
        while True:
            info = self.info()
            progress(info)
            if info["state"] not in UNFINISHED:
                break
            time.sleep(POLL_SECONDS)
        if info["state"] != "succeeded":
            raise SearchFailed(f"search {self.name!r} is {info['state']}: {info['error'] or 'by somebody'}")
        return self

    @property
    def best(self) -> dict[str, Any] | None:
        """The architecture with the best believed reward so far."""
        found: dict[str, Any] | None = self._send("pareto")["best"]
        return found

    def pareto(self, penalty: float | None = None) -> list[dict[str, Any]]:
        """The front of metric against complexity, the smallest first; rewards by another penalty, if one is given."""
        return list(self._send("pareto", **given(penalty=penalty))["items"])

    def architectures(self, penalty: float | None = None) -> Iterator[dict[str, Any]]:
        """Every architecture with its evaluations, best reward first."""
        return self._connection.items(self._path("architectures"), penalty=penalty)

    def download(self, path: str | Path) -> Path:
        """Writes the trained network, a zip of weights.npz and network.json.  Raises: Conflict, until it is trained."""
        content = self._connection.send(Request("GET", self._path("model"), is_bytes=True))
        path = Path(path)
        path.write_bytes(content)
        return path

    def predict(self, x: Any) -> list[dict[str, Any]]:
        """Label and probabilities of each example."""
        examples = x.tolist() if hasattr(x, "tolist") else x
        answer = self._connection.send(Request("POST", self._path("predict"), json={"x": examples}))
        return list(answer["predictions"])

    def cancel(self) -> dict[str, Any]:
        return dict(self._connection.send(Request("POST", self._path("cancel"), json={})))

    def delete(self) -> None:
        self._connection.send(Request("DELETE", self._path()))

    def _send(self, *rest: str, **query: Any) -> Any:
        return self._connection.send(Request("GET", self._path(*rest), query=query))

    def _path(self, *rest: str) -> str:
        return "/".join([SEARCHES, quote(self.name, safe=""), *rest])
