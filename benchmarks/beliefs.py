"""What a user's beliefs are worth: the best of so many trials without any, with right ones and with wrong ones.

A function of four parameters whose optimum is known. The right beliefs are near it and a little beside; the wrong ones
are at another corner of every parameter, and give the best choice no weight at all.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np

from app.search.space import SearchSpace
from app.search.suggest import Goal, History, Record, suggest

AT = (1, 5, 10, 15, 20, 25)
GOAL = Goal(("minimize",))
SPACE: dict[str, dict[str, Any]] = {
    "lr": {"type": "float", "low": 1e-5, "high": 1.0, "scale": "log"},
    "momentum": {"type": "float", "low": 0, "high": 1},
    "dropout": {"type": "float", "low": 0, "high": 1},
    "optimiser": {"type": "categorical", "choices": ["sgd", "adam", "lion"]},
}
BELIEFS: dict[str, dict[str, dict[str, Any]]] = {
    "none": {},
    "right": {
        "lr": {"type": "normal", "mean": 1.5e-3, "std": 4e-3},
        "momentum": {"type": "beta", "alpha": 7, "beta": 3},
        "dropout": {"type": "normal", "mean": 0.3, "std": 0.15},
        "optimiser": {"type": "weights", "weights": [1, 4, 1]},
    },
    "wrong": {
        "lr": {"type": "normal", "mean": 0.5, "std": 0.5},
        "momentum": {"type": "beta", "alpha": 2, "beta": 8},
        "dropout": {"type": "normal", "mean": 0.9, "std": 0.1},
        "optimiser": {"type": "weights", "weights": [1, 0, 4]},
    },
}


def loss(params: dict[str, Any]) -> float:
    """0 at lr = 1e-3, momentum .7, dropout .25 and adam, with ripples."""
    off = np.array([math.log10(params["lr"]) / 5 + 0.6, params["momentum"] - 0.7, params["dropout"] - 0.25])
    wrong = 0.25 * (params["optimiser"] != "adam")
    return float(off**2 @ [8.0, 3.0, 5.0] + wrong + 0.15 * np.abs(np.sin(9 * off)).sum())


def best_of(space: SearchSpace, seed: int) -> list[float]:
    history, values = History.of(space, GOAL, []), []
    for number in range(1, max(AT) + 1):
        params = suggest(space, GOAL, history, count=1, seed=seed, first_number=number).points[0].params
        values.append(loss(params))
        history = history.grown([Record(number, params, "complete", (values[-1],))])
    found: list[float] = np.minimum.accumulate(values).tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    print(f"median of {given.seeds} seeds, after  " + "  ".join(f"{n:6d}" for n in AT))
    for label, beliefs in BELIEFS.items():
        fields = {name: kind | ({"prior": beliefs[name]} if name in beliefs else {}) for name, kind in SPACE.items()}
        space = SearchSpace.from_json(fields)
        curve = np.median([best_of(space, seed) for seed in range(given.seeds)], axis=0)
        print(f"{label:26}" + "  ".join(f"{curve[n - 1]:6.3f}" for n in AT), flush=True)


if __name__ == "__main__":
    main()
