"""`make bench-demo`: is the demo luck? Ten seeds of tuning and of random search against the defaults.

Every evaluation is kept in benchmarks/results/digits_svm.jsonl. The server's suggestions follow from the seed
and the results so far, so a run that was interrupted asks the same questions again and finds them answered.
Exits 1 unless tuning beats the defaults in every seed, and random search in most of them and on the mean.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scipy.stats import bootstrap
from tqdm import tqdm

import metatune
from benchmarks import digits_svm
from benchmarks.demo import BUDGET
from benchmarks.server import Server

RESULTS = Path(__file__).parent / "results"
WINS_NEEDED = 0.8


class Evaluations:
    """The loss of a configuration and whatever else it depends on, from the file if it is known there."""

    def __init__(self, path: Path, evaluate: Callable[..., float]) -> None:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        lines = map(json.loads, path.read_text().splitlines())
        self._path, self._evaluate = path, evaluate
        self._known = {self._key(line["params"], *line["of"]): float(line["loss"]) for line in lines}

    @staticmethod
    def _key(params: Mapping[str, Any], *of: int) -> str:
        return json.dumps([params, *of], sort_keys=True)

    def loss(self, params: Mapping[str, Any], *of: int) -> float:
        key = self._key(params, *of)
        if key not in self._known:
            self._known[key] = self._evaluate(params, *of)
            with self._path.open("a") as file:
                file.write(json.dumps({"params": params, "of": of, "loss": self._known[key]}) + "\n")
        return self._known[key]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--budget", type=int, default=BUDGET)
    chosen = options.parse_args()

    evaluations = Evaluations(RESULTS / "digits_svm.jsonl", digits_svm.loss)
    default = evaluations.loss(digits_svm.DEFAULTS)
    best: dict[str, list[float]] = {"auto": [], "random": []}
    runs = [(seed, algorithm) for seed in range(chosen.seeds) for algorithm in best]
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        client = metatune.Client(server.url)
        for seed, algorithm in tqdm(runs, unit="run", disable=not sys.stderr.isatty()):
            study = client.study(
                f"{algorithm}-{seed}", digits_svm.SPACE, algorithm=algorithm, seed=seed, warm_start="off"
            )
            study.optimize(lambda trial: evaluations.loss(trial.params), n_trials=chosen.budget, progress=False)
            best[algorithm].append(study.best.value or float("nan"))

    if not report(default, best["auto"], best["random"], chosen.budget):
        sys.exit(1)


def report(default: float, tuned: list[float], random: list[float], budget: int) -> bool:
    """Prints the table and the verdict, which it returns."""
    n_seeds = len(tuned)
    print(f"\nBest cross-validated log loss after {budget} trials; scikit-learn's defaults have {default:.4f}\n")
    print(f"{'seed':>8}{'metatune':>12}{'random':>12}")
    for seed, (mine, its) in enumerate(zip(tuned, random, strict=True)):
        print(f"{seed:8}{mine:12.4f}{its:12.4f}")
    print(f"{'median':>8}{statistics.median(tuned):12.4f}{statistics.median(random):12.4f}")
    print(f"{'mean':>8}{statistics.mean(tuned):12.4f}{statistics.mean(random):12.4f}")

    gains = [its - mine for mine, its in zip(tuned, random, strict=True)]
    low, high = bootstrap((gains,), statistics.mean, vectorized=False, random_state=0).confidence_interval
    beats_default = sum(mine < default for mine in tuned)
    beats_random = sum(gain > 0 for gain in gains)
    print(f"\nbetter than the defaults in {beats_default} of {n_seeds} seeds (needed: all)")
    print(f"better than random search in {beats_random} of {n_seeds} seeds (needed: {WINS_NEEDED:.0%})")
    print(f"by {statistics.mean(gains):.4f} on the mean, 95 % interval {low:.4f} to {high:.4f} (needed: above 0)")
    return beats_default == n_seeds and beats_random >= WINS_NEEDED * n_seeds and statistics.mean(gains) > 0


if __name__ == "__main__":
    main()
