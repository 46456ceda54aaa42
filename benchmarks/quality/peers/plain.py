"""The two that learn nothing: independent of our core, so that it is measured against something it cannot bend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params, of_units


class Random(Peer):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.rng = np.random.default_rng(task.seed)
        self.n_trials = 0

    def units(self, n: int) -> list[list[float]]:
        drawn: list[list[float]] = self.rng.random((n, len(self.task.space))).tolist()
        return drawn

    def ask(self, n: int) -> list[tuple[int, Params]]:
        self.n_trials += n
        points = [of_units(self.task.space, units) for units in self.units(n)]
        return list(enumerate(points, start=self.n_trials - n))

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        pass

    def add(self, trials: Sequence[tuple[Params, Sequence[float]]]) -> None:
        pass


class Sobol(Random):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        from scipy.stats import qmc

        self.sequence = qmc.Sobol(len(task.space), rng=task.seed)

    def units(self, n: int) -> list[list[float]]:
        drawn: list[list[float]] = [self.sequence.random(1)[0].tolist() for _ in range(n)]
        return drawn
