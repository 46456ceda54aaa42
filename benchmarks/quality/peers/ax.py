"""Ax's client with its automatic choice: Sobol points, then a Gaussian process of BoTorch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params, legal

logging.disable(logging.WARNING)


class Ax(Peer):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        torch.manual_seed(task.seed)
        torch.set_num_threads(1)
        self.client = Client(random_seed=task.seed)
        self.client.configure_experiment(parameters=[_parameter(name, p) for name, p in task.space.items()])
        self.client.configure_optimization(
            objective=", ".join(f"-value{j}" for j in range(task.n_objectives)),
            outcome_constraints=[f"outcome{j} <= {limit}" for j, limit in enumerate(task.limits)],
        )

    def ask(self, n: int) -> list[tuple[int, Params]]:
        asked: list[tuple[int, Params]] = []
        while len(asked) < n:  # at the end of the Sobol points it hands out fewer
            found = self.client.get_next_trials(max_trials=n - len(asked))
            if not found:
                raise RuntimeError("no trial was handed out")
            asked += [(number, legal(self.task.space, params)) for number, params in found.items()]
        return asked

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        measured = {f"value{j}": float(value) for j, value in enumerate(values)}
        measured |= {f"outcome{j}": float(outcome) for j, outcome in enumerate(outcomes)}
        self.client.complete_trial(trial_index=number, raw_data=measured)


def _parameter(name: str, parameter: Any) -> Any:
    if parameter["type"] == "categorical":
        kind = {str: "str", bool: "bool", int: "int", float: "float"}[type(parameter["choices"][0])]
        return ChoiceParameterConfig(
            name=name, values=parameter["choices"], parameter_type=kind, is_ordered=False
        )  # fmt: skip
    return RangeParameterConfig(
        name=name, bounds=(parameter["low"], parameter["high"]), parameter_type=parameter["type"],
        scaling=parameter["scale"],
    )  # fmt: skip
