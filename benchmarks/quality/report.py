"""Reads the runs and compares: `make bench-quality` prints the tables, `make bench-report` puts them into the docs.

Normalised regret: 0 is the optimum, 1 the median of random search's best of its first 8, and more than 1.5 counts as
1.5. Where regrets span decades, as BBOB's do, their logarithms above 1e-3 are compared. An unknown optimum is the best
that any run reached. What counts is the trial that looked best: of noisy values its true one; of limited ones the best
that kept the limits, 1.5 until there is one. Several objectives count by the hypervolume that is missing.

Peers are compared on cells that both ran. Intervals are of a bootstrap in two stages, problems and then their seeds; of
all kinds together also of the seeds alone.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.search.pareto import hypervolume
from benchmarks.quality.child import ROOT
from benchmarks.quality.peer import PEERS
from benchmarks.quality.run import RESULTS

Array = NDArray[np.float64]
Measure = Callable[["Run"], float | None]

DOCUMENT = ROOT / "docs" / "benchmarks.md"
N_FIRST = 8  # of random search: its best of so many is 1
FLOOR = 1e-3  # regret that counts as none where logarithms are compared
WORST = 1.5
N_DRAWS = 2000
OURS, BASE = "metatune", "random"
ALL, SAME = "**all kinds**", "**all kinds, other seeds on the same problems**"
KINDS = {
    **{f"bbob{d}": f"BBOB, {d} dimensions" for d in (2, 5, 10, 20, 50)},
    "mixed": "mixed-integer", "noisy": "noisy", "ml": "scikit-learn models", "two": "two objectives",
    "limits": "measured limits",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One line of the results."""

    line: Mapping[str, Any]

    @property
    def peer(self) -> str:
        return str(self.line["peer"])

    @property
    def problem(self) -> str:
        return str(self.line["cell"]["problem"])

    @property
    def split(self) -> str:
        return str(self.line["cell"]["split"])

    @property
    def kind(self) -> str:
        cell = self.line["cell"]
        width = f", batches of {cell['batch']}" if cell["batch"] > 1 else ""
        return KINDS[cell["group"]] + width + (f", {cell['pending']} pending" if cell["pending"] > 1 else "")

    @property
    def cell(self) -> tuple[Any, ...]:
        """What another peer's run must share to be compared with this one."""
        cell = self.line["cell"]
        return cell["problem"], cell["batch"], cell["pending"], cell["seed"]

    @property
    def n(self) -> int:
        return len(self.line["values"])

    @cached_property
    def is_allowed(self) -> NDArray[np.bool_]:
        limits = np.array(self.line["limits"])
        outcomes = np.array(self.line["outcomes"], dtype=np.float64).reshape(self.n, len(limits))
        return np.asarray((outcomes <= limits).all(axis=1), dtype=bool)

    @cached_property
    def best(self) -> Array:
        """(n,) of one objective the true value of what looks best so far; infinite before the first that is allowed."""
        observed = np.where(self.is_allowed, np.array(self.line["values"])[:, 0], np.inf)
        true = np.where(self.is_allowed, np.array(self.line["true"])[:, 0], np.inf)
        is_better = observed < np.append(np.inf, np.minimum.accumulate(observed)[:-1])
        latest = np.maximum.accumulate(np.where(is_better, np.arange(self.n), 0))
        return np.asarray(true[latest], dtype=np.float64)

    def reached(self, n: int) -> float:
        """After n evaluations, lower is better: the best value, or the hypervolume's negative."""
        if self.line["n_objectives"] == 1:
            return float(self.best[n - 1])
        rows = np.array(self.line["true"])[:n][self.is_allowed[:n]]
        return -hypervolume(rows, np.array(self.line["reference"]))


class Yardstick:
    """The optimum and random search's beginning on every problem, from all the runs there are."""

    def __init__(self, runs: Iterable[Run]) -> None:
        by_problem: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            if run.n:
                by_problem[run.problem].append(run)
        self._zero = {problem: _lowest(some) for problem, some in by_problem.items()}
        self._one = {problem: one for problem, some in by_problem.items() if (one := _beginning(some)) is not None}

    def regret(self, run: Run, n: int) -> float | None:
        """The normalised one after n evaluations; None if the run ended before, or random search is missing."""
        if run.n < n or run.problem not in self._one:
            return None
        zero = self._zero[run.problem]
        scaled = _logarithm if run.line["is_log"] else _plain
        mine, one = scaled(run.reached(n) - zero), scaled(self._one[run.problem] - zero)
        return float(min(mine / max(one, 1e-12), WORST))

    def excess(self, run: Run, n: int) -> float | None:
        """The regret in the problem's own units."""
        return None if run.n < n else max(run.reached(n) - self._zero[run.problem], 0.0)


