"""NSGA-II: children resemble the best, on any space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.search.nsga2 import POPULATION_OF_FRONTS, POPULATION_SIZE, Breeder
from app.search.space import Categorical, Float, SearchSpace
from app.search.suggest import Goal, History, Record, suggest

LOSS = Goal(("minimize",))
BOX = SearchSpace({f"x{j}": Float(-5, 5) for j in range(4)})


def records_of(space: SearchSpace, n: int, value: Any, seed: int = 0) -> list[Record]:
    rows = np.random.default_rng(seed).random((n, space.n_dimensions))
    return [
        Record(number, params, "complete", (float(value(params)),))
        for number, params in enumerate(map(space.decode, rows), start=1)
    ]


def sphere(params: dict[str, Any]) -> float:
    return sum((float(params[f"x{j}"]) - j) ** 2 for j in range(4))


def best_of(algorithm: str, seed: int, **options: Any) -> float:
    records: list[Record] = []
    for number in range(1, 101):
        found = suggest(
            BOX, LOSS, History.of(BOX, LOSS, records), count=1, seed=seed, first_number=number, algorithm=algorithm,
            options=options,
        )  # fmt: skip
        params = found.points[0].params
        records.append(Record(number, params, "complete", (sphere(params),)))
    return min(record.values[0] for record in records if record.values)


def test_the_sphere_is_solved_better_than_by_chance() -> None:
    ours = [best_of("nsga2", seed) for seed in range(3)]
    assert max(ours) < min(best_of("random", seed) for seed in range(3))


def test_children_lie_among_the_better_half_of_the_trials() -> None:
    records = records_of(BOX, 200, sphere)
    points = suggest(
        BOX, LOSS, History.of(BOX, LOSS, records), count=40, seed=0, first_number=201, algorithm="nsga2"
    ).points
    median = np.median([record.values[0] for record in records if record.values])
    assert np.mean([sphere(point.params) < median for point in points]) > 0.9


def test_a_choice_comes_from_a_parent_or_rarely_anew() -> None:
    space = SearchSpace({f"c{j}": Categorical(tuple("abcdefgh")) for j in range(6)})
    records = records_of(space, 60, lambda params: sum(value != "a" for value in params.values()))
    better = [record.params for record in sorted(records, key=lambda r: r.values[0])[:POPULATION_SIZE]]  # type: ignore[index]
    known = {(name, params[name]) for params in better for name in params}
    points = suggest(
        space, LOSS, History.of(space, LOSS, records), count=40, seed=0, first_number=61, algorithm="nsga2"
    ).points
    assert np.mean([(name, value) in known for point in points for name, value in point.params.items()]) > 0.8


def test_crossover_keeps_the_parents_mean_where_both_children_are_as_likely() -> None:
    history = History.of(BOX, LOSS, records_of(BOX, 20, sphere))
    breeder = Breeder(BOX, history, 0, None)
    first, second = np.full((20_000, 4), 0.45), np.full((20_000, 4), 0.55)
    crossed = breeder._crossed(np.random.default_rng(0), first, second)
    changed = crossed[crossed[:, 0] != 0.45, 0]
    assert changed.mean() == pytest.approx(0.5, abs=0.005)  # of about 9,000 draws with a deviation of 0.06
    assert np.ptp(changed) > 0.1, "children lie outside their parents too"


def test_mutation_stays_inside_the_cube_and_changes_about_one_column() -> None:
    breeder = Breeder(BOX, History.of(BOX, LOSS, records_of(BOX, 20, sphere)), 0, None)
    rows = np.random.default_rng(1).random((5000, 4))
    rows[:4] = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]]
    mutated = breeder._mutated(np.random.default_rng(0), rows, 1.0)
    assert ((mutated >= 0) & (mutated <= 1)).all()
    assert (mutated != rows).sum(axis=1).mean() == pytest.approx(1.0, abs=0.05)  # of 5,000 rows


def test_parents_are_the_best_however_many_were_told() -> None:
    history = History.of(BOX, LOSS, records_of(BOX, 500, sphere))
    values = history.objectives[:, 0]
    np.testing.assert_array_equal(Breeder(BOX, history, 0, None)._parents, history.units[np.argsort(values)[:10]])


@pytest.mark.parametrize(("options", "n_first"), [({}, POPULATION_OF_FRONTS), ({"population_size": 5}, 5)])
def test_the_first_population_fills_space(options: dict[str, int], n_first: int) -> None:
    goal = Goal(("minimize", "minimize"))
    records: list[Record] = []
    sources = []
    for number in range(1, 27):
        history = History.of(BOX, goal, records)
        (point,) = suggest(
            BOX, goal, history, count=1, seed=0, first_number=number, algorithm="nsga2", options=options
        ).points
        sources.append(point.source)
        records.append(Record(number, point.params, "complete", (float(point.params["x0"]), float(point.params["x1"]))))
    assert sources == ["sobol"] * min(n_first, 20) + ["nsga2"] * (26 - min(n_first, 20))
