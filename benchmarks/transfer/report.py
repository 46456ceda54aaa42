"""The tables of the runs there are: regret by evaluation, its area, and differences with paired bootstrap intervals.

Families weigh the same, and in a family its tasks. Differences are of runs on the same task with the same seed, and
so with the same past; intervals come from drawing tasks within families, and seeds within tasks, anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transfer.run import RESULTS
from benchmarks.transfer.tables import HELD_OUT, Array, Table, load

AT = (5, 10, 25, 50)
DRAWS, SEED = 2000, 0
OWN_COLD, COLD_TPE, WARM_TPE = ("metatune", "cold"), ("optuna-tpe", "cold"), ("optuna-tpe-5", "good")
#: By task and seed.
Curves = Mapping[tuple[str, int], Array]


def read(
    folder: Path, tables: Mapping[str, Table], evals: int
) -> dict[tuple[str, str, bool], dict[tuple[str, int], Any]]:
    """By method, scenario and mode: the runs that are long enough."""
    found: dict[tuple[str, str, bool], dict[tuple[str, int], Any]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            run = json.loads(line)
            if len(run["losses"]) >= evals and run["task"] in tables:
                kind = (run["method"], run["scenario"], run["pool"])
                found.setdefault(kind, {})[run["task"], run["seed"]] = run
    return found


def regrets(
    runs: Mapping[tuple[str, int], Any], tables: Mapping[str, Table], evals: int
) -> dict[tuple[str, int], Array]:
    return {key: tables[key[0]].regret(np.minimum.accumulate(run["losses"][:evals])) for key, run in runs.items()}


def mean(curves: Curves) -> Array:
    """Seeds, then tasks, then families."""
    by_task: dict[str, list[Array]] = {}
    for (task, _), curve in curves.items():
        by_task.setdefault(task, []).append(curve)
    by_family: dict[str, list[Array]] = {}
    for task, own in by_task.items():
        by_family.setdefault(task.split("/")[0], []).append(np.mean(own, axis=0))
    return np.asarray(np.mean([np.mean(own, axis=0) for own in by_family.values()], axis=0))


def difference(a: Curves, b: Curves, of: Callable[[Array], float]) -> tuple[float, float, float] | None:
    """a − b over the runs that both have, with a 90 % interval; None, if there are none."""
    common = a.keys() & b.keys()
    if not common:
        return None
    families: dict[str, dict[str, list[float]]] = {}
    for task, seed in sorted(common):
        own = families.setdefault(task.split("/")[0], {}).setdefault(task, [])
        own.append(of(a[task, seed]) - of(b[task, seed]))
    rng = np.random.default_rng(SEED)

    def once(draws: bool) -> float:
        means = []
        for tasks in families.values():
            lists = [np.array(own) for own in tasks.values()]
            chosen = [lists[i] for i in rng.integers(len(lists), size=len(lists))] if draws else lists
            means.append(
                np.mean([own[rng.integers(len(own), size=len(own))].mean() if draws else own.mean() for own in chosen])
            )
        return float(np.mean(means))

    low, high = np.quantile([once(True) for _ in range(DRAWS)], [0.05, 0.95])
    return once(False), float(low), float(high)


def improvement(runs: Mapping[tuple[str, int], Any], tables: Mapping[str, Table], evals: int) -> float:
    """Over random search in pool mode: of the distance to the best row that random search has left, the part that this
    does not, mean over evaluations and tasks (Salinas et al. 2020, table 2)."""
    by_task: dict[str, list[Array]] = {}
    for (task, _), run in runs.items():
        by_task.setdefault(task, []).append(np.minimum.accumulate(run["losses"][:evals]))
    found = []
    for task, own in by_task.items():
        y = np.sort(tables[task].y)
        k = np.arange(1, evals + 1)[:, None]
        tail = (1.0 - np.arange(len(y) + 1) / len(y))[None, :] ** k  # P(the best of k draws is row j or later)
        expected = (tail[:, :-1] - tail[:, 1:]) @ y - y[0]
        left = np.mean(own, axis=0) - y[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.nanmean(np.where(expected > 1e-9 * np.ptp(y), 1.0 - left / expected, np.nan)))
    return float(np.mean(found))


def reached_by_task(warm: Curves, cold: Curves, evals: int) -> list[int]:
    """Of every task the evaluations until its mean over seeds is at its own cold level; one more than all, if never."""
    found = []
    for task in sorted({task for task, _ in warm}):
        keys = [key for key in warm if key[0] == task]
        level = np.mean([cold[key][evals - 1] for key in keys])
        hit = np.flatnonzero(np.mean([warm[key] for key in keys], axis=0) <= level + 1e-12)
        found.append(int(hit[0]) + 1 if len(hit) else evals + 1)
    return found


def at(n: int) -> Callable[[Array], float]:
    return lambda curve: float(curve[n - 1])


def shown(found: tuple[float, float, float] | None) -> str:
    return "" if found is None else f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}]"


def lines(folder: Path, part: str, evals: int) -> list[str]:
    tables = load()
    if part != "all":
        tables = {key: table for key, table in tables.items() if (key in HELD_OUT) == (part == "held-out")}
    runs = read(folder, tables, evals)
    curves = {kind: regrets(own, tables, evals) for kind, own in runs.items()}
    cold = curves.get((*OWN_COLD, False), {})
    out = [
        f"{part}, {evals} evaluations",
        "",
        "| method | past | runs | "
        + " | ".join(f"at {n}" for n in AT)
        + " | area | area − own cold | area − TPE with five |",
        "| --- " * (len(AT) + 6) + "|",
    ]
    warm_tpe = curves.get((*WARM_TPE, False), {})
    for kind, own in sorted(curves.items()):
        method, scenario, is_pool = kind
        curve = mean(own)
        against = (
            shown(difference(own, cold, lambda c: float(c.mean()))) if method == "metatune" and not is_pool else ""
        )
        better = (
            shown(difference(own, warm_tpe, lambda c: float(c.mean()))) if kind == ("metatune", "good", False) else ""
        )
        what = scenario + (", rows only" if is_pool else "")
        out.append(
            f"| {method} | {what} | {len(own)} | " + " | ".join(f"{curve[n - 1]:.3f}" for n in AT if n <= evals)
            + f" | {curve.mean():.3f} | {against} | {better} |"
        )  # fmt: skip
    warm = curves.get(("metatune", "good", False), {})
    common = {key: warm[key] for key in warm.keys() & cold.keys()}
    if common:
        level = mean({key: cold[key] for key in common})[evals - 1]
        reached = np.flatnonzero(mean(common) <= level)
        n = int(reached[0]) + 1 if len(reached) else None
        by_task = reached_by_task(common, cold, evals)
        never = sum(n > evals for n in by_task)
        out += [
            "",
            f"The own cold level at {evals} ({level:.3f}) is reached after {n or 'more'} evaluations; "
            f"task by task after {np.median(by_task):g} (median of {len(by_task)}, {never} not within {evals}).",
        ]
    wrong = curves.get(("metatune", "all-wrong", False), {})
    for n in (25, 50):
        if wrong and cold:
            out.append(f"All wrong against cold at {n}: {shown(difference(wrong, cold, at(n)))}")
    for (method, scenario, is_pool), own_runs in runs.items():
        deepar = {key: run for key, run in own_runs.items() if key[0].startswith("deepar/")}
        if is_pool and deepar:
            better = f"improvement over random search {improvement(deepar, tables, evals):.3f}"
            out.append(f"{method}, {scenario}, rows only, deepar: {better}")
    timed = [
        run
        for (method, scenario, _), own_runs in runs.items()
        if (method, scenario) == ("metatune", "good")
        for run in own_runs.values()
    ]
    tpe = [run for (method, _, _), own_runs in runs.items() if method == "optuna-tpe" for run in own_runs.values()]
    if timed:
        ask, first, learn = (
            np.median([run[name] for run in timed]) * 1e3
            for name in ("ask_seconds", "first_ask_seconds", "learning_seconds")
        )
        peer = f", Optuna TPE {np.median([run['ask_seconds'] for run in tpe]) * 1e3:.1f}" if tpe else ""
        out += [
            "",
            f"CPU ms, medians of runs: learning {learn:.0f}, first ask {first:.0f}, later asks {ask:.1f}{peer}.",
        ]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RESULTS)
    parser.add_argument("--part", default="all", choices=("chosen-on", "held-out", "all"))
    parser.add_argument("--evals", type=int, default=50)
    given = parser.parse_args()
    print("\n".join(lines(given.folder, given.part, given.evals)))


if __name__ == "__main__":
    main()
