"""The same through a real server: past studies are imported and stopped, and the new one names them."""

from __future__ import annotations

import atexit
import itertools
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from benchmarks.server import Server
from benchmarks.transfer.tables import Params, Past

_numbers = itertools.count(1)


@cache
def client() -> httpx.Client:
    """Of a server on a SQLite file of its own, for as long as this process lives."""
    server = Server(Path(tempfile.mkdtemp(prefix="metatune-transfer-")))
    server.start()
    atexit.register(server.stop)
    return httpx.Client(base_url=f"{server.url}/v1/studies", timeout=120.0)


class OverHttp:
    def __init__(self, space: dict[str, Any], seed: int) -> None:
        self.http, self.space, self.seed = client(), space, seed
        self.name = f"new-{next(_numbers)}"
        self.sources: list[str] = []
        self.trial: dict[str, Any] = {}

    def warm_start(self, past: Past) -> None:
        for k, study in enumerate(past):
            name = f"{self.name}-past-{k}"
            known = {parameter for params, _ in study for parameter in params}
            space = {parameter: kind for parameter, kind in self.space.items() if parameter in known}
            self.call("PUT", f"/{name}", {"space": space, "algorithm": "random", "warm_start": "off"})
            self.call("POST", f"/{name}/trials", {"trials": [{"params": p, "value": loss} for p, loss in study]})
            self.call("PATCH", f"/{name}", {"state": "stopped"})
            self.sources.append(name)

    def ask(self) -> Params:
        if not self.trial:
            definition = {"space": self.space, "seed": self.seed, "warm_start": self.sources or "off"}
            self.call("PUT", f"/{self.name}", definition)
        (self.trial,) = self.call("POST", f"/{self.name}/ask", {"deadline_seconds": None})["trials"]
        params: Params = self.trial["params"]
        return params

    def tell(self, params: Params, loss: float) -> None:
        """Of what was asked for last."""
        self.call("POST", f"/{self.name}/trials/{self.trial['number']}/tell", {"value": loss})

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.request(method, path, json=body)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found