def _lowest(runs: Sequence[Run]) -> float:
    known = runs[0].line["optimum"]
    if known is not None:
        return float(known if runs[0].line["n_objectives"] == 1 else -known)
    if runs[0].line["n_objectives"] == 1:
        return min(float(run.best.min()) for run in runs)
    rows = np.vstack([np.array(run.line["true"]) for run in runs])
    return -hypervolume(rows, np.array(runs[0].line["reference"]))


def _beginning(runs: Sequence[Run]) -> float | None:
    """The median of random search's best of 8; if most had nothing allowed by then, of as many as it takes."""
    baseline = [run for run in runs if run.peer == BASE and run.n >= N_FIRST]
    for n in range(N_FIRST, min((run.n for run in baseline), default=0) + 1):
        median = float(np.median([run.reached(n) for run in baseline]))
        if np.isfinite(median):
            return median
    return None


def _plain(regret: float) -> float:
    return max(regret, 0.0)


def _logarithm(regret: float) -> float:
    return float(np.log10(max(regret, 0.0) + FLOOR) - np.log10(FLOOR))


# --- comparisons -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean over problems of means over seeds, with the 95 % interval of a bootstrap in two stages."""

    mean: float
    low: float
    high: float
    n_problems: int
    n_runs: int


def interval(
    by_problem: Mapping[str, Sequence[float]], rng: np.random.Generator, *, same_problems: bool = False
) -> Interval:
    """Of the numbers of every problem's seeds; a problem drawn twice has its seeds drawn anew.

    same_problems: what other seeds would give on these very problems; else also what other problems would.
    """
    groups = [np.asarray(numbers, dtype=np.float64) for numbers in by_problem.values()]
    sizes = np.array([len(numbers) for numbers in groups])
    padded = np.zeros((len(groups), sizes.max()))
    for k, numbers in enumerate(groups):
        padded[k, : len(numbers)] = numbers
    means = np.zeros(N_DRAWS)
    for k in range(len(groups)):
        drawn = np.full(N_DRAWS, k) if same_problems else rng.integers(len(groups), size=N_DRAWS)
        n = sizes[drawn][:, None]
        seeds = (rng.random((N_DRAWS, padded.shape[1])) * n).astype(np.intp)
        counted = np.arange(padded.shape[1]) < n
        means += np.where(counted, padded[drawn[:, None], seeds], 0.0).sum(axis=1) / n[:, 0] / len(groups)
    low, high = np.percentile(means, [2.5, 97.5])
    mean = float(np.mean([numbers.mean() for numbers in groups]))
    return Interval(mean, float(low), float(high), len(groups), int(sizes.sum()))


def differences(
    ours: Iterable[Run], theirs: Iterable[Run], of: Callable[[Run], float | None]
) -> dict[str, list[float]]:
    """By problem, ours less theirs on the cells that both have."""
    other = {run.cell: value for run in theirs if (value := of(run)) is not None}
    found: dict[str, list[float]] = defaultdict(list)
    for run in ours:
        value = of(run)
        if value is not None and run.cell in other:
            found["/".join(map(str, run.cell[:3]))].append(value - other[run.cell])
    return found


def load(folder: Path) -> list[Run]:
    """Of a cell that was run again with more evaluations the longer run."""
    found: dict[tuple[Any, ...], Run] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            run = Run(json.loads(line))
            key = (run.peer, run.split, *run.cell)
            if key not in found or run.n >= found[key].n:
                found[key] = run
    return list(found.values())


# --- tables ------------------------------------------------------------------------------------------------------


def tables(runs: Sequence[Run], n: int) -> str:
    """Everything in Markdown, for n evaluations."""
    yardstick = Yardstick(runs)
    present = {run.peer for run in runs}
    peers = [peer for peer in PEERS if peer in present]
    parts = [
        f"Normalised regret after {n} evaluations: 0 is the optimum, 1 the median of random search's best of "
        f"{N_FIRST}. First the means of each peer's own runs, with their number; then metatune less the peer on the "
        "runs that both have, so that less than 0 is better, with 95 % intervals and the number of problems."
    ]
    for split in ("development", "held-out", "reserve"):
        of_split = [run for run in runs if run.split == split and yardstick.regret(run, _rounded(run, n)) is not None]
        if of_split:
            parts.append(f"**{split.capitalize()} problems**")
            parts.append(_regrets(of_split, peers, yardstick, n))
            parts.append(_comparisons(of_split, peers, yardstick, n))
    parts += [_costs(runs, peers), _notes(runs, peers)]
    return "\n\n".join(part for part in parts if part)


