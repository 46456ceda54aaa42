"""What the tables of `make bench-quality` rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.problems import SPLITS
from benchmarks.quality.report import Run, Yardstick, differences, interval, load, tables
from benchmarks.quality.run import Cell, Results, cells
from benchmarks.quality.spaces import box, categorical, filled, float_, int_, legal, of_units, unit_of


def run(peer: str, true: list[float], seed: int = 0, **given: Any) -> Run:
    cell = {"split": "development", "group": "bbob5", "problem": "p", "seed": seed, "batch": 1, "pending": 1}
    line = {
        "peer": peer, "cell": cell, "n_asked_for": len(true), "date": "2026-01-01", "n_objectives": 1, "limits": [],
        "optimum": 0.0, "reference": None, "is_log": False, "values": [[x] for x in true], "true": [[x] for x in true],
        "outcomes": [[]] * len(true), "ask_ms": [1.0], "tell_ms": [0.0], **given,
    }  # fmt: skip
    return Run(line)


def test_regret_is_zero_at_the_optimum_and_one_at_the_median_of_the_best_of_eight() -> None:
    beginnings = [run("random", [9.0] * 7 + [best] + [0.5], seed) for seed, best in enumerate((1.0, 2.0, 4.0))]
    yardstick = Yardstick(beginnings)
    assert yardstick.regret(run("metatune", [2.0]), 1) == 1.0
    assert yardstick.regret(run("metatune", [5.0, 0.0]), 2) == 0.0
    assert yardstick.regret(run("metatune", [5.0, 0.0]), 1) == 1.5, "capped"
    assert yardstick.regret(run("metatune", [5.0]), 2) is None, "it broke off before"


def test_logarithms_are_compared_where_regrets_span_decades() -> None:
    yardstick = Yardstick([run("random", [1.0] * 8, is_log=True)])
    regret = yardstick.regret(run("metatune", [np.sqrt(1e-3) - 1e-3], is_log=True), 1)
    assert regret == pytest.approx(0.5, abs=1e-3)


def test_of_noisy_values_the_true_one_of_what_looked_best_counts() -> None:
    noisy = run("metatune", [3.0, 1.0, 2.0], values=[[3.0], [2.5], [0.1]])
    assert noisy.best.tolist() == [3.0, 1.0, 2.0]


def test_of_limited_trials_the_best_that_kept_the_limits_counts() -> None:
    limited = run("metatune", [1.0, 3.0, 2.0], limits=[0.0], outcomes=[[0.1], [0.0], [-1.0]])
    assert limited.best.tolist() == [np.inf, 3.0, 2.0]


def test_two_objectives_count_by_the_hypervolume_that_is_missing() -> None:
    two: dict[str, Any] = {"n_objectives": 2, "optimum": 4.0, "reference": [2.0, 2.0]}
    random = Run({**run("random", [0.0] * 8, **two).line, "true": [[1.0, 1.0]] * 8})
    ours = Run({**run("metatune", [0.0] * 2, **two).line, "true": [[1.0, 1.0], [0.0, 0.0]]})
    assert [Yardstick([random]).regret(ours, n) for n in (1, 2)] == [1.0, 0.0]


def test_an_unknown_optimum_is_the_best_that_any_run_reached() -> None:
    runs = [run("random", [5.0] * 8, optimum=None), run("other", [1.0], optimum=None)]
    assert Yardstick(runs).regret(run("metatune", [3.0]), 1) == 0.5


def test_peers_are_compared_on_the_cells_that_both_ran() -> None:
    ours = [run("metatune", [1.0], seed) for seed in (0, 1)]
    theirs = [run("other", [3.0], seed) for seed in (1, 2)]
    assert differences(ours, theirs, lambda one: one.reached(1)) == {"p/1/1": [-2.0]}


def test_an_interval_covers_the_mean_of_the_problems_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        problems = rng.normal(0.3, 0.2, size=12)
        of = interval({str(k): rng.normal(mean, 0.1, size=4).tolist() for k, mean in enumerate(problems)}, rng)
        covered += of.low <= 0.3 <= of.high
    assert 86 <= covered <= 99, "a percentile interval of twelve problems is a little short of 95"


def test_over_the_same_problems_an_interval_is_that_of_the_seeds_alone() -> None:
    by_problem = {"a": [-1.0, -1.0], "b": [1.0, 1.0], "c": [0.0, 0.6]}
    of = interval(by_problem, np.random.default_rng(0), same_problems=True)
    assert (of.low, of.mean, of.high) == pytest.approx((0.0, 0.1, 0.2))
    assert interval(by_problem, np.random.default_rng(0)).low < -0.3


def test_the_splits_share_no_problem() -> None:
    names = [name for split in SPLITS.values() for group in split.values() for name in group]
    assert len(names) == len(set(names))


def test_cells_take_the_groups_in_turn_and_seeds_before_problems() -> None:
    some = list(cells(["development"], ["bbob50", "limits"], range(2)))
    assert [cell.seed for cell in some] == [0] * 9 + [1] * 9
    assert {cell.group for cell in some[:2]} == {"bbob50", "limits"}


def test_cells_may_be_those_of_some_problems() -> None:
    some = list(cells(["reserve"], [], range(2), problems=["bbob/f7/d5/i3", "ml/network/wine"]))
    assert {(cell.problem, cell.seed) for cell in some} == {
        (problem, seed) for problem in ("bbob/f7/d5/i3", "ml/network/wine") for seed in range(2)
    }


def test_a_run_that_is_there_is_not_run_again_unless_it_was_shorter(tmp_path: Path) -> None:
    cell = Cell("development", "bbob5", "p", 0)
    Results(tmp_path, "random").append(dict(run("random", [1.0] * 8).line))
    again = Results(tmp_path, "random")
    assert again.has(cell, 8)
    assert not again.has(cell, 9)
    assert not again.has(Cell("development", "bbob5", "p", 0, batch=8), 8)
    assert [one.n for one in load(tmp_path)] == [8]


def test_the_tables_name_what_broke_off() -> None:
    runs = [run("random", [2.0] * 8), run("metatune", [1.0] * 8), run("ax", [1.0] * 3, error="no trial")]
    text = tables([Run(json.loads(json.dumps(dict(one.line)))) for one in runs], 8)
    assert "| BBOB, 5 dimensions | **0.500 (1)** | 1.000 (1) | – |" in text
    assert "broke off: ax 1" in text


def test_uniform_numbers_become_legal_configurations_and_go_back() -> None:
    space = {
        "kind": categorical("a", "b"),
        "n": int_(1, 4),
        "rate": float_(1e-4, 1.0, "log"),
        "depth": int_(2, 5, kind=["b"]),
    }
    counts = np.bincount([of_units(space, [0.1, u, 0.5, 0.5])["n"] for u in np.linspace(0, 1 - 1e-9, 400)])
    assert counts.tolist() == [0, 100, 100, 100, 100]
    params = of_units(space, [0.0, 0.0, 0.5, 0.9])
    assert params == {"kind": "a", "n": 1, "rate": pytest.approx(1e-2)}
    assert unit_of(space["rate"], params["rate"]) == pytest.approx(0.5)
    assert filled(space, params)["depth"] in (3, 4)
    assert legal(space, {"kind": "b", "n": 9.7, "rate": 2.0, "depth": "3"}) == {
        "kind": "b",
        "n": 4,
        "rate": 1.0,
        "depth": 3,
    }
    assert legal(box(1), {"x0": -7}) == {"x0": -5.0}
