"""CPU time of one ask and tell by the length of the history: `make bench-latency`.

Through the core in process, on one thread, with Optuna's TPE and Gaussian process beside it in the same minutes. The
histories are those of a study that has found its region: half random, half near the best; beside Optuna also such that
are all random, on which its Gaussian process takes twice as long. Three things are timed apart: the usual ask and tell,
those before which the model's hyperparameters are fitted anew, and the first after a bulk import. A line of
benchmarks/results/latency.jsonl for every round; rounds that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.search.models import checkpoint
from benchmarks.quality.child import ROOT, Child, ChildError
from benchmarks.quality.peer import PEERS
from benchmarks.quality.report import write_section
from benchmarks.quality.run import words
from benchmarks.quality.spaces import Params, Space, box, categorical, float_, int_, legal, of_units, unit_of

Array = NDArray[np.float64]

RESULTS = ROOT / "benchmarks" / "results" / "latency.jsonl"
SPACES: dict[str, Space] = {
    "5 dimensions": box(5),
    "20 dimensions": box(20),
    "50 dimensions": box(50),
    "mixed": {
        **{f"x{j}": float_(0.0, 1.0) for j in range(4)},
        "rate": float_(1e-5, 1.0, "log"),
        "width": int_(4, 512, "log"),
        "layers": int_(1, 8),
        "activation": categorical("relu", "tanh", "gelu"),
        "optimizer": categorical("sgd", "adam", "rmsprop"),
        "momentum": float_(0.0, 0.99, optimizer=("sgd",)),
    },
}
SIZES = (50, 100, 500, 1_000, 10_000, 100_000)
OURS = "metatune"
#: Histories longer than these take a peer minutes an ask.
LONGEST = {"optuna-tpe": 10_000, "optuna-gp": 1_000}
STEPS = {OURS: 24, "optuna-tpe": 8, "optuna-gp": 4}
N_WARMING = 30  # trials
N_CHUNK = 2_000  # trials of one call
N_DRAWS = 2_000
NEAR = 0.5  # share of a history's trials, the later ones
RANDOM_SIZES = (100, 1_000)  # also with none of them near the best


@dataclass(frozen=True)
class Round:
    """One history of n trials in a space, and who is timed on it."""

    peer: str
    space: str
    n: int
    seed: int
    near: float = NEAR


def loss(space: Space, params: Params) -> float:
    """A bowl with ripples; what is not active costs nothing."""
    units = [(j, unit_of(space[name], value)) for j, (name, value) in enumerate(params.items(), start=1)]
    return sum(j * (u - 0.3) ** 2 + 0.3 * math.cos(9.0 * u) for j, u in units)


def history(space: Space, n: int, seed: int, near: float = NEAR) -> list[tuple[Params, list[float]]]:
    rng = np.random.default_rng(seed)
    units = rng.random((n, len(space)))
    n_random = n - round(near * n)
    around = 0.3 + 0.05 * rng.standard_normal((n - n_random, len(space)))
    units[n_random:] = np.clip(around, 0.0, 1.0 - 1e-9)
    points = [of_units(space, row) for row in units.tolist()]
    return [(params, [loss(space, params)]) for params in points]


def length(n: int, n_steps: int) -> int:
    """About n: so many trials that one of the steps meets a new fit."""
    middle = n_steps // 2
    fit = n + middle
    while checkpoint(fit) != fit:
        fit += 1
    return fit - middle


def measure(of: Round) -> dict[str, Any]:
    """Raises: ChildError, if the peer cannot."""
    space, n_steps = SPACES[of.space], STEPS[of.peer]
    child = Child(PEERS[of.peer].environment, "benchmarks.quality.peer", of.peer)
    try:
        task = {"space": space, "n_objectives": 1, "limits": [], "seed": of.seed, "width": 1}
        child.call("make", **task)  # a small one first: what is imported on the first ask is no part of it
        child.call("add", trials=history(space, N_WARMING, of.seed + 1))
        _step(child, space)
        versions = child.call("make", **task)
        trials = history(space, length(of.n, STEPS[OURS]), of.seed, of.near)
        starts = range(0, len(trials), N_CHUNK)
        import_ms = sum(child.call("add", trials=trials[start : start + N_CHUNK])["cpu_ms"] for start in starts)
        steps = [_step(child, space) for _ in range(n_steps + 1)]
    finally:
        child.close()
    counts = range(len(trials) + 1, len(trials) + 1 + n_steps)
    return {
        "round": asdict(of), "date": datetime.now(UTC).date().isoformat(), "versions": versions,
        "import_ms": round(import_ms, 1), "first_ms": round(steps[0], 2), "step_ms": [round(ms, 2) for ms in steps[1:]],
        "is_fit": [of.peer == OURS and checkpoint(n) == n for n in counts],
    }  # fmt: skip


def _step(child: Child, space: Space) -> float:
    """CPU ms of one ask and its tell."""
    asked = child.call("ask", n=1)
    ((number, params),) = asked["result"]
    told = child.call("tell", results=[(number, [loss(space, legal(space, params))], [])])
    return float(asked["cpu_ms"] + told["cpu_ms"])


def run(rounds: Sequence[Round], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {Round(**line["round"]) for line in load(path)}
    for of in rounds:
        if of in done:
            continue
        try:
            line = measure(of)
        except ChildError as error:
            line = {"round": asdict(of), "error": str(error)}
            print(f"{of}: {error}", flush=True)
        else:
            print(f"{of}: first {line['first_ms']:.0f} ms, then {np.median(line['step_ms']):.1f} ms", flush=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- the report --------------------------------------------------------------------------------------------------

Samples = dict[tuple[str, str, int], list[list[float]]]


def samples(
    lines: Sequence[dict[str, Any]], of: Callable[[dict[str, Any]], list[float]], near: float = NEAR
) -> Samples:
    """By peer, space and length, the milliseconds of every round on such histories."""
    found: Samples = defaultdict(list)
    for line in lines:
        if "error" not in line and line["round"].get("near", NEAR) == near and (ms := of(line)):
            found[line["round"]["peer"], line["round"]["space"], line["round"]["n"]].append(ms)
    return found


def usual(line: dict[str, Any]) -> list[float]:
    return [ms for ms, is_fit in zip(line["step_ms"], line["is_fit"], strict=True) if not is_fit]


def fits(line: dict[str, Any]) -> list[float]:
    return [ms for ms, is_fit in zip(line["step_ms"], line["is_fit"], strict=True) if is_fit]


def first(line: dict[str, Any]) -> list[float]:
    return [line["first_ms"]]


def ratio(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Of the medians, with a 95 % interval: rounds are drawn anew, and then their steps."""
    rng = np.random.default_rng(0)
    drawn = [_drawn_median(ours, rng) / _drawn_median(theirs, rng) for _ in range(N_DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(np.median(np.concatenate(ours)) / np.median(np.concatenate(theirs))), float(low), float(high)


def _drawn_median(rounds: Sequence[Sequence[float]], rng: np.random.Generator) -> float:
    some = [np.asarray(rounds[k]) for k in rng.integers(len(rounds), size=len(rounds))]
    return float(np.median(np.concatenate([ms[rng.integers(len(ms), size=len(ms))] for ms in some])))


def tables(lines: Sequence[dict[str, Any]]) -> str:
    parts = ["Medians in ms of CPU time for one ask and its tell, one thread."]
    for title, of in (("usual step", usual), ("step with a new fit", fits), ("first ask after an import", first)):
        parts.append(_medians(title, samples(lines, of)))
    parts += [_ratios(peer, samples(lines, usual)) for peer in LONGEST]
    parts += [_ratios(peer, samples(lines, usual, near=0.0), ", random trials") for peer in LONGEST]
    dates = sorted(line["date"] for line in lines if "date" in line)
    versions = {package: version for line in lines for package, version in line.get("versions", {}).items()}
    named = ", ".join(f"{package} {version}" for package, version in sorted(versions.items()))
    parts.append(f"{dates[0]} to {dates[-1]}. Versions: {named}.")
    return "\n\n".join(part for part in parts if part)


def _medians(title: str, found: Samples) -> str:
    rows = [f"| {title} | {' | '.join(f'{n:,}' for n in SIZES)} |", f"| --- |{' --- |' * len(SIZES)}"]
    for space in SPACES:
        cells = [f"{np.median(np.concatenate(ms)):.1f}" if (ms := found.get((OURS, space, n))) else "–" for n in SIZES]
        rows.append(f"| {space} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _ratios(peer: str, found: Samples, on: str = "") -> str:
    sizes = [n for n in SIZES if any((peer, space, n) in found for space in SPACES)]
    if not sizes:
        return ""
    rows = [
        f"| {peer}{on}: ms, and ours ÷ its | {' | '.join(f'{n:,}' for n in sizes)} |",
        f"| --- |{' --- |' * len(sizes)}",
    ]
    for space in SPACES:
        cells = []
        for n in sizes:
            ours, theirs = found.get((OURS, space, n)), found.get((peer, space, n))
            if not ours or not theirs:
                cells.append("–")
                continue
            middle, low, high = ratio(ours, theirs)
            cells.append(f"{np.median(np.concatenate(theirs)):.1f}; {middle:.2f} ({low:.2f} to {high:.2f})")
        rows.append(f"| {space} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=words, default=[OURS, *LONGEST])
    parser.add_argument("--sizes", type=words, default=[str(n) for n in SIZES])
    parser.add_argument("--spaces", type=lambda text: text.split(","), default=list(SPACES), help=", ".join(SPACES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    given = parser.parse_args()
    rounds = [
        Round(peer, space, n, seed, near)
        for seed in range(given.rounds)
        for n in map(int, given.sizes)
        for near in ((NEAR, 0.0) if n in RANDOM_SIZES else (NEAR,))
        for space in given.spaces
        for peer in given.peers
        if n <= LONGEST.get(peer, n)
    ]
    run(rounds, given.out)
    text = tables(load(given.out))
    print("\n" + text)
    if given.write:
        write_section("latency", text)


if __name__ == "__main__":
    main()
