"""How often warnings cry wolf, and how often they see the wolf: studies without a defect, and each defect planted.

    python -m benchmarks.advice [--seeds 50] [--trials 30]

Every study is tuned by the model itself, since tuned trials crowd around the optimum, which is where findings err.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.search.advice import Advice, Endings, Objective, advise
from app.search.history import Goal, History, Record
from app.search.importance import importance
from app.search.kernels import Embedding
from app.search.models import model
from app.search.quantities import objective_quantity
from app.search.space import Categorical, Float, Int, SearchSpace
from app.search.suggest import suggest

LOSS = Goal(("minimize",))
RESULTS = Path(__file__).parent / "results" / "advice.json"
Params = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A study: its loss, given the parameters and a generator made from the seed. planted: the code it must find."""

    name: str
    space: SearchSpace
    loss: Callable[[Params, np.random.Generator, np.random.Generator], float]
    planted: str | None = None


BOX = SearchSpace({"x": Float(-5, 10), "y": Float(0, 15)})
CUBE = SearchSpace({f"x{j}": Float(0, 1) for j in range(4)})
MIXED = SearchSpace(
    {
        "lr": Float(1e-5, 1e-1, "log"),
        "layers": Int(1, 8),
        "kind": Categorical(("sgd", "adam", "rms")),
        "momentum": Float(0, 0.99, when={"kind": ("sgd",)}),
    }
)


def branin(p: Params, here: np.random.Generator, _: np.random.Generator) -> float:
    x, y = p["x"], p["y"]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return float(bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


def inner_bowl(p: Params, here: np.random.Generator, _: np.random.Generator) -> float:
    """Its optimum lies anywhere in the middle three fifths; every parameter matters, none alone."""
    weights, optimum = here.uniform(0.5, 2.0, 4), here.uniform(0.2, 0.8, 4)
    off = np.array(list(p.values())) - optimum
    return float(weights @ off**2 + 0.5 * off[0] * off[1])


def noisy_bowl(p: Params, here: np.random.Generator, noise: np.random.Generator) -> float:
    return inner_bowl(p, here, noise) + 0.02 * float(noise.standard_normal())


def training(p: Params, here: np.random.Generator, noise: np.random.Generator) -> float:
    """Like a network's validation error."""
    optimum = here.uniform(-3.5, -2.0)
    value = 0.1 + 0.05 * (math.log10(p["lr"]) - optimum) ** 2 + 0.01 * (p["layers"] - 4) ** 2
    value += {"sgd": 0.05 + 0.1 * (p.get("momentum", 0) - 0.7) ** 2, "adam": 0.0, "rms": 0.03}[p["kind"]]
    return float(value + 0.003 * noise.standard_normal())


def slope(p: Params, here: np.random.Generator, _: np.random.Generator) -> float:
    off = np.array(list(p.values())) - np.array([1.3, 0.5, 0.4, 0.6])
    return float(off @ off)


def noise_alone(p: Params, here: np.random.Generator, noise: np.random.Generator) -> float:
    return inner_bowl(p, here, noise) + 3.0 * float(noise.standard_normal())


def idle(p: Params, here: np.random.Generator, _: np.random.Generator) -> float:
    off = np.array(list(p.values()))[:3] - here.uniform(0.2, 0.8, 3)
    return float(off @ off)


def coarse(p: Params, here: np.random.Generator, noise: np.random.Generator) -> float:
    return round(2 * inner_bowl(p, here, noise)) / 2


CASES = (
    Case("branin", BOX, branin),
    Case("bowl", CUBE, inner_bowl),
    Case("noisy bowl", CUBE, noisy_bowl),
    Case("training", MIXED, training),
    Case("optimum beyond a bound", CUBE, slope, "optimum-at-bound"),
    Case("noise", CUBE, noise_alone, "noise-exceeds-signal"),
    Case("idle parameter", CUBE, idle, "no-effect"),
    Case("coarse objective", CUBE, coarse, "plateau"),
)


def tuned(case: Case, n_trials: int, seed: int, algorithm: str = "gp") -> History:
    history = History.of(case.space, LOSS, [])
    noise = np.random.default_rng([seed, 1])
    for number in range(1, n_trials + 1):
        (point,) = suggest(
            case.space, LOSS, history, count=1, seed=seed, first_number=number, algorithm=algorithm
        ).points
        value = case.loss(point.params, np.random.default_rng([seed, 2]), noise)
        history = history.grown([Record(number, point.params, "complete", (value,))])
    return history


def findings(history: History, seed: int, *, is_guided: bool = True) -> list[Advice]:
    space = history.space
    modelled = model(history, Embedding.of(space), objective_quantity(history, 0), seed)
    objective = Objective("value", modelled, importance(space, modelled, seed=seed))
    endings = Endings(history.n_finished, 0, 0, 0, 0)
    return advise(space, LOSS, history, endings, [objective], ["value"], [], is_guided=is_guided, seed=seed)


def one(job: tuple[int, int, int]) -> list[str]:
    k, n_trials, seed = job
    return [
        f"{found.code} {found.parameter or ''}".strip() for found in findings(tuned(CASES[k], n_trials, seed), seed)
    ]


def measured(n_seeds: int, n_trials: int) -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(2) as pool:
        for k, case in enumerate(CASES):
            said = list(pool.map(one, [(k, n_trials, seed) for seed in range(n_seeds)]))
            counts = Counter(text for texts in said for text in set(texts))
            unexpected = [[t for t in texts if t.split()[0] not in (case.planted, "stagnation")] for texts in said]
            seen = sum(any(text.split()[0] == case.planted for text in texts) for texts in said)
            yield {
                "case": case.name,
                "planted": case.planted,
                "studies": n_seeds,
                "found": seen if case.planted else None,
                "with_a_false_alarm": sum(map(bool, unexpected)),
                "all": dict(counts.most_common()),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=30)
    given = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    rows = []
    for row in measured(given.seeds, given.trials):
        print(row, flush=True)
        rows.append(row)
    RESULTS.write_text(json.dumps({"trials": given.trials, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
