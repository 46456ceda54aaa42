"""What it costs to keep many trials out at once: `make bench-parallel`.

Sixteen trials out at all times, the oldest finishing first, against one after another, at the same number of
evaluations on BBOB. The ratio of the mean regrets is to be at most 1.25; of peers that run beside it too, to compare.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.report import N_DRAWS, Run, Yardstick, load, write_section
from benchmarks.quality.run import RESULTS, cells, run_all, words

PENDING = 16
MOST = 1.25  # times the regret of one after another
GROUPS = ("bbob2", "bbob5", "bbob10")
EXCESS_FLOOR = 1e-3  # in the problem's units, so that a regret of none has a ratio


def pairs(runs: Sequence[Run], peer: str, split: str, n: int, yardstick: Yardstick) -> dict[str, list[list[float]]]:
    """By problem, for every seed with both runs: both normalised regrets, and the log of the plain ones' ratio."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    some = [run for run in runs if run.peer == peer and run.split == split and run.line["cell"]["batch"] == 1]
    alone = {(run.problem, run.cell[-1]): run for run in some if run.line["cell"]["pending"] == 1}
    for run in some:
        other = alone.get((run.problem, run.cell[-1]))
        if run.line["cell"]["pending"] != PENDING or other is None:
            continue
        together, apart = yardstick.regret(run, n), yardstick.regret(other, n)
        plain = [yardstick.excess(one, n) for one in (run, other)]
        if together is not None and apart is not None and plain[0] is not None and plain[1] is not None:
            ratio = np.log((plain[0] + EXCESS_FLOOR) / (plain[1] + EXCESS_FLOOR))
            found[run.problem].append([together, apart, float(ratio)])
    return found


def ratios(found: dict[str, list[list[float]]]) -> tuple[list[float], list[float]]:
    """The ratio of the means of the normalised regrets, and the geometric mean of the ratios of the plain ones.

    Each with a 95 % interval of a bootstrap over problems and their seeds.
    """
    rng = np.random.default_rng(0)
    groups = [np.array(numbers) for numbers in found.values()]
    middle = np.mean([group.mean(axis=0) for group in groups], axis=0)
    drawn = np.empty((N_DRAWS, 3))
    for k in range(N_DRAWS):
        some = [groups[j] for j in rng.integers(len(groups), size=len(groups))]
        drawn[k] = np.mean([group[rng.integers(len(group), size=len(group))].mean(axis=0) for group in some], axis=0)
    of_means = [middle[0] / middle[1], *np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])]
    geometric = [np.exp(middle[2]), *np.exp(np.percentile(drawn[:, 2], [2.5, 97.5]))]
    return [float(x) for x in of_means], [float(x) for x in geometric]


def table(runs: Sequence[Run], peers: Sequence[str], n: int) -> str:
    yardstick = Yardstick(runs)
    lines = [
        f"{PENDING} trials out at all times against one after another, {n} evaluations each, BBOB; ratios with 95 % "
        f"intervals, at most {MOST} is the aim. Plain regrets are compared by their geometric mean.",
        "",
        f"| | problems | runs | one by one | {PENDING} out | normalised regret: ratio | plain regret: ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for peer in peers:
        for split in ("development", "held-out"):
            found = pairs(runs, peer, split, n, yardstick)
            if not found:
                continue
            together, apart = (np.mean([np.mean([one[k] for one in some]) for some in found.values()]) for k in (0, 1))
            shown = [f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in ratios(found)]
            n_runs = sum(map(len, found.values()))
            lines.append(
                f"| {peer}, {split} | {len(found)} | {n_runs} | {apart:.3f} | {together:.3f} | {' | '.join(shown)} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=words, default=["metatune"])
    parser.add_argument("--groups", type=words, default=list(GROUPS))
    parser.add_argument("--splits", type=words, default=["development", "held-out"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evals", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    given = parser.parse_args()
    seeds = range(given.seeds)
    run_all(["random"], list(cells(given.splits, given.groups, seeds)), given.evals, given.out)
    for pending in (1, PENDING):
        todo = list(cells(given.splits, given.groups, seeds, pending=pending))
        run_all(given.peers, todo, given.evals, given.out)
    text = table(load(given.out), given.peers, given.evals)
    print("\n" + text)
    if given.write:
        write_section("parallel", text)


if __name__ == "__main__":
    main()
