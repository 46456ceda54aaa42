"""Pruning rules as a worker hears of them: Hyperband, learning curves, several objectives."""

from __future__ import annotations

from typing import Any

from app.search.rungs import Rungs
from tests.conftest import Api

TWO = [{"name": "accuracy", "direction": "maximize"}, {"name": "ms"}]


def test_hyperband_compares_a_trial_with_those_of_its_bracket_alone(api: Api) -> None:
    api.create(algorithm="random", pruning={"rule": "hyperband", "min_step": 1, "max_step": 9, "eta": 3})
    bracket = {number: Rungs(1, 9, 3).bracket(number) for number in range(1, 31)}
    api.ask(count=30)
    first = [number for number in bracket if bracket[number] == 0][:3]
    words = [api.report(number, step=1, value=number) for number in first]
    assert [word["prune"] for word in words] == [False, False, True]
    second = [number for number in bracket if bracket[number] == 1][:3]
    words = [api.report(number, step=1, value=99) for number in second]
    assert [(word["prune"], word["rung"]) for word in words] == [(False, None)] * 3
    words = [api.report(number, step=3, value=number) for number in second]
    assert [(word["prune"], word["rung"]) for word in words] == [(False, 1), (False, 1), (True, 1)]


def test_a_curve_that_will_not_beat_the_best_is_pruned_and_another_goes_on(api: Api) -> None:
    pruning = {"rule": "curve", "max_step": 81, "min_trials": 2}
    api.create(algorithm="random", direction="maximize", pruning=pruning)
    good, bad = (trial["number"] for trial in api.ask(count=2)["trials"])
    prunes: dict[int, list[bool]] = {good: [], bad: []}
    for step in range(1, 9):
        if step == 6:
            api.add(trials=[{"params": {"x": 0.1}, "value": 0.8}, {"params": {"x": 0.2}, "value": 0.7}])
        for number, end in ((good, 0.95), (bad, 0.4)):
            prunes[number].append(api.report(number, step=step, value=end - 0.3 / step)["prune"])
    assert prunes[good] == [False] * 8
    assert prunes[bad] == [False] * 5 + [True] * 3, "not before two trials are complete"


def three_at_once(api: Api, pruning: dict[str, Any]) -> list[bool]:
    api.create(algorithm="random", objectives=TWO, pruning=pruning)
    api.ask(count=4)
    words = [
        api.report(number, step=1, values={"accuracy": accuracy, "ms": ms})
        for number, (accuracy, ms) in enumerate([(0.9, 5), (0.8, 2), (0.7, 9), (0.95, 6)], start=1)
    ]
    return [word["prune"] for word in words]


def test_with_several_objectives_asha_keeps_the_front(api: Api) -> None:
    assert three_at_once(api, {"rule": "asha", "max_step": 9, "eta": 3}) == [False, False, True, False]


def test_with_several_objectives_the_median_rule_prunes_by_rank(api: Api) -> None:
    assert three_at_once(api, {"rule": "median", "min_trials": 2}) == [False, False, True, False]


def test_a_report_that_is_not_finite_in_any_objective_is_not_worth_going_on(api: Api) -> None:
    api.create(algorithm="random", objectives=TWO, pruning={"rule": "asha", "max_step": 9})
    api.one()
    word = api.report(1, step=1, values={"accuracy": 0.5, "ms": "inf"})
    assert (word["prune"], word["reason"]) == (True, "the value is inf")


def test_several_objectives_are_extrapolated_each_by_itself(api: Api) -> None:
    api.create(algorithm="random", objectives=TWO, pruning={"rule": "curve", "max_step": 81, "min_trials": 1})
    api.add(params={"x": 0.5}, values={"accuracy": 0.9, "ms": 1.0})
    api.ask(count=2)
    for step in range(1, 9):
        dominated = api.report(2, step=step, values={"accuracy": 0.5 - 0.3 / step, "ms": 5.0 + 1.0 / step})
        faster = api.report(3, step=step, values={"accuracy": 0.5 - 0.3 / step, "ms": 0.1 + 1.0 / step})
    assert (dominated["prune"], faster["prune"]) == (True, False)
