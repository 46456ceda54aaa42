"""`make bench-demo`, second part: is the demo's second act luck? Thirty seeds of the new month, cold and warm.

Evaluations are kept in benchmarks/results/monthly_digits.jsonl, so an interrupted run goes on where it was. Exits 1
unless the median seed, and most of them, meet their own cold end in half of the evaluations.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

import metatune
from benchmarks import monthly_digits
from benchmarks.demo import CURVE_AT, MONTHLY_BUDGET, Curves, begin_month
from benchmarks.demo_seeds import RESULTS, Evaluations
from benchmarks.server import Server

HALF = 0.5
N_RESAMPLED = 9999


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--seeds", type=int, default=30, help="ten are too few: see docs/decisions/memory.md")
    options.add_argument("--first", type=int, default=0, help="the problem was chosen on 100 to 111")
    chosen = options.parse_args()

    evaluations = Evaluations(RESULTS / "monthly_digits.jsonl", monthly_digits.loss)
    runs: dict[int, Curves] = {}
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        client = metatune.Client(server.url)
        seeds = range(chosen.first, chosen.first + chosen.seeds)
        for seed in tqdm(seeds, unit="seed", disable=not sys.stderr.isatty()):
            runs[seed] = begin_month(client, evaluations.loss, seed, prefix=f"seed-{seed}-", progress=False)
    if not report(runs):
        sys.exit(1)


def report(runs: dict[int, Curves]) -> bool:
    """Prints the curves, the table and the verdict, which it returns."""
    cold, warm = (np.median([getattr(run, name) for run in runs.values()], axis=0) for name in ("cold", "warm"))
    print(f"\nMedian best loss of the new month over {len(runs)} seeds\n")
    print(f"{'trials':>8}{'nothing':>12}{'memory':>12}")
    for n in CURVE_AT:
        print(f"{n:8}{cold[n - 1]:12.4f}{warm[n - 1]:12.4f}")

    print(f"\n{'seed':>8}{'cold end':>12}{'warm end':>12}{'met in trial':>14}")
    for seed, run in runs.items():
        print(f"{seed:8}{run.cold[-1]:12.4f}{run.warm[-1]:12.4f}{run.met or '-':>14}")
    shares = [share(run) for run in runs.values()]
    median, n_half = statistics.median(shares), sum(each <= HALF for each in shares)
    low, high = interval(shares)
    met = Curves(cold.tolist(), warm.tolist()).met
    print(f"\nevaluations from memory over those from nothing, at the cold end: median {median:.2f},")
    print(f"90 % interval {low:.2f} to {high:.2f}; where it was not met it counts as {share(None):.2f}")
    print(f"at most half in {n_half} of {len(runs)} seeds; the median curve is there in trial {met or '-'}")
    return median <= HALF and 2 * n_half > len(runs)


def share(run: Curves | None) -> float:
    """Of the budget, what memory needed to be as good as the end from nothing; more than all, if it never was."""
    met = None if run is None else run.met
    return (met or MONTHLY_BUDGET + 1) / MONTHLY_BUDGET


def interval(shares: list[float]) -> tuple[float, float]:
    """The central 90 % of the median over resampled seeds."""
    drawn = np.random.default_rng(0).choice(shares, (N_RESAMPLED, len(shares)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.05, 0.95))
    return float(low), float(high)


if __name__ == "__main__":
    main()
