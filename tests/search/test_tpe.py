"""The tree-structured Parzen estimator: its densities are densities, and it finds what chance does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.search.feasible import no_pins
from app.search.space import Bool, Categorical, Float, Int, Ordinal, SearchSpace
from app.search.suggest import Goal, History, Record, suggest
from app.search.tpe import Columns, Parzen

LOSS = Goal(("minimize",))
TREE = SearchSpace(
    {
        "kind": Categorical(("a", "b", "c")),
        "depth": Int(1, 5, when={"kind": ("a",)}),
        "rate": Float(1e-3, 1.0, "log", when={"kind": ("b",)}),
        "on": Bool(),
        "size": Ordinal((16, 64, 256)),
    }
)


def density(space: SearchSpace, n: int, seed: int = 0) -> Parzen:
    rows = space.snap(np.random.default_rng(seed).random((n, space.n_dimensions)))
    return Parzen.around(Columns.of(space), rows, np.arange(1.0, n + 1.0))


def run(space: SearchSpace, value: Callable[[dict[str, Any]], float], n: int, algorithm: str, seed: int) -> float:
    records: list[Record] = []
    for number in range(1, n + 1):
        found = suggest(
            space, LOSS, History.of(space, LOSS, records), count=1, seed=seed, first_number=number, algorithm=algorithm
        )
        params = found.points[0].params
        records.append(Record(number, params, "complete", (value(params),)))
    return min(record.values[0] for record in records if record.values)


def test_a_density_over_numbers_integrates_to_one() -> None:
    line = SearchSpace({"x": Float(0, 1)})
    mixture = density(line, 7)
    places = (np.arange(20_000) + 0.5)[:, None] / 20_000
    assert np.exp(mixture.log_density(places)).mean() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_the_probabilities_of_a_finite_space_sum_to_one(n: int) -> None:
    space = SearchSpace(
        {
            "n": Int(1, 7, "log"), "c": Categorical(("a", "b", "c")), "o": Ordinal((1, 5, 100)),
            "b": Bool(when={"c": ("a", "b")}), "only": Categorical(("x",)), "s": Float(0, 1, step=0.25),
        }
    )  # fmt: skip
    rows = space.encode_many(list(space.enumerate()))
    assert np.exp(density(space, n).log_density(rows)).sum() == pytest.approx(1.0, abs=1e-9)


def test_a_conditional_density_integrates_to_one_over_all_branches() -> None:
    rng = np.random.default_rng(1)
    rows = TREE.snap(rng.random((200_000, 5)))
    # uniform rows: each is as likely as the bins it fell into, so the mean of density over that is the integral
    uniform = np.where(np.isnan(rows[:, 1]), 0.0, np.log(1 / 5)) + np.log(1 / 3) + np.log(1 / 2) + np.log(1 / 3)
    total = np.exp(density(TREE, 12).log_density(rows) - uniform).mean()
    assert total == pytest.approx(1.0, abs=0.02)  # of 200,000 draws


@pytest.mark.parametrize("space", [TREE, SearchSpace({"x": Float(0, 1), "n": Int(0, 3), "c": Categorical((1, 2, 3))})])
def test_samples_follow_the_density(space: SearchSpace) -> None:
    mixture = density(space, 6)
    rows, _ = mixture.sample(np.random.default_rng(2), 100_000, no_pins(space))
    rows = space.snap(rows)
    halves = np.where(np.isnan(rows), -1.0, np.floor(rows * 3))  # coarse cells of the cube
    other = space.snap(np.random.default_rng(3).random((100_000, space.n_dimensions)))
    cells = np.where(np.isnan(other), -1.0, np.floor(other * 3))
    uniform = sum(np.where(np.isnan(other[:, j]), 0.0, -np.log(levels or 1)) for j, levels in enumerate(space.n_levels))
    weights = np.exp(mixture.log_density(other) - uniform)
    for cell in np.unique(cells, axis=0):
        drawn = float((halves == cell).all(axis=1).mean())
        expected = float(weights[(cells == cell).all(axis=1)].sum() / len(other))
        assert drawn == pytest.approx(expected, abs=0.012)


def test_held_columns_choose_the_kernels_that_explain_them() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
    ends = np.array([[0.1, 0.1], [0.9, 0.9]] * 10)
    mixture = Parzen.around(Columns.of(space), ends, np.ones(20))
    rows, _ = mixture.sample(np.random.default_rng(0), 500, np.array([0.9, np.nan]))
    assert (rows[:, 0] == 0.9).all()
    assert np.mean(rows[:, 1] > 0.7) > 0.8


def test_a_finer_grid_tends_to_the_continuum() -> None:
    line, grid = SearchSpace({"x": Float(0, 1)}), SearchSpace({"x": Int(0, 199)})
    rows = grid.encode_many([{"x": k} for k in range(0, 200, 20)])
    columns = Columns.of(grid)
    widths = np.full((10, 1), 0.1)
    weights = np.full(10, 0.1)
    masses = Parzen(columns, rows, widths, weights).log_density(rows)
    densities = Parzen(Columns.of(line), rows, widths, weights).log_density(rows)
    np.testing.assert_allclose(masses + np.log(200), densities, atol=1e-3)


def test_the_sphere_is_solved_better_than_by_chance() -> None:
    space = SearchSpace({f"x{j}": Float(-5, 5) for j in range(4)})

    def sphere(params: dict[str, Any]) -> float:
        return sum((float(params[f"x{j}"]) - j) ** 2 for j in range(4))

    ours = [run(space, sphere, 60, "tpe", seed) for seed in range(3)]
    chance = [run(space, sphere, 60, "random", seed) for seed in range(3)]
    assert max(ours) < 1.5
    assert max(ours) < min(chance)


def test_choices_are_learned_better_than_by_chance() -> None:
    space = SearchSpace({f"c{j}": Categorical(tuple("abcde")) for j in range(8)})
    aim = "abcdeabc"

    def misses(params: dict[str, Any]) -> float:
        return sum(params[f"c{j}"] != aim[j] for j in range(8))

    ours = [run(space, misses, 80, "tpe", seed) for seed in range(3)]
    chance = [run(space, misses, 80, "random", seed) for seed in range(3)]
    assert max(ours) < min(chance)


def test_a_branch_that_is_good_is_explored_with_its_own_parameters() -> None:
    def loss(params: dict[str, Any]) -> float:
        return abs(np.log10(float(params["rate"])) + 2.0) if params["kind"] == "b" else 3.0

    assert max(run(TREE, loss, 50, "tpe", seed) for seed in range(3)) < 0.1


def test_a_pending_point_pushes_the_next_ones_away() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
    rng = np.random.default_rng(0)
    records = [
        Record(n, {"x": float(x), "y": float(y)}, "complete", (float((x - 0.5) ** 2 + (y - 0.5) ** 2),))
        for n, (x, y) in enumerate(rng.random((40, 2)), start=1)
    ]
    crowd = [Record(41 + k, {"x": 0.5 + 0.001 * k, "y": 0.5}, "pending") for k in range(20)]

    def distance(known: list[Record]) -> float:
        history = History.of(space, LOSS, known)
        asked = [
            suggest(space, LOSS, history, count=1, seed=1, first_number=n, algorithm="tpe").points[0].params
            for n in range(80, 110)
        ]
        return float(np.mean([np.hypot(float(p["x"]) - 0.5, float(p["y"]) - 0.5) for p in asked]))

    assert distance(records + crowd) > 1.2 * distance(records)


def test_the_order_in_which_trials_are_listed_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    records = [
        Record(n, TREE.decode(row), "complete", (float(np.nansum(row)),))
        for n, row in enumerate(rng.random((30, 5)), start=1)
    ]
    asked = [
        suggest(TREE, LOSS, History.of(TREE, LOSS, listed), count=4, seed=1, first_number=31, algorithm="tpe")
        for listed in (records, records[::-1])
    ]
    assert asked[0] == asked[1]


def test_a_hundred_thousand_trials_cost_a_bounded_density() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
    rows = np.random.default_rng(0).random((100_000, 2))
    history = History.of(
        space,
        LOSS,
        [Record(n, {"x": x, "y": y}, "complete", ((x - 0.3) ** 2 + (y - 0.7) ** 2,))
         for n, (x, y) in enumerate(rows.tolist(), start=1)],
    )  # fmt: skip
    (point,) = suggest(space, LOSS, history, count=1, seed=0, first_number=100_001, algorithm="tpe").points
    assert point.source == "tpe"
    assert abs(float(point.params["x"]) - 0.3) + abs(float(point.params["y"]) - 0.7) < 0.2