def _rounded(run: Run, n: int) -> int:
    """Evaluations in whole batches."""
    batch = int(run.line["cell"]["batch"])
    return max(n // batch * batch, 1)


def _of(yardstick: Yardstick, n: int) -> Measure:
    return lambda run: yardstick.regret(run, _rounded(run, n))


def _kinds(runs: Iterable[Run]) -> list[str]:
    order = list(KINDS.values())
    return sorted({run.kind for run in runs}, key=lambda kind: (order.index(_plain_kind(kind)), kind))


def _plain_kind(kind: str) -> str:
    return max((name for name in KINDS.values() if kind.startswith(name)), key=len)


def _regrets(runs: Sequence[Run], peers: Sequence[str], yardstick: Yardstick, n: int) -> str:
    of = _of(yardstick, n)
    rows = [["mean, own runs", *peers]]
    for kind in _kinds(runs):
        cells = []
        for peer in peers:
            by_problem: dict[str, list[float]] = defaultdict(list)
            for run in runs:
                if run.peer == peer and run.kind == kind and (value := of(run)) is not None:
                    by_problem[run.problem].append(value)
            n_runs = sum(map(len, by_problem.values()))
            cells.append(f"{np.mean([np.mean(v) for v in by_problem.values()]):.3f} ({n_runs})" if by_problem else "–")
        lowest = min((float(cell.split()[0]) for cell in cells if cell != "–"), default=0.0)
        rows.append([kind, *(f"**{cell}**" if cell.startswith(f"{lowest:.3f}") else cell for cell in cells)])
    return _table(rows)


def _comparisons(runs: Sequence[Run], peers: Sequence[str], yardstick: Yardstick, n: int) -> str:
    ours = [run for run in runs if run.peer == OURS]
    others = [peer for peer in peers if peer != OURS]
    rows = [["metatune less", *others]]
    for kind in [*_kinds(runs), ALL, SAME]:
        cells = []
        for peer in others:
            mine = [run for run in ours if kind in (ALL, SAME) or run.kind == kind]
            found = differences(mine, [run for run in runs if run.peer == peer], _of(yardstick, n))
            of = interval(found, np.random.default_rng(0), same_problems=kind == SAME) if found else None
            cells.append("–" if of is None else _shown(of))
        rows.append([kind, *cells])
    return _table(rows)


def _shown(of: Interval) -> str:
    return f"{of.mean:+.3f} ({of.low:+.3f} to {of.high:+.3f}; {of.n_problems})".replace("-", "−")


def _costs(runs: Sequence[Run], peers: Sequence[str]) -> str:
    """Medians over runs of the mean over a run: CPU ms per trial, ask and tell together."""
    rows = [["CPU ms per trial", *peers]]
    for kind in _kinds(runs):
        cells = []
        for peer in peers:
            spent = [
                (sum(run.line["ask_ms"]) + sum(run.line["tell_ms"])) / run.n
                for run in runs
                if run.peer == peer and run.kind == kind and run.n
            ]
            cells.append(f"{np.median(spent):.1f}" if spent else "–")
        rows.append([kind, *cells])
    return _table(rows)


def _notes(runs: Sequence[Run], peers: Sequence[str]) -> str:
    versions: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for package, version in run.line.get("versions", {}).items():
            versions[package].add(version)
    named = ", ".join(f"{package} {' and '.join(sorted(found))}" for package, found in sorted(versions.items()))
    dates = sorted(run.line["date"] for run in runs)
    failed = {peer: sum("error" in run.line for run in runs if run.peer == peer) for peer in peers}
    broken = ", ".join(f"{peer} {n}" for peer, n in failed.items() if n)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"{len(runs)} runs of {when}. Versions: {named}." + (f" Runs that broke off: {broken}." if broken else "")


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *body])


def write_section(name: str, text: str) -> None:
    """Puts the text between `<!-- name -->` and `<!-- end of name -->` of the document."""
    document = DOCUMENT.read_text()
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = document.split(start)
    after = rest.split(end)[1]
    DOCUMENT.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evals", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where run.py kept its lines")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    given = parser.parse_args()
    runs = load(given.out)
    if not runs:
        parser.exit(1, f"there are no runs in {given.out}\n")
    text = tables(runs, given.evals)
    print(text)
    if given.write:
        write_section("quality", text)


if __name__ == "__main__":
    main()
