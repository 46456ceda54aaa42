"""SMAC's facade for hyperparameters: a random forest; conditional parameters are its home ground."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ConfigSpace import AndConjunction, Categorical, ConfigurationSpace, Float, InCondition, Integer
from smac import HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialValue

from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params, legal

logging.disable(logging.WARNING)

N_NEVER = 100_000  # trials: it may not stop by itself


class Smac(Peer):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        facade = HyperparameterOptimizationFacade
        scenario = Scenario(
            _space(task), deterministic=True, n_trials=N_NEVER, seed=task.seed,
            output_directory=Path(tempfile.mkdtemp(prefix="smac-")),
        )  # fmt: skip
        # by default the design grows with the budget, which an ask-and-tell user does not name
        design = facade.get_initial_design(scenario, n_configs=min(10, 2 + 2 * len(task.space)))
        self.optimizer = facade(
            scenario, lambda config, seed=0: 0.0, initial_design=design, overwrite=True, logging_level=False
        )
        self.out: list[Any] = []

    def ask(self, n: int) -> list[tuple[int, Params]]:
        asked = []
        for _ in range(n):
            self.out.append(self.optimizer.ask())
            asked.append((len(self.out) - 1, legal(self.task.space, dict(self.out[-1].config))))
        return asked

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        self.optimizer.tell(self.out[number], TrialValue(cost=float(values[0]), time=0.0), save=False)


def _space(task: Task) -> Any:
    space = ConfigurationSpace(seed=task.seed)
    parameters = {name: _parameter(name, parameter) for name, parameter in task.space.items()}
    space.add(list(parameters.values()))
    for name, parameter in task.space.items():
        conditions = [
            InCondition(parameters[name], parameters[parent], [str(value) for value in values])
            for parent, values in parameter.get("when", {}).items()
        ]
        if conditions:
            space.add(conditions[0] if len(conditions) == 1 else AndConjunction(*conditions))
    return space


def _parameter(name: str, parameter: Any) -> Any:
    if parameter["type"] == "categorical":
        return Categorical(name, [str(choice) for choice in parameter["choices"]])
    kind = Float if parameter["type"] == "float" else Integer
    return kind(name, (parameter["low"], parameter["high"]), log=parameter["scale"] == "log")
