"""The door: legal, deterministic, never twice, whatever the history."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import FitFailed, Invalid
from app.search import models
from app.search.history import State
from app.search.space import Categorical, Fixed, Float, SearchSpace
from app.search.suggest import (
    Goal,
    History,
    Record,
    Suggestions,
    check_options,
    choose_algorithm,
    free_point,
    in_turn,
    posterior,
    suggest,
)
from tests.search.spaces import BOX, MIXED, SMALL

LOSS = Goal(("minimize",))


def trials(space: SearchSpace, n: int, value: Any, seed: int = 0) -> list[Record]:
    """n complete trials at free points; `value` maps (number, params) to the objective."""
    records: list[Record] = []
    keys: set[str] = set()
    for number in range(1, n + 1):
        point = free_point(space, seed=seed, number=number, taken=keys)
        assert point is not None
        keys.add(space.key(point.params))
        records.append(Record(number, point.params, "complete", (float(value(number, point.params)),)))
    return records


def ask(space: SearchSpace, records: list[Record], count: int = 1, goal: Goal = LOSS, **options: Any) -> Suggestions:
    first = max((record.number for record in records), default=0) + 1
    arguments = {"seed": 7, "first_number": first, **options}
    return suggest(space, goal, History.of(space, goal, records), count=count, **arguments)


def bowl(number: int, params: dict[str, Any]) -> float:
    return sum((float(v) / (1 + abs(float(v))) - 0.3) ** 2 for v in params.values() if not isinstance(v, str))


@pytest.mark.parametrize("algorithm", ["auto", "gp", "sobol", "random", "grid"])
@pytest.mark.parametrize("space", [BOX, SMALL, MIXED])
def test_every_suggestion_is_legal_and_new(space: SearchSpace, algorithm: str) -> None:
    records = trials(space, 10, bowl)
    found = ask(space, records, 6, algorithm=algorithm)
    for point in found.points:
        assert space.check(point.params) == point.params
    keys = [space.key(point.params) for point in found.points] + [space.key(record.params) for record in records]
    assert len(set(keys)) == len(keys)
    assert found.exhausted == (space is SMALL)
    assert len(found.points) == (2 if space is SMALL else 6)


@pytest.mark.parametrize("algorithm", ["gp", "sobol", "random", "grid"])
def test_a_small_space_is_handed_out_completely_once_and_then_exhausted(algorithm: str) -> None:
    records: list[Record] = []
    while not (found := ask(SMALL, records, 5, algorithm=algorithm)).exhausted:
        records += [
            Record(len(records) + 1 + i, p.params, "complete", (float(len(records) % 4),))
            for i, p in enumerate(found.points)
        ]
    keys = {SMALL.key(record.params) for record in records} | {SMALL.key(p.params) for p in found.points}
    assert keys == {SMALL.key(params) for params in SMALL.enumerate()}
    assert len(records) + len(found.points) == 12


@pytest.mark.parametrize("space", [BOX, MIXED])
def test_the_order_of_records_does_not_change_the_suggestion(space: SearchSpace) -> None:
    records = trials(space, 14, bowl)
    shuffled = random.Random(3).sample(records, len(records))
    assert ask(space, records) == ask(space, shuffled)


@pytest.mark.parametrize("n_trials", [0, 4, 12])
def test_a_batch_equals_as_many_asks_in_a_row(n_trials: int) -> None:
    records = trials(MIXED, n_trials, bowl)
    batch = ask(MIXED, records, 4).points
    for k in range(4):
        (point,) = ask(MIXED, records, 1).points
        assert point.params == batch[k].params
        records = [*records, Record(n_trials + 1 + k, point.params, "pending")]


def test_pending_trials_with_higher_numbers_do_not_matter() -> None:
    records = trials(BOX, 12, bowl)
    later = Record(40, BOX.decode(np.full(5, 0.5)), "pending")
    assert ask(BOX, records, first_number=13) == ask(BOX, [*records, later], first_number=13)


def test_pending_trials_push_the_next_point_away() -> None:
    records = trials(BOX, 20, bowl)
    first = ask(BOX, records).points[0]
    second = ask(BOX, [*records, Record(21, first.params, "pending")]).points[0]
    distance = np.abs(BOX.encode(first.params) - BOX.encode(second.params)).max()
    assert distance > 0.01


def test_the_seed_and_the_number_change_the_point() -> None:
    points = [ask(BOX, [], seed=seed, first_number=number).points[0].params for seed in (1, 2) for number in (1, 2)]
    assert len({BOX.key(params) for params in points}) == 4


def test_the_first_suggestion_is_the_defaults_with_the_middle_for_the_rest() -> None:
    space = SearchSpace({"x": Float(0, 1, default=0.2), "y": Float(0, 2), "k": Categorical(("a", "b"), default="b")})
    point = ask(space, []).points[0]
    assert (point.source, point.params) == ("initial", {"x": 0.2, "y": 1.0, "k": "b"})
    assert ask(space, [], 2).points[1].source == "sobol"


@pytest.mark.parametrize("algorithm", ["gp", "sobol", "random", "grid"])
def test_fixed_values_are_kept_exactly_and_their_children_completed(algorithm: str) -> None:
    fixed = MIXED.check({"degree": 3, "C": 0.123456789}, partial=True)
    found = ask(MIXED, trials(MIXED, 12, bowl), 5, algorithm=algorithm, fixed=fixed)
    assert len(found.points) == 5
    for point in found.points:
        assert {name: point.params[name] for name in ("kernel", "degree", "C")} == {
            "kernel": "poly",
            "degree": 3,
            "C": 0.123456789,
        }
        MIXED.check(point.params)


def test_a_grid_visits_every_node_once_and_ends() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(1, 100, "log"), "z": Float(0, 1, step=0.5)})
    found = ask(space, [], 100, algorithm="grid", options={"resolution": 3})
    assert found.exhausted
    nodes = [tuple(point.params.values()) for point in found.points]
    expected = [(x, y, z) for x in (0.0, 0.5, 1.0) for y in (1.0, 10.0, 100.0) for z in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(nodes, expected, rtol=1e-12)


def test_unknown_algorithms_and_options_are_refused_with_the_legal_ones() -> None:
    with pytest.raises(Invalid, match="auto, gp"):
        check_options("annealing", {})
    with pytest.raises(Invalid, match="resolution"):
        check_options("grid", {"steps": 3})
    with pytest.raises(Invalid, match="got 0"):
        check_options("grid", {"resolution": 0})
    assert check_options("grid", {"resolution": 4}) == {"resolution": 4}


def test_auto_is_the_gaussian_process_and_says_why() -> None:
    name, why = choose_algorithm(BOX, LOSS, "auto", 0)
    assert name == "gp"
    assert why == "a Gaussian process with expected improvement needs the fewest trials for 5 parameters"
    _, why = choose_algorithm(MIXED, Goal(("minimize",) * 2), "auto", 1000)
    for part in ("two objectives", "8 parameters, 2 of choices, 2 conditional", "every third number", "of 1000 trials"):
        assert part in why


def test_a_space_of_fixed_parameters_has_one_configuration() -> None:
    found = ask(SearchSpace({"a": Fixed(1)}), [], 3)
    assert [point.params for point in found.points] == [{"a": 1}]
    assert found.exhausted


def test_the_five_dimensional_sphere_is_solved_in_forty_trials() -> None:
    optimum = np.array([1.0, -2.0, 0.5, 3.3, -4.0])
    records: list[Record] = []
    for number in range(1, 41):
        params = ask(BOX, records).points[0].params
        loss = float(np.sum((np.array(list(params.values())) - optimum) ** 2))
        records.append(Record(number, params, "complete", (loss,)))
    assert min(record.values[0] for record in records if record.values) < 1e-2


def test_a_maximised_objective_is_the_mirror_of_a_minimised_one() -> None:
    records = trials(BOX, 15, bowl)
    mirrored = [Record(r.number, r.params, "complete", (-r.values[0],)) for r in records if r.values]
    here = ask(BOX, records).points[0]
    there = ask(BOX, mirrored, goal=Goal(("maximize",))).points[0]
    assert here.params == there.params
    assert here.predicted_mean is not None
    assert there.predicted_mean == (-here.predicted_mean[0],)


def test_a_suggestion_of_two_objectives_says_what_is_believed_of_each_and_who_was_out() -> None:
    records = [
        Record(r.number, r.params, "complete", (float(r.params["x0"]), 5.0 - float(r.params["x0"])))
        for r in trials(BOX, 15, bowl)
    ]
    records.append(Record(16, BOX.decode(np.full(5, 0.4)), "pending"))
    first, second = ask(BOX, records, 2, goal=Goal(("minimize", "maximize")), first_number=17).points
    x = float(first.params["x0"])
    assert first.predicted_mean == pytest.approx((x, 5.0 - x), abs=0.5)
    assert first.predicted_std is not None
    assert all(std > 0 for std in first.predicted_std)
    assert first.acquisition is not None
    assert first.feasibility is None
    assert (first.pending, second.pending) == ((16,), (16, 17))


def test_a_corner_that_was_tried_does_not_hide_the_points_beside_it() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)}, ("x + y <= 1.001", "x + y >= 0.999"))
    records = trials(space, 10, lambda n, p: p["x"])
    records.append(Record(11, {"x": 0.0, "y": 1.0}, "complete", (0.0,)))
    assert [point.source for point in ask(space, records, 5).points] == ["gp"] * 5


def test_a_measured_bound_is_kept_when_the_best_lies_beyond_it() -> None:
    goal = Goal(("maximize",), (("at_most", 3.0),))
    records = [
        Record(r.number, r.params, "complete", (float(r.params["x0"]),), (float(r.params["x0"]),))
        for r in trials(BOX, 30, bowl)
    ]
    points = ask(BOX, records, 4, goal=goal).points
    assert all(2.5 < float(point.params["x0"]) < 3.05 for point in points)


def test_infeasible_trials_teach_where_not_to_go() -> None:
    records = []
    for r in trials(BOX, 40, lambda n, p: p["x0"]):
        crashed = float(r.params["x0"]) < 0
        records.append(
            Record(r.number, r.params, "infeasible" if crashed else "complete", None if crashed else r.values)
        )
    points = ask(BOX, records, 2).points
    assert all(float(point.params["x0"]) > -0.1 for point in points)


def test_bounds_that_were_each_broken_once_leave_nothing_to_model_and_still_an_answer() -> None:
    goal = Goal(("minimize",), (("at_most", 0.0), ("at_most", 0.0)))
    outcomes = [(1.0, float("nan")) if r.number == 1 else (float("nan"), 1.0) for r in trials(BOX, 2, bowl)]
    records = [
        Record(r.number, r.params, "complete", r.values, of)
        for r, of in zip(trials(BOX, 2, bowl), outcomes, strict=True)
    ]
    out = [Record(r.number, r.params, "pending") for r in trials(BOX, 8, bowl)[2:]]
    assert len(ask(BOX, records + out, 2, goal=goal).points) == 2


FLAT = SearchSpace({"x0": Float(0, 1), "x1": Float(0, 1)})


def told_costs(cost: Any) -> list[Record]:
    """Twelve trials of a valley along x1, each with its cost."""
    records = trials(FLAT, 12, lambda _, p: (p["x0"] - 0.5) ** 2)
    return [replace(record, cost=cost(record.params)) for record in records]


def test_of_points_as_good_the_cheaper_is_tried() -> None:
    def place(sign: int) -> float:
        records = told_costs(lambda p: math.exp(sign * 3 * p["x1"]))
        points = [point for seed in range(4) for point in ask(FLAT, records, count=6, seed=seed).points]
        return float(np.mean([point.params["x1"] for point in points]))

    assert place(1) < 0.4
    assert place(-1) > 0.6


def test_a_cost_that_is_the_same_everywhere_changes_nothing() -> None:
    one, other = (ask(FLAT, told_costs(lambda _, c=cost: c)).points[0] for cost in (None, 7.0))
    assert one.params == other.params


def test_a_best_value_met_again_and_again_is_a_plateau_that_is_left() -> None:
    def plateau(number: int, p: Any) -> float:
        return 1.0 if p["x0"] < 0.5 else 2.0 + p["x1"]

    def share_outside(ties: bool) -> float:
        records = trials(FLAT, 24, lambda n, p: plateau(n, p) - (0.0 if ties else 1e-6 * n * (p["x0"] < 0.5)))
        return float(np.mean([point.params["x0"] >= 0.5 for point in ask(FLAT, records, count=8).points]))

    assert share_outside(ties=True) > share_outside(ties=False)


def test_failed_trials_teach_nothing_but_are_not_repeated() -> None:
    records = trials(BOX, 20, bowl)
    failed = [Record(100 + i, BOX.decode(np.full(5, 0.1 * i)), "failed") for i in range(5)]
    assert ask(BOX, records, first_number=200) == ask(BOX, records + failed, first_number=200)
    small = [Record(i + 1, params, "failed") for i, params in enumerate(SMALL.enumerate())]
    assert ask(SMALL, small[:-1], 2).points[0].params == small[-1].params


def test_a_model_that_cannot_be_fitted_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **named: Any) -> None:
        raise FitFailed("no hyperparameters")

    monkeypatch.setattr(models, "fit", refuse)
    point = ask(BOX, trials(BOX, 12, bowl)).points[0]
    assert point.source == "fallback"
    assert point.why is not None
    assert "no hyperparameters" in point.why


def test_the_posterior_is_in_the_users_units_and_direction() -> None:
    records = trials(BOX, 40, lambda n, p: 1000.0 + 10.0 * p["x0"])
    records = [Record(r.number, r.params, "complete", r.values) for r in records]
    goal = Goal(("maximize",))
    belief = posterior(BOX, goal, History.of(BOX, goal, records), [r.params for r in records[:5]])
    assert belief.mean.shape == belief.std.shape == (5, 1)
    np.testing.assert_allclose(belief.mean[:, 0], [r.values[0] for r in records[:5] if r.values], atol=0.5)
    assert (belief.std >= 0).all()
    assert belief.std.max() < 2.0


def test_without_a_measured_trial_the_posterior_is_unknown() -> None:
    belief = posterior(BOX, LOSS, History.of(BOX, LOSS, []), [BOX.decode(np.full(5, 0.5))])
    assert np.isnan(belief.mean).all()
    assert np.isnan(belief.std).all()


def test_noise_that_was_told_is_believed() -> None:
    exact = trials(BOX, 30, lambda n, p: p["x0"] + (3.0 if n % 2 else -3.0))
    noisy = [Record(r.number, r.params, r.state, r.values, noise=3.0) for r in exact]
    at = [r.params for r in exact]
    stds = [posterior(BOX, LOSS, History.of(BOX, LOSS, records), at).std.mean() for records in (exact, noisy)]
    means = posterior(BOX, LOSS, History.of(BOX, LOSS, noisy), at).mean[:, 0]
    assert all(math.isfinite(s) for s in stds)
    assert np.ptp(means) < 10.0  # the told values span 15


def test_two_objectives_spread_along_the_front() -> None:
    goal = Goal(("minimize", "minimize"))
    records = [
        Record(r.number, r.params, "complete", (float(r.params["x0"]) ** 2, (float(r.params["x0"]) - 2.0) ** 2))
        for r in trials(BOX, 30, bowl)
    ]
    spots = [float(point.params["x0"]) for point in ask(BOX, records, 6, goal=goal).points]
    assert sum(-0.5 <= spot <= 2.5 for spot in spots) >= 4
    assert max(spots) - min(spots) > 0.5


STATES: list[State] = ["complete", "pruned", "failed", "infeasible", "pending"]


@st.composite
def hostile_histories(draw: st.DrawFn) -> tuple[SearchSpace, list[Record]]:
    space = draw(st.sampled_from([BOX, SMALL, MIXED]))
    n = draw(st.integers(0, 16))
    seed = draw(st.integers(0, 99))
    value = st.sampled_from([0.0, 1.0, 1e300, -1e300, 1e-300, 5e-324, math.nan, math.inf]) | st.floats(-10, 10)
    records = []
    for number in range(1, n + 1):
        place = draw(st.integers(1, 6)) if draw(st.booleans()) else number
        point = free_point(space, seed=seed, number=place, taken=())
        assert point is not None
        state = draw(st.sampled_from(["complete", "complete", "complete", *STATES]))
        values = (draw(value),) if state == "complete" or (state == "pruned" and draw(st.booleans())) else None
        noise = draw(st.none() | st.sampled_from([0.0, 1e-300, 1.0, 1e300]))
        records.append(Record(number, point.params, state, values, noise=noise))
    return space, records


@given(hostile_histories(), st.integers(1, 3))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_history_the_suggestions_are_legal_new_and_finite(
    case: tuple[SearchSpace, list[Record]], count: int
) -> None:
    space, records = case
    found = ask(space, records, count)
    taken = {space.key(record.params) for record in records}
    for point in found.points:
        assert space.check(point.params) == point.params
        assert space.key(point.params) not in taken
        taken.add(space.key(point.params))
        for number in (point.exploration, point.acquisition, point.feasibility):
            assert number is None or math.isfinite(number)
        assert all(map(math.isfinite, (point.predicted_mean or ()) + (point.predicted_std or ())))
    assert len(found.points) == count or found.exhausted


@pytest.mark.parametrize("value", [1.0, 1e300, -1e300, 1e-300, 0.0])
def test_equal_values_still_lead_to_suggestions(value: float) -> None:
    found = ask(BOX, trials(BOX, 20, lambda n, p: value), 3)
    assert [point.source for point in found.points] == ["gp"] * 3


def test_long_histories_cost_a_bounded_model() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((2000, 5))
    records = [
        Record(i + 1, BOX.decode(row), "complete", (float(np.sum((row - 0.3) ** 2)),)) for i, row in enumerate(rows)
    ]
    point = ask(BOX, records).points[0]
    assert point.source == "gp"
    assert np.abs(BOX.encode(point.params) - 0.3).max() < 0.1


def test_a_free_point_is_none_only_when_nothing_is_left() -> None:
    keys = {SMALL.key(params) for params in SMALL.enumerate()}
    spared = next(iter(sorted(keys)))
    point = free_point(SMALL, seed=1, number=9, taken=keys - {spared})
    assert point is not None
    assert SMALL.key(point.params) == spared
    assert free_point(SMALL, seed=1, number=9, taken=keys) is None
    assert free_point(SMALL, seed=1, number=9, taken=lambda key: key != spared) == point


def test_points_in_turn_are_those_of_a_batch() -> None:
    records = [Record(k + 1, {"x": k / 9, "k": "ab"[k % 2]}, "complete", ((k / 9 - 0.3) ** 2,)) for k in range(9)]
    space, goal = SearchSpace({"x": Float(0, 1), "k": Categorical(("a", "b"))}), Goal(("minimize",))
    history = History.of(space, goal, records)
    batch = suggest(space, goal, history, count=3, seed=4, first_number=10, algorithm="gp").points
    turn = in_turn(space, goal, history, seed=4, first_number=10, algorithm="gp")
    assert [next(turn) for _ in range(3)] == list(batch)


@pytest.mark.parametrize("algorithm", ["gp", "tpe", "cmaes", "nsga2"])
def test_results_in_any_order_one_by_one_lead_to_the_point_of_all_at_once(algorithm: str) -> None:
    """A history that grew, with late tells and a factor cut back, or one made anew: the same to the last bit."""
    rng = random.Random(5)
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1), "k": Categorical(("a", "b"))})
    points = [{"x": rng.random(), "y": rng.random(), "k": rng.choice("ab")} for _ in range(45)]
    records = [
        Record(k, point, "failed" if k % 9 == 0 else "pruned" if k % 7 == 0 else "complete", (point["x"] ** 2,))
        for k, point in enumerate([*points, *points[:3]], start=1)
    ]
    grown = History.of(space, LOSS, [Record(r.number, r.params, "pending") for r in records])
    told: list[Record] = []
    while len(told) < len(records):
        out = [record for record in records if record not in told]
        batch = rng.sample(out[:12], min(len(out), rng.choice([1, 1, 2, 3])))
        told += batch
        grown = grown.grown(batch)
        numbers = {record.number for record in told}
        pending = [Record(r.number, r.params, "pending") for r in records if r.number not in numbers]
        arguments = {"count": 1, "seed": 3, "first_number": 49, "algorithm": algorithm}
        if len(told) % 3 == 0 or len(told) > 40:
            whole = History.of(space, LOSS, [*told, *pending])
            assert suggest(space, LOSS, grown, **arguments) == suggest(space, LOSS, whole, **arguments)
