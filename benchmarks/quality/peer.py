"""The optimisers by name, and the side of one that `run.py` asks: `python -m benchmarks.quality.peer optuna-tpe`.

Each runs as its documentation recommends for ask and tell, with its defaults otherwise. Where a peer has no conditional
parameters it is shown all of them and told the middle for those that are not active; where it has no measured outcomes,
or no second objective, it does not run on such problems.
"""

from __future__ import annotations

import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.quality.child import ROOT, serve
from benchmarks.quality.spaces import Params, Space


@dataclass(frozen=True)
class Task:
    """What a peer knows of a problem: everything is minimised, every outcome to be at most its limit.

    width: how many trials may be out at a time.
    """

    space: Space
    n_objectives: int
    limits: tuple[float, ...]
    seed: int
    width: int


class Peer(ABC):
    """An optimiser with trials out for evaluation, by its own numbers."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def ask(self, n: int) -> list[tuple[int, Params]]:
        """n trials to evaluate next."""

    @abstractmethod
    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None: ...

    def add(self, trials: Sequence[tuple[Params, Sequence[float]]]) -> None:
        """Trials that it did not ask for, as a bulk import."""
        raise NotImplementedError(f"{type(self).__name__} takes no trials that it did not ask for")


@dataclass(frozen=True)
class Entry:
    """Where a peer is, what makes its results, and what it can pursue; `grows`: each run needs a process of its own."""

    module: str
    make: str
    environment: str
    packages: tuple[str, ...]
    n_objectives: int = 1
    has_limits: bool = False
    grows: bool = False


PEERS: dict[str, Entry] = {
    "metatune": Entry("metatune", "Auto", "", ("numpy", "scipy"), 16, True),
    "metatune-tpe": Entry("metatune", "Tpe", "", ("numpy", "scipy"), 16, True),
    "metatune-cmaes": Entry("metatune", "Cmaes", "", ("numpy", "scipy", "cmaes"), 1, True),
    "metatune-nsga2": Entry("metatune", "Nsga2", "", ("numpy", "scipy"), 16, True),
    "random": Entry("plain", "Random", "", ("numpy",), 16, True),
    "sobol": Entry("plain", "Sobol", "", ("scipy",), 16, True),
    "optuna-tpe": Entry("optuna", "Tpe", "optuna", ("optuna",), 16, True),
    "optuna-gp": Entry("optuna", "Gp", "optuna", ("optuna", "torch", "scipy"), 4, True),
    "optuna-cmaes": Entry("optuna", "Cmaes", "optuna", ("optuna", "cmaes")),
    "optuna-nsga2": Entry("optuna", "Nsga2", "optuna", ("optuna",), 16, True),
    "ax": Entry("ax", "Ax", "ax", ("ax-platform", "botorch", "gpytorch", "torch"), 4, True),
    "hebo": Entry("hebo", "Hebo", "hebo", ("HEBO", "gpytorch", "torch", "pymoo")),
    "smac": Entry("smac", "Smac", "smac", ("smac", "ConfigSpace")),
    "vizier": Entry("vizier", "Vizier", "vizier", ("google-vizier", "jax"), grows=True),  # 2 GB a run
}


def versions(name: str) -> dict[str, str]:
    """Of the packages that make a peer's results; of ours, the commit."""
    found = {}
    for package in PEERS[name].packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    if PEERS[name].module == "metatune":
        found["metatune"] = _commit()
    return found


@cache
def _commit() -> str:
    """Of the process's start: what is committed later is not what runs."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=ROOT, capture_output=True, text=True
    )
    return described.stdout.strip() or "unknown"


class Served:
    """One optimiser at a time, with the processor's time of every call, in ms."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._peer: Peer | None = None

    def make(self, **task: Any) -> dict[str, str]:
        entry = PEERS[self._name]
        kind = getattr(import_module(f"benchmarks.quality.peers.{entry.module}"), entry.make)
        self._peer = kind(Task(**{**task, "limits": tuple(task["limits"])}))
        return versions(self._name)

    def ask(self, n: int) -> dict[str, Any]:
        return _timed(lambda peer: peer.ask(n), self._peer)

    def tell(self, results: list[tuple[int, list[float], list[float]]]) -> dict[str, Any]:
        def tell_all(peer: Peer) -> None:
            for number, values, outcomes in results:
                peer.tell(number, values, outcomes)

        return _timed(tell_all, self._peer)

    def add(self, trials: list[tuple[Params, list[float]]]) -> dict[str, Any]:
        return _timed(lambda peer: peer.add(trials), self._peer)


def _timed(action: Callable[[Peer], Any], peer: Peer | None) -> dict[str, Any]:
    assert peer is not None
    started = time.process_time()
    result = action(peer)
    return {"result": result, "cpu_ms": 1000 * (time.process_time() - started)}


def main() -> None:
    served = Served(sys.argv[1])
    serve({"make": served.make, "ask": served.ask, "tell": served.tell, "add": served.add})


if __name__ == "__main__":
    main()
