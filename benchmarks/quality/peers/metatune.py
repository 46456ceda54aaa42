"""Our own core, in process: no server and no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from app.search.space import SearchSpace
from app.search.suggest import Goal, History, Record, suggest
from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params


class Auto(Peer):
    algorithm: ClassVar[str] = "auto"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.space = SearchSpace.from_json(task.space)
        outcomes = tuple(("at_most", limit) for limit in task.limits)
        self.goal = Goal(("minimize",) * task.n_objectives, outcomes)  # type: ignore[arg-type]
        self.history = History.of(self.space, self.goal, [])
        self.n_trials = 0
        self.out: dict[int, Params] = {}

    def ask(self, n: int) -> list[tuple[int, Params]]:
        found = suggest(
            self.space, self.goal, self.history, count=n, seed=self.task.seed, first_number=self.n_trials + 1,
            algorithm=self.algorithm,
        )  # fmt: skip
        points = [dict(point.params) for point in found.points]
        if len(points) < n:
            raise RuntimeError("the space is exhausted")
        numbered = list(enumerate(points, start=self.n_trials + 1))
        self.n_trials += n
        self.out |= dict(numbered)
        self.history = self.history.grown([Record(number, params, "pending") for number, params in numbered])
        return numbered

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        record = Record(number, self.out.pop(number), "complete", tuple(values), tuple(outcomes) or None)
        self.history = self.history.grown([record])

    def add(self, trials: Sequence[tuple[Params, Sequence[float]]]) -> None:
        records = [
            Record(number, params, "complete", tuple(values))
            for number, (params, values) in enumerate(trials, start=self.n_trials + 1)
        ]
        self.n_trials += len(records)
        self.history = self.history.grown(records)


class Tpe(Auto):
    algorithm = "tpe"


class Cmaes(Auto):
    algorithm = "cmaes"


class Nsga2(Auto):
    algorithm = "nsga2"
