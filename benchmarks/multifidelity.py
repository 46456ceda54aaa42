"""`python -m benchmarks.multifidelity`: what early stopping is worth, by regret against steps of training spent.

A simulated cluster of workers trains step by step on its own clock, driven by the numeric core and the pruning rules
in process: no server, no waiting. One problem has made-up learning curves, three train scikit-learn models on bundled
data. Every finished run is a line of benchmarks/results/multifidelity.jsonl and is not run again; `--report` only
prints. Regret is that of the best value reported so far, at whatever step: 0 is the best that any run found, 1 the
median of random search after one full trial.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from tqdm import tqdm

from app.search.history import Goal, History, Record
from app.search.pruning import Decision, PruningRule, asha, curve, median
from app.search.rungs import order, standing
from app.search.space import SearchSpace
from app.search.suggest import suggest

RESULTS = Path(__file__).parent / "results" / "multifidelity.jsonl"
MAX_STEP, ETA, WORKERS = 27, 3, 4
FULL_TRIALS = 16  # the budget, in trials trained to the end
MARKS = (0.25, 0.5, 1.0)
REFERENCE = "random"
RUNGS = {"min_step": 1, "max_step": MAX_STEP, "eta": ETA}

#: name: (algorithm, pruning)
METHODS: dict[str, tuple[str, Any]] = {
    "random": ("random", "off"),
    "gp": ("gp", "off"),
    "median + gp": ("gp", {"rule": "median"}),
    "curve + gp": ("gp", {"rule": "curve", "max_step": MAX_STEP}),
    "hyperband + random": ("random", {"rule": "hyperband", **RUNGS}),
    "hyperband + gp": ("gp", {"rule": "hyperband", **RUNGS}),
    "asha + random": ("random", {"rule": "asha", **RUNGS}),
    "asha + gp": ("gp", {"rule": "asha", **RUNGS}),
    "asha, promoting + random": ("random", {"rule": "asha", "promote": True, **RUNGS}),
    "asha, promoting + gp": ("gp", {"rule": "asha", "promote": True, **RUNGS}),
}


# --- problems ---------------------------------------------------------------------------------------------------


class Training(ABC):
    """One configuration being trained."""

    @abstractmethod
    def step(self) -> float:
        """Trains one step more and returns the loss on data kept aside."""


@dataclass(frozen=True)
class Problem:
    space: dict[str, Any]
    begin: Callable[[Mapping[str, Any], int], Training]


class MadeUp(Training):
    """A power law whose end, drop and pace depend on the parameters: fast starters are not always the best."""

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        u = np.array([(np.log10(params["lr"]) + 5) / 5, params["width"] / 256, params["dropout"], params["decay"]])
        best = np.array([0.55, 0.7, 0.3, 0.4])
        self.end = 0.05 + 0.6 * float(np.sum((u - best) ** 2 * np.array([2.0, 0.5, 0.7, 0.2])))
        self.drop, self.pace = 0.9 - self.end / 2, 0.4 + 0.9 * u[0]
        self.rng = np.random.default_rng([seed, *np.round(u * 1e6).astype(np.int64)])
        self.t = 0

    def step(self) -> float:
        self.t += 1
        return float(self.end + self.drop * self.t**-self.pace + 0.003 * self.rng.standard_normal())


@cache
def _digits() -> Any:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16.0, y, test_size=0.4, random_state=0, stratify=y)


@cache
def _diabetes() -> Any:
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    X, y = load_diabetes(return_X_y=True)
    return train_test_split(X, (y - y.mean()) / y.std(), test_size=0.4, random_state=0)


class Perceptron(Training):
    """A step is one pass over 1,078 digits; the loss is the log loss of the other 719."""

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(
            (params["width"],), solver="sgd", learning_rate_init=params["lr"], alpha=params["alpha"],
            batch_size=params["batch"], momentum=params["momentum"], random_state=seed,
        )  # fmt: skip

    def step(self) -> float:
        from sklearn.metrics import log_loss

        X, X_kept, y, y_kept = _digits()
        self.model.partial_fit(X, y, classes=np.arange(10))
        probabilities = self.model.predict_proba(X_kept)
        return float(log_loss(y_kept, probabilities)) if np.isfinite(probabilities).all() else float("nan")


class Linear(Training):
    """A linear classifier by stochastic gradient descent; the loss is the share of digits misread."""

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        from sklearn.linear_model import SGDClassifier

        self.model = SGDClassifier(
            loss="log_loss", penalty="elasticnet", alpha=params["alpha"], l1_ratio=params["l1_ratio"],
            learning_rate="invscaling", eta0=params["lr"], power_t=params["power"], random_state=seed,
        )  # fmt: skip

    def step(self) -> float:
        X, X_kept, y, y_kept = _digits()
        self.model.partial_fit(X, y, classes=np.arange(10))
        return 1.0 - float(self.model.score(X_kept, y_kept))


class Boosting(Training):
    """Gradient boosting, ten trees a step; the loss is the squared error on diabetes, in variances."""

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        from sklearn.ensemble import GradientBoostingRegressor

        self.model = GradientBoostingRegressor(
            n_estimators=0, warm_start=True, learning_rate=params["lr"], max_depth=params["depth"],
            subsample=params["subsample"], max_features=params["features"], min_samples_leaf=params["leaf"],
            random_state=seed,
        )  # fmt: skip

    def step(self) -> float:
        X, X_kept, y, y_kept = _diabetes()
        self.model.n_estimators += 10
        self.model.fit(X, y)
        return float(np.mean((self.model.predict(X_kept) - y_kept) ** 2))


def _log(low: float, high: float) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "scale": "log"}


def _unit(low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high}


def _int(low: int, high: int) -> dict[str, Any]:
    return {"type": "int", "low": low, "high": high}


PROBLEMS: dict[str, Problem] = {
    "made up": Problem({"lr": _log(1e-5, 1.0), "width": _int(1, 256), "dropout": _unit(), "decay": _unit()}, MadeUp),
    "perceptron": Problem(
        {"lr": _log(1e-4, 1.0), "width": _int(4, 64), "alpha": _log(1e-6, 1.0), "momentum": _unit(0.0, 0.99),
         "batch": {"type": "ordinal", "values": [16, 32, 64, 128]}},
        Perceptron,
    ),
    "linear": Problem(
        {"lr": _log(1e-4, 10.0), "alpha": _log(1e-7, 1e-1), "l1_ratio": _unit(), "power": _unit(0.0, 1.0)}, Linear
    ),
    "boosting": Problem(
        {"lr": _log(1e-3, 1.0), "depth": _int(1, 6), "subsample": _unit(0.2, 1.0), "features": _unit(0.1, 1.0),
         "leaf": _int(1, 30)},
        Boosting,
    ),
}  # fmt: skip


# --- the cluster ------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One trial, from its hand-out on."""

    number: int
    params: Mapping[str, Any]
    training: Training
    until_step: int | None
    losses: list[float] = field(default_factory=list)
    state: str = "pending"
    #: Of a paused one: the rung where it stands.
    rung: int = -1

    def record(self, at_rungs: list[float | None]) -> Record:
        """As the service shows it to the model: a paused trial counts as pruned, with its last report."""
        if self.state == "pending" or not np.isfinite(self.losses[-1]):
            return Record(self.number, self.params, "pending" if self.state == "pending" else "failed")
        state = "complete" if self.state == "complete" else "pruned"
        there = tuple(None if value is None else (value,) for value in at_rungs)
        return Record(self.number, self.params, state, (self.losses[-1],), at_rungs=there)  # type: ignore[arg-type]


