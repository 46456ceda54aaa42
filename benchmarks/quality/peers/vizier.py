"""OSS Vizier's default designer, a Gaussian process with UCB and pure exploration, without its service."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"  # as its service does: in single precision its third suggestion is not a number

import jax
from vizier import algorithms
from vizier import pyvizier as vz
from vizier._src.algorithms.designers import gp_ucb_pe

from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params, legal

logging.disable(logging.WARNING)


class Vizier(Peer):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        statement = vz.ProblemStatement()
        for name, parameter in task.space.items():
            _add(statement.search_space.root, name, parameter)
        statement.metric_information.append(vz.MetricInformation("value", goal=vz.ObjectiveMetricGoal.MINIMIZE))
        self.designer = gp_ucb_pe.VizierGPUCBPEBandit(statement, rng=jax.random.PRNGKey(task.seed))
        self.out: dict[int, Any] = {}
        self.told: list[Any] = []
        self.n_trials = 0

    def ask(self, n: int) -> list[tuple[int, Params]]:
        self.designer.update(algorithms.CompletedTrials(self.told), algorithms.ActiveTrials(list(self.out.values())))
        self.told = []
        asked = []
        for suggestion in self.designer.suggest(n):
            self.n_trials += 1
            trial = self.out[self.n_trials] = suggestion.to_trial(self.n_trials)
            params = {name: trial.parameters[name].value for name in self.task.space}
            asked.append((self.n_trials, legal(self.task.space, params)))
        return asked

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        trial = self.out.pop(number)
        trial.complete(vz.Measurement({"value": float(values[0])}))
        self.told.append(trial)


def _add(root: Any, name: str, parameter: Any) -> None:
    if parameter["type"] == "categorical":
        root.add_categorical_param(name, [str(choice) for choice in parameter["choices"]])
        return
    scale = vz.ScaleType.LOG if parameter["scale"] == "log" else vz.ScaleType.LINEAR
    add = root.add_float_param if parameter["type"] == "float" else root.add_int_param
    add(name, parameter["low"], parameter["high"], scale_type=scale)
