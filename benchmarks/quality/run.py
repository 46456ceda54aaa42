"""Runs the peers on the problems: `make bench-quality`. Every finished run is a line of `<out>/<peer>.jsonl`.

Runs that are there are not run again, so that an interruption costs one run; a longer run of the same kind counts. All
peers get the same number of evaluations and do not know it beforehand. Seeds come before problems, and problems of all
groups take turns: whoever stops early has an even part of everything.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.quality.child import ROOT, Child, ChildError
from benchmarks.quality.peer import PEERS

RESULTS = ROOT / "benchmarks" / "results" / "quality"
PROBLEMS = "benchmarks.quality.problems"


@dataclass(frozen=True)
class Cell:
    """One run. `batch`: so many are asked for at once and told together. `pending`: so many are out at all times."""

    split: str
    group: str
    problem: str
    seed: int
    batch: int = 1
    pending: int = 1

    @property
    def width(self) -> int:
        return max(self.batch, self.pending)


def cells(
    splits: Sequence[str],
    groups: Sequence[str],
    seeds: Sequence[int],
    batch: int = 1,
    pending: int = 1,
    problems: Sequence[str] = (),
) -> Iterator[Cell]:
    """Seed by seed, the groups' problems in turn; no groups, no problems: all of them."""
    from benchmarks.quality.problems import SPLITS

    for seed in seeds:
        lists = [
            [Cell(split, group, name, seed, batch, pending) for name in names if not problems or name in problems]
            for split in splits
            for group, names in SPLITS[split].items()
            if not groups or group in groups
        ]
        places = [((k + 0.5) / len(some), j, cell) for j, some in enumerate(lists) for k, cell in enumerate(some)]
        yield from (cell for *_, cell in sorted(places, key=lambda place: place[:2]))