class Cluster:
    """Workers that ask, train and report, one step at a time on a clock of their own."""

    def __init__(self, problem: Problem, algorithm: str, pruning: Any, seed: int) -> None:
        self.problem, self.algorithm, self.seed = problem, algorithm, seed
        self.space = SearchSpace.from_json(problem.space)
        self.rule = PruningRule.from_json(pruning)
        self.goal = Goal(("minimize",), n_rungs=0 if self.rule.rungs is None else len(self.rule.rungs.steps))
        self.runs: list[Run] = []
        self.ask_seconds = 0.0

    def spend(self, n_steps: int) -> list[float]:
        """(n_steps,) the best loss reported after each step."""
        best: list[float] = []
        clock = [(0.0, worker) for worker in range(WORKERS)]
        holds: dict[int, Run] = {}
        pace = np.random.default_rng(self.seed)
        while len(best) < n_steps:
            now, worker = heapq.heappop(clock)
            run = holds.get(worker) or self.ask()
            loss = run.training.step()
            run.losses.append(loss)
            best.append(min([best[-1]] if best else [np.inf], default=np.inf))
            if np.isfinite(loss):
                best[-1] = min(best[-1], loss)
            self.after_report(run)
            holds[worker] = run
            if run.state != "pending":
                del holds[worker]
            heapq.heappush(clock, (now + pace.uniform(0.8, 1.2), worker))
        return best

    def ask(self) -> Run:
        promoted = self.promoted()
        if promoted is not None:
            return promoted
        number = len(self.runs) + 1
        began = time.perf_counter()
        history = History.of(self.space, self.goal, [run.record(self.at_rungs(run)) for run in self.runs])
        (point,) = suggest(
            self.space, self.goal, history, count=1, seed=self.seed, first_number=number, algorithm=self.algorithm
        ).points
        self.ask_seconds += time.perf_counter() - began
        training = self.problem.begin(point.params, self.seed)
        run = Run(number, point.params, training, self.rule.first_stop(number))
        self.runs.append(run)
        return run

    def promoted(self) -> Run | None:
        if not self.rule.promote or self.rule.rungs is None:
            return None
        for rung in reversed(range(len(self.rule.rungs.steps))):
            there = [run for run in self.runs if self.value(run, rung) is not None]
            losses = np.array([[self.value(run, rung)] for run in there], dtype=np.float64).reshape(-1, 1)
            for i in order(losses)[: len(there) // self.rule.eta]:
                run = there[i]
                if run.state == "paused" and run.rung == rung and np.isfinite(run.losses[-1]):
                    run.state, run.until_step = "pending", self.rule.rungs.until_step(rung + 1)
                    return run
        return None

    def at_rungs(self, run: Run) -> list[float | None]:
        return [self.value(run, rung) for rung in range(self.goal.n_rungs)]

    def value(self, run: Run, rung: int) -> float | None:
        """What the trial had come to at the rung of its bracket."""
        rungs = self.rule.rungs
        if rungs is None or rung < self.rule.bracket(run.number) or len(run.losses) < rungs.steps[rung]:
            return None
        return run.losses[rungs.steps[rung] - 1]

    def after_report(self, run: Run) -> None:
        step = len(run.losses)
        if step >= MAX_STEP:
            run.state = "complete"
        elif not np.isfinite(run.losses[-1]) or self.decide(run, step).prune:
            run.state = "pruned"
        elif run.until_step is not None and step >= run.until_step and self.rule.rungs is not None:
            run.state, run.rung = "paused", self.rule.rungs.reached(step) - 1

    def decide(self, run: Run, step: int) -> Decision:
        rule = self.rule
        others = [other for other in self.runs if other is not run]
        if rule.rungs is not None and not rule.promote and step in rule.rungs.steps:
            rung = rule.rungs.steps.index(step)
            if rung < rule.bracket(run.number):
                return Decision(False)
            same = [other for other in others if rule.bracket(other.number) == rule.bracket(run.number)]
            rivals = [value for other in same if (value := self.value(other, rung)) is not None]
            return asha(standing(np.array([run.losses[-1]]), _column(rivals)), rung=rung, step=step, eta=rule.eta)
        if rule.rule == "median":
            rivals = [other.losses[step - 1] for other in others if len(other.losses) >= step]
            found = standing(np.array([np.nanmin(run.losses)]), _column(rivals))
            return median(found, step=step, min_step=rule.min_step, min_trials=rule.min_trials)
        if rule.rule == "curve" and step >= rule.min_step:
            ends = [other.losses[-1] for other in others if other.state == "complete"]
            return curve(
                range(1, step + 1), _column(run.losses), _column(ends), last_step=MAX_STEP,
                min_trials=rule.min_trials, threshold=rule.threshold,
            )  # fmt: skip
        return Decision(False)


def _column(losses: list[float]) -> Any:
    return np.array(losses, dtype=np.float64).reshape(-1, 1)


# --- running and reporting --------------------------------------------------------------------------------------


def run_all(n_seeds: int, problems: list[str], methods: list[str]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.touch()
    known = {(line["problem"], line["method"], line["seed"]) for line in read()}
    todo = [(p, m, s) for s in range(n_seeds) for p in problems for m in methods if (p, m, s) not in known]
    warnings.filterwarnings("ignore")
    for problem, method, seed in tqdm(todo, unit="run", disable=not sys.stderr.isatty()):
        cluster = Cluster(PROBLEMS[problem], *METHODS[method], seed)
        with np.errstate(all="ignore"):
            best = cluster.spend(FULL_TRIALS * MAX_STEP)
        line = {
            "problem": problem, "method": method, "seed": seed, "best": [round(value, 6) for value in best],
            "trials": len(cluster.runs), "complete": sum(run.state == "complete" for run in cluster.runs),
            "ask_seconds": round(cluster.ask_seconds, 2),
        }  # fmt: skip
        with RESULTS.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def report() -> None:
    lines = read()
    curves = {(line["problem"], line["method"], line["seed"]): np.array(line["best"]) for line in lines}
    problems = [name for name in PROBLEMS if any(key[0] == name for key in curves)]
    methods = [name for name in METHODS if any(key[1] == name for key in curves)]
    seeds = [
        seed for seed in sorted({key[2] for key in curves})
        if all((problem, method, seed) in curves for problem in problems for method in methods)
    ]  # fmt: skip
    regret: dict[tuple[str, str, int], Any] = {}
    for problem in problems:
        lowest = min(curve[-1] for key, curve in curves.items() if key[0] == problem)
        unit = float(np.median([curves[problem, REFERENCE, seed][MAX_STEP - 1] for seed in seeds])) - lowest
        for key, values in curves.items():
            if key[0] == problem:
                regret[key] = (values - lowest) / unit
    places = [int(mark * FULL_TRIALS * MAX_STEP) - 1 for mark in MARKS]
    pairs = [(problem, seed) for problem in problems for seed in seeds]
    n_full = [f"{mark * FULL_TRIALS:g}" for mark in MARKS]
    print(f"\n{len(seeds)} seeds, {', '.join(problems)}; {WORKERS} workers; steps of {', '.join(n_full)} full trials\n")
    print("| | regret | | | ratio to random search | steps to its end | trials |")
    print("| --- | " + " | ".join(n_full) + " | (95 % interval) | (share) | |")
    for method in methods:
        table = np.array([[regret[problem, method, seed][places] for problem, seed in pairs]])[0]
        base = np.array([regret[problem, REFERENCE, seed][places] for problem, seed in pairs])
        low, ratio, high = _ratio(table[:, -1], base[:, -1])
        sooner = [_steps_to(regret[p, method, s], regret[p, REFERENCE, s][-1]) for p, s in pairs]
        n_trials = np.median([line["trials"] for line in lines if line["method"] == method])
        cells = " | ".join(f"{value:.3f}" for value in table.mean(axis=0))
        print(
            f"| {method} | {cells} | {ratio:.2f} ({low:.2f} to {high:.2f}) | {np.median(sooner):.2f} | {n_trials:.0f} |"
        )
    print("\nRegret at the end, by problem:\n\n| | " + " | ".join(problems) + " |")
    for method in methods:
        means = [np.mean([regret[problem, method, seed][-1] for seed in seeds]) for problem in problems]
        print(f"| {method} | " + " | ".join(f"{value:.3f}" for value in means) + " |")


def _ratio(mine: Any, base: Any) -> tuple[float, float, float]:
    """The ratio of the means, with its 95 % interval over resampled (problem, seed) pairs."""
    rows = np.random.default_rng(0).integers(0, len(mine), (4000, len(mine)))
    ratios = mine[rows].mean(axis=1) / base[rows].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(mine.mean() / base.mean()), float(high)


def _steps_to(regret: Any, target: float) -> float:
    """The share of the budget after which the regret is no more than the target; 1 if it never is."""
    reached = np.flatnonzero(regret <= target + 1e-12)
    return float(reached[0] + 1) / len(regret) if len(reached) else 1.0


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seeds", type=int, default=8)
    options.add_argument("--problems", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS))
    options.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    options.add_argument("--report", action="store_true", help="run nothing, print what there is")
    chosen = options.parse_args()
    if not chosen.report:
        run_all(chosen.seeds, chosen.problems, chosen.methods)
    report()


if __name__ == "__main__":
    main()
