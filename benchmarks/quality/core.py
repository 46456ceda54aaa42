"""Run the numeric core in-process against an ask/tell scorer: no server, no HTTP.

    METATUNE_SCORERS=<folder with run_quality.py> python benchmarks/quality/core.py --groups bbob5 --seeds 3 --out OUT

All further options are those of the scorer's `run_quality.py`; its `analyze.py` then compares OUT with its peers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.search.space import Categorical, Float, Int, Parameter, SearchSpace  # noqa: E402
from app.search.suggest import Goal, History, Record, suggest  # noqa: E402


class CorePeer:
    """The scorer's optimizer protocol: ask for configurations, tell values, in any order; minimised."""

    name = "core"
    algorithm = "auto"

    def __init__(self, space: Any, seed: int, batch: int = 1) -> None:
        self.space = SearchSpace({parameter.name: _translated(parameter) for parameter in space})
        self.goal = Goal(("minimize",))
        self.seed = seed
        self.history = History.of(self.space, self.goal, [])
        self.n_handed_out = 0
        self.last: dict[str, Any] = {}
        self.pending: dict[str, list[int]] = {}

    def ask(self, n: int = 1) -> list[dict[str, Any]]:
        found = suggest(
            self.space,
            self.goal,
            self.history,
            count=n,
            seed=self.seed,
            first_number=self.n_handed_out + 1,
            algorithm=self.algorithm,
        )
        points = [point.params for point in found.points]
        while len(points) < n:  # the protocol wants n configurations, also of an exhausted space
            points.append(points[-1] if points else self.last)
        records = []
        for params in points:
            self.n_handed_out += 1
            self.last = params
            self.pending.setdefault(self.space.key(params), []).append(self.n_handed_out)
            records.append(Record(self.n_handed_out, params, "pending"))
        self.history = self.history.grown(records)
        return points

    def tell(self, config: dict[str, Any], value: float) -> None:
        waiting = self.pending.get(self.space.key(config))
        if not waiting:
            self.n_handed_out += 1
        number = waiting.pop(0) if waiting else self.n_handed_out
        record = Record(number, config, "complete", (float(value),))
        self.history = self.history.grown([record])


def _translated(parameter: Any) -> Parameter:
    when = {parameter.cond[0]: tuple(parameter.cond[1])} if parameter.cond else None
    scale = "log" if parameter.log else "linear"
    if parameter.kind == "float":
        return Float(parameter.low, parameter.high, scale, when=when)
    if parameter.kind == "int":
        return Int(int(parameter.low), int(parameter.high), scale, when=when)
    return Categorical(tuple(parameter.choices), when=when)


def main() -> None:
    sys.path.insert(0, os.environ["METATUNE_SCORERS"])
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import protocol
    import run_quality

    protocol.REGISTRY["core"] = ("core", "CorePeer", ())
    sys.argv += ["--peer", "core"]
    run_quality.main()


if __name__ == "__main__":
    main()
