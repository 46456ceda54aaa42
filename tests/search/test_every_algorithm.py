"""What every algorithm with a model of the trials promises, whatever the space and the history."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.search.history import State
from app.search.pareto import hypervolume
from app.search.space import Bool, Categorical, Float, Int, SearchSpace
from app.search.suggest import Goal, History, Record, Suggestions, free_point, suggest
from tests.search.spaces import BAND, BOX, CHOICES, MIXED

ALGORITHMS = ["tpe", "cmaes", "nsga2"]
LOSS = Goal(("minimize",))
LINE = SearchSpace({"x": Float(0, 1)})
SMALL = SearchSpace(
    {"a": Int(0, 3), "c": Categorical(("p", "q", 1)), "n": Bool(when={"c": ("p",)})},
    ("a <= 2",),
)

WIDE = SearchSpace({f"x{j}": Float(0, 1) for j in range(60)})
SPACES = {"box": BOX, "line": LINE, "choices": CHOICES, "mixed": MIXED, "band": BAND, "wide": WIDE}


def trials(space: SearchSpace, n: int, value: Any, seed: int = 0) -> list[Record]:
    records: list[Record] = []
    keys: set[str] = set()
    for number in range(1, n + 1):
        point = free_point(space, seed=seed, number=number, taken=keys)
        assert point is not None
        keys.add(space.key(point.params))
        records.append(Record(number, point.params, "complete", (float(value(number, point.params)),)))
    return records


def bowl(number: int, params: dict[str, Any]) -> float:
    return sum((float(v) / (1 + abs(float(v))) - 0.3) ** 2 for v in params.values() if not isinstance(v, str))


def ask(space: SearchSpace, records: list[Record], algorithm: str, count: int = 1, **given: Any) -> Suggestions:
    goal = given.pop("goal", LOSS)
    first = max((record.number for record in records), default=0) + 1
    arguments = {"seed": 7, "first_number": first, **given}
    return suggest(space, goal, History.of(space, goal, records), count=count, algorithm=algorithm, **arguments)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("n_trials", [0, 3, 40])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_suggestion_is_legal_and_new(space: SearchSpace, n_trials: int, algorithm: str) -> None:
    records = trials(space, n_trials, bowl)
    found = ask(space, records, algorithm, 6)
    assert [space.check(point.params) for point in found.points] == [point.params for point in found.points]
    keys = [space.key(point.params) for point in found.points] + [space.key(record.params) for record in records]
    assert len(set(keys)) == len(keys) == n_trials + 6


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_first_points_fill_space_and_later_ones_are_the_algorithms(space: SearchSpace, algorithm: str) -> None:
    first = ask(space, [], algorithm).points[0]
    later = ask(space, trials(space, 40, bowl), algorithm, 3).points
    assert (first.source, {point.source for point in later}) == ("sobol", {algorithm})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_small_space_is_handed_out_completely_once_and_then_exhausted(algorithm: str) -> None:
    records: list[Record] = []
    while not (found := ask(SMALL, records, algorithm, 5)).exhausted:
        records += [
            Record(len(records) + 1 + i, p.params, "complete", (float(len(records) % 4),))
            for i, p in enumerate(found.points)
        ]
    keys = [SMALL.key(record.params) for record in records] + [SMALL.key(p.params) for p in found.points]
    assert sorted(keys) == sorted(SMALL.key(params) for params in SMALL.enumerate())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("n_trials", [0, 8, 30])
def test_a_batch_equals_as_many_asks_in_a_row(n_trials: int, algorithm: str) -> None:
    records = trials(MIXED, n_trials, bowl)
    batch = ask(MIXED, records, algorithm, 4).points
    for k in range(4):
        (point,) = ask(MIXED, records, algorithm).points
        assert point == batch[k]
        records = [*records, Record(n_trials + 1 + k, point.params, "pending")]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pending_trials_with_higher_numbers_do_not_matter(algorithm: str) -> None:
    records = trials(BOX, 30, bowl)
    later = Record(40, BOX.decode(np.full(5, 0.5)), "pending")
    assert ask(BOX, records, algorithm, first_number=31) == ask(BOX, [*records, later], algorithm, first_number=31)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_seed_and_the_number_change_the_point(algorithm: str) -> None:
    records = trials(BOX, 30, bowl)
    asked = [ask(BOX, records, algorithm, seed=s, first_number=n).points[0] for s in (1, 2) for n in (31, 32)]
    assert len({BOX.key(point.params) for point in asked}) == 4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fixed_values_are_kept_exactly_and_their_children_completed(algorithm: str) -> None:
    fixed = MIXED.check({"degree": 3, "C": 0.123456789}, partial=True)
    for point in ask(MIXED, trials(MIXED, 30, bowl), algorithm, 5, fixed=fixed).points:
        assert MIXED.check(point.params) == point.params
        kept = {name: point.params[name] for name in ("kernel", "degree", "C")}
        assert kept == {"kernel": "poly", "degree": 3, "C": 0.123456789}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_maximised_objective_is_the_mirror_of_a_minimised_one(algorithm: str) -> None:
    records = trials(BOX, 30, bowl)
    mirrored = [Record(r.number, r.params, "complete", (-r.values[0],)) for r in records if r.values]
    there = ask(BOX, mirrored, algorithm, 3, goal=Goal(("maximize",)))
    assert ask(BOX, records, algorithm, 3) == there


@pytest.mark.parametrize("algorithm", ["cmaes", "nsga2"])
def test_only_the_order_of_the_values_matters_to_what_compares_trials(algorithm: str) -> None:
    records = trials(BOX, 30, bowl)
    stretched = [Record(r.number, r.params, "complete", (1e6 * r.values[0] ** 3,)) for r in records if r.values]
    assert ask(BOX, records, algorithm, 3) == ask(BOX, stretched, algorithm, 3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_failed_trials_teach_nothing_but_are_not_repeated(algorithm: str) -> None:
    records = trials(BOX, 30, bowl)
    failed = [Record(100 + i, BOX.decode(np.full(5, 0.1 * i)), "failed") for i in range(5)]
    assert ask(BOX, records, algorithm, first_number=200) == ask(BOX, records + failed, algorithm, first_number=200)
    small = [Record(i + 1, params, "failed") for i, params in enumerate(SMALL.enumerate())]
    assert ask(SMALL, small[:-1], algorithm, 2).points[0].params == small[-1].params


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_measured_bound_is_approached_from_within_when_the_best_lies_beyond_it(algorithm: str) -> None:
    goal = Goal(("maximize",), (("at_most", 3.0),))
    records = [
        Record(r.number, r.params, "complete", (float(r.params["x0"]),), (float(r.params["x0"]),))
        for r in trials(BOX, 20, bowl)
    ]
    for _ in range(60):
        point = ask(BOX, records, algorithm, goal=goal).points[0]
        x = float(point.params["x0"])
        records.append(Record(len(records) + 1, point.params, "complete", (x,), (x,)))
    kept = [r.values[0] for r in records[20:] if r.values and r.values[0] <= 3.0]
    assert len(kept) >= 30, "half of a uniform draw's share of 0.8 would be 24"
    assert max(kept) > 2.7


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_configurations_that_cannot_be_evaluated_are_avoided(algorithm: str) -> None:
    records: list[Record] = []
    for _ in range(60):
        point = ask(BOX, records, algorithm).points[0]
        x = float(point.params["x0"])
        state: State = "infeasible" if x < 0 else "complete"
        records.append(Record(len(records) + 1, point.params, state, None if x < 0 else (x,)))
    assert sum(record.state == "infeasible" for record in records[30:]) <= 12, "a uniform draw would meet 15"
    assert min(record.values[0] for record in records if record.values) < 0.3


def two_bowls(params: dict[str, Any]) -> tuple[float, float]:
    rest = sum(float(params[f"x{j}"]) ** 2 for j in range(1, 5))
    return float(params["x0"]) ** 2 + rest, (float(params["x0"]) - 2.0) ** 2 + rest


@pytest.mark.parametrize("algorithm", ["tpe", "nsga2"])
def test_two_objectives_are_pursued_along_the_front_better_than_by_chance(algorithm: str) -> None:
    goal = Goal(("minimize", "minimize"))
    volumes: dict[str, list[float]] = {"random": [], algorithm: []}
    for name, volume in volumes.items():
        for seed in range(3):
            records: list[Record] = []
            for _ in range(80):
                params = ask(BOX, records, name, goal=goal, seed=seed).points[0].params
                records.append(Record(len(records) + 1, params, "complete", two_bowls(params)))
            values = np.array([record.values for record in records])
            volume.append(hypervolume(values, np.full(2, 40.0)))
    assert min(volumes[algorithm]) > max(volumes["random"])
    spots = [float(record.params["x0"]) for record in records[-20:]]
    assert np.std(spots) > 0.2, "not all at one end of the front"


@st.composite
def hostile_histories(draw: st.DrawFn) -> tuple[SearchSpace, list[Record]]:
    space = draw(st.sampled_from([BOX, SMALL, MIXED, LINE, CHOICES]))
    n = draw(st.integers(0, 30))
    seed = draw(st.integers(0, 99))
    value = st.sampled_from([0.0, 1.0, 1e300, -1e300, 1.7e308, -1.7e308, 5e-324, math.nan, math.inf])
    value = st.just(0.0) if draw(st.booleans()) else value | st.floats(-10, 10)
    states: list[State] = ["complete", "pruned", "failed", "infeasible", "pending"]
    some = draw(st.sampled_from([["complete"], ["complete", "complete", *states], states, ["failed"], ["infeasible"]]))
    records = []
    for number in range(1, n + 1):
        place = draw(st.integers(1, 6)) if draw(st.booleans()) else number
        point = free_point(space, seed=seed, number=place, taken=())
        assert point is not None
        state = draw(st.sampled_from(some))
        values = (draw(value),) if state == "complete" or (state == "pruned" and draw(st.booleans())) else None
        records.append(Record(number, point.params, state, values))
    return space, records


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(hostile_histories(), st.integers(1, 3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_history_the_suggestions_are_legal_and_new(
    algorithm: str, case: tuple[SearchSpace, list[Record]], count: int
) -> None:
    space, records = case
    found = ask(space, records, algorithm, count)
    taken = {space.key(record.params) for record in records}
    for point in found.points:
        assert space.check(point.params) == point.params
        assert space.key(point.params) not in taken
        taken.add(space.key(point.params))
    assert len(found.points) == count or found.exhausted


@pytest.mark.parametrize("algorithm", ["tpe", "nsga2"])
@given(st.integers(2, 16), st.integers(0, 40), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_many_objectives_with_extreme_and_equal_values_still_lead_to_suggestions(
    algorithm: str, n_objectives: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    levels = np.array([0.0, 0.0, 1.0, -1.0, 1e300, -1e300, 1.7e308, 5e-324])
    goal = Goal(("minimize",) * n_objectives, (("at_most", 0.5),))
    records = [
        Record(r.number, r.params, "complete", tuple(rng.choice(levels, n_objectives).tolist()), (rng.choice(levels),))
        for r in trials(MIXED, n, bowl)
    ]
    points = ask(MIXED, records, algorithm, 2, goal=goal).points
    assert [MIXED.check(point.params) for point in points] == [point.params for point in points]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", [1.0, 1e300, -1e300, 5e-324, 0.0])
def test_equal_values_still_lead_to_suggestions(algorithm: str, value: float) -> None:
    found = ask(BOX, trials(BOX, 40, lambda n, p: value), algorithm, 3)
    assert [point.source for point in found.points] == [algorithm] * 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trials_of_an_earlier_version_of_the_space_are_read_as_far_as_they_mean_anything(algorithm: str) -> None:
    records = [Record(n, {"x0": 40.0 * n, "x1": -7.0, "gone": "a"}, "complete", (float(n),)) for n in range(1, 41)]
    points = ask(BOX, records, algorithm, 3).points
    assert [BOX.check(point.params) for point in points] == [point.params for point in points]