class Results:
    """The lines of one peer."""

    def __init__(self, folder: Path, peer: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{peer}.jsonl"
        self._n_evaluations: dict[Cell, int] = {}
        if self._path.exists():
            for line in self._path.read_text().splitlines():
                self._note(json.loads(line))

    def _note(self, run: dict[str, Any]) -> None:
        cell = Cell(**run["cell"])
        self._n_evaluations[cell] = max(self._n_evaluations.get(cell, 0), run["n_asked_for"])

    def has(self, cell: Cell, n_evaluations: int) -> bool:
        return self._n_evaluations.get(cell, 0) >= n_evaluations

    def append(self, run: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(run) + "\n")
        self._note(run)


class Runner:
    """One peer's process and the problems' one, kept from run to run while nothing goes wrong."""

    def __init__(self, peer: str, most_seconds: float) -> None:
        self.peer, self.most_seconds = peer, most_seconds
        self._problems = Child("problems", PROBLEMS)
        self._optimiser: Child | None = None

    def close(self) -> None:
        self._problems.close()
        self._close_optimiser()

    def _close_optimiser(self) -> None:
        if self._optimiser is not None:
            self._optimiser.close()
            self._optimiser = None

    def can(self, problem: dict[str, Any]) -> bool:
        entry = PEERS[self.peer]
        return problem["n_objectives"] <= entry.n_objectives and (entry.has_limits or not problem["limits"])

    def run(self, cell: Cell, n_evaluations: int) -> dict[str, Any] | None:
        """What is written of a run; None, if the peer cannot pursue the problem."""
        problem = self._problems.call("load", name=cell.problem, seed=cell.seed)
        if not self.can(problem):
            return None
        started = time.perf_counter()
        run: dict[str, Any] = {
            "peer": self.peer, "cell": asdict(cell), "n_asked_for": n_evaluations,
            "date": datetime.now(UTC).date().isoformat(), "n_parameters": len(problem["space"]),
            **{name: problem[name] for name in ("n_objectives", "limits", "optimum", "reference", "is_log")},
            **{name: [] for name in ("values", "true", "outcomes", "ask_ms", "tell_ms")},
        }  # fmt: skip
        try:
            self._optimise(cell, problem, n_evaluations, run)
        except ChildError as error:  # a peer's own; what it did before counts
            run["error"] = str(error)
            self._close_optimiser()
        if PEERS[self.peer].grows:
            self._close_optimiser()
        run["seconds"] = round(time.perf_counter() - started, 2)
        return run

    def _optimise(self, cell: Cell, problem: dict[str, Any], n_evaluations: int, run: dict[str, Any]) -> None:
        if self._optimiser is None:
            self._optimiser = Child(PEERS[self.peer].environment, "benchmarks.quality.peer", self.peer)
        optimiser = self._optimiser
        task = {name: problem[name] for name in ("space", "n_objectives", "limits")}
        run["versions"] = optimiser.call("make", **task, seed=cell.seed, width=cell.width)
        out: deque[tuple[int, dict[str, Any]]] = deque()
        n_asked, end = 0, time.perf_counter() + self.most_seconds
        while len(run["values"]) < n_evaluations:
            if time.perf_counter() > end:
                raise ChildError(f"stopped after {self.most_seconds:.0f} seconds")
            wanted = min(cell.width - len(out), n_evaluations - n_asked)
            if wanted and (cell.pending > 1 or not out):
                asked = optimiser.call("ask", n=wanted)
                run["ask_ms"].append(round(asked["cpu_ms"], 3))
                out.extend(asked["result"])
                n_asked += wanted
            some = [out.popleft() for _ in range(1 if cell.pending > 1 else len(out))]
            measured = [self._problems.call("measure", params=params) for _, params in some]
            results = [(number, m["values"], m["outcomes"]) for (number, _), m in zip(some, measured, strict=True)]
            run["tell_ms"].append(round(optimiser.call("tell", results=results)["cpu_ms"], 3))
            for name in ("values", "true", "outcomes"):
                run[name] += [m[name] for m in measured]


def run_all(
    peers: Sequence[str], todo: Sequence[Cell], n_evaluations: int, out: Path, most_seconds: float = 3600.0
) -> None:
    """Peers in turn, so that the figures of a shared machine are of the same minutes."""
    left = {peer: deque(todo) for peer in peers}
    results = {peer: Results(out, peer) for peer in peers}
    runners: dict[str, Runner] = {}
    try:
        while any(left.values()):
            for peer in peers:
                cell = _next(left[peer], results[peer], n_evaluations)
                if cell is None:
                    continue
                if peer not in runners:
                    runners[peer] = Runner(peer, most_seconds)
                run = runners[peer].run(cell, n_evaluations)
                if run is not None:
                    results[peer].append(run)
                    print(_line(run), flush=True)
    finally:
        for runner in runners.values():
            runner.close()


def _next(left: deque[Cell], results: Results, n_evaluations: int) -> Cell | None:
    while left:
        cell = left.popleft()
        if not results.has(cell, n_evaluations):
            return cell
    return None


def _line(run: dict[str, Any]) -> str:
    best = min((true[0] for true in run["true"]), default=float("nan"))
    shown = f"{run['peer']:15} {run['cell']['problem']:24} seed {run['cell']['seed']}"
    return f"{shown} n {len(run['values'])} lowest {best:.4g} in {run['seconds']:.0f} s {run.get('error', '')}"


def words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=words, default=["metatune", "random", "sobol"], help=", ".join(PEERS))
    parser.add_argument("--groups", type=words, default=[], help="of problems.py; all by default")
    parser.add_argument("--problems", type=words, default=[], help="some of them by name, for peers that take hours")
    parser.add_argument("--splits", type=words, default=["development", "held-out"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evals", type=int, default=50)
    parser.add_argument("--batch", type=int, default=1, help="ask for so many at once")
    parser.add_argument("--pending", type=int, default=1, help="keep so many out at all times")
    parser.add_argument("--most-seconds", type=float, default=3600.0, help="of one run; what it has until then counts")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if unknown := [peer for peer in given.peers if peer not in PEERS]:
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if given.batch > 1 and given.pending > 1:
        sys.exit("either in batches or with pending trials")
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    todo = list(cells(given.splits, given.groups, seeds, given.batch, given.pending, given.problems))
    if not todo:
        sys.exit("there is no such problem in these splits and groups; benchmarks/quality/problems.py has their names")
    run_all(given.peers, todo, given.evals, given.out, given.most_seconds)


if __name__ == "__main__":
    main()
