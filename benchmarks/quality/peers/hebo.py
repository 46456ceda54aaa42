"""HEBO; it has no conditional parameters, and choices are texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO

from benchmarks.quality.peer import Peer, Task
from benchmarks.quality.spaces import Params, filled, legal


class Hebo(Peer):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        np.random.seed(task.seed)  # it draws from there
        torch.manual_seed(task.seed)
        torch.set_num_threads(1)
        space = DesignSpace().parse([_parameter(name, p) for name, p in task.space.items()])
        self.optimizer = HEBO(space, scramble_seed=task.seed)
        self.out: list[Params] = []

    def ask(self, n: int) -> list[tuple[int, Params]]:
        rows = self.optimizer.suggest(n_suggestions=n).to_dict("records")
        points = [legal(self.task.space, row) for row in rows]
        self.out += points
        return list(enumerate(points, start=len(self.out) - n))

    def tell(self, number: int, values: Sequence[float], outcomes: Sequence[float]) -> None:
        row = filled(self.task.space, self.out[number])
        categories = [name for name, parameter in self.task.space.items() if parameter["type"] == "categorical"]
        row |= {name: str(row[name]) for name in categories}
        self.optimizer.observe(pd.DataFrame([row]), np.array([[float(values[0])]]))


def _parameter(name: str, parameter: Any) -> dict[str, Any]:
    if parameter["type"] == "categorical":
        return {"name": name, "type": "cat", "categories": [str(choice) for choice in parameter["choices"]]}
    is_log = parameter["scale"] == "log"
    kinds = {("float", False): "num", ("float", True): "pow", ("int", False): "int", ("int", True): "pow_int"}
    kind = kinds[parameter["type"], is_log]
    return {
        "name": name, "type": kind, "lb": parameter["low"], "ub": parameter["high"], **({"base": 10} if is_log else {})
    }  # fmt: skip
