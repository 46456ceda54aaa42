"""Pruning rules by hand-made standings and curves, and the settings of a study's rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.errors import Invalid
from app.search.pruning import PruningRule, asha, curve, median, without_ties
from app.search.rungs import Rungs, Standing, rank, standing


def column(*losses: float) -> Any:
    return np.array(losses, dtype=np.float64)[:, None]


def test_asha_goes_on_while_fewer_than_eta_values_are_known() -> None:
    assert not asha(Standing(1, 1), rung=0, step=1, eta=3).prune
    assert asha(Standing(2, 1), rung=0, step=1, eta=3).prune


def test_asha_keeps_the_best_third_at_a_rung() -> None:
    others = column(0.1, 0.2, 0.3, 0.4, 0.5)
    prunes = [asha(standing(np.array([v]), others), rung=0, step=1, eta=3).prune for v in (0.05, 0.15, 0.25, 0.9)]
    assert prunes == [False, False, True, True]


def test_asha_says_which_place_at_which_rung() -> None:
    decision = asha(Standing(8, 5), rung=2, step=9, eta=3)
    assert (decision.rung, decision.reason) == (2, "place 6 of 9 at rung 2 (step 9); the best 3 go on")


def test_the_median_rule_prunes_if_more_than_half_were_better() -> None:
    assert not median(Standing(5, 2), step=2).prune
    assert median(Standing(5, 3), step=2).prune
    assert not median(Standing(6, 3), step=2).prune
    assert median(Standing(6, 4), step=2).prune


def test_the_median_rule_waits_for_its_step_and_its_trials() -> None:
    assert not median(Standing(9, 9), step=2, min_step=3).prune
    assert not median(Standing(4, 4), step=2, min_trials=5).prune
    assert not median(Standing(0, 0), step=2, min_trials=1).prune


def test_with_several_objectives_the_median_rule_counts_only_lower_ranks() -> None:
    losses = np.array([[2.0, 2.0], [1.0, 3.0], [3.0, 1.0], [1.0, 1.0]])
    assert without_ties(rank(losses)[0]) == Standing(3, 1)


# --- learning curves --------------------------------------------------------------------------------------------

FALLING = np.arange(1, 10, dtype=np.float64)


def falling_to(end: float, noise: float = 0.002) -> Any:
    wobble = noise * np.random.default_rng(1).standard_normal(len(FALLING))
    return column(*(end + 0.5 * FALLING**-1.0 + wobble))


def test_a_curve_that_flattens_far_above_the_best_is_stopped_and_one_below_goes_on() -> None:
    best = column(0.2, 0.3, 0.4, 0.5, 0.6)
    steps = [int(step) for step in FALLING]
    stopped = curve(steps, falling_to(0.5), best, last_step=81)
    assert stopped.prune
    assert "better than the best at step 81" in (stopped.reason or "")
    assert not curve(steps, falling_to(0.1), best, last_step=81).prune


def test_no_curve_is_judged_with_too_few_complete_trials_or_reports() -> None:
    steps = [int(step) for step in FALLING]
    bad, best = falling_to(0.9), column(0.1)
    assert not curve(steps, bad, best, last_step=81, min_trials=2).prune
    assert curve(steps, bad, best, last_step=81, min_trials=1).prune
    assert not curve(steps[:3], bad[:3], best, last_step=81, min_trials=1).prune
    assert not curve(steps, bad, np.empty((0, 1)), last_step=81, min_trials=1).prune


def test_with_several_objectives_a_curve_is_stopped_if_every_end_is_likely_dominated() -> None:
    steps = [int(step) for step in FALLING]
    front = np.array([[0.1, 0.3], [0.3, 0.1]])
    both = np.hstack([falling_to(0.6), falling_to(0.6)])
    one = np.hstack([falling_to(0.6), falling_to(0.02)])
    assert curve(steps, both, front, last_step=81, min_trials=2).prune
    assert not curve(steps, one, front, last_step=81, min_trials=2).prune


def test_the_same_reports_get_the_same_answer_again() -> None:
    steps = [int(step) for step in FALLING]
    both, front = np.hstack([falling_to(0.6), falling_to(0.5)]), np.array([[0.1, 0.3], [0.3, 0.1]])
    answers = {curve(steps, both, front, last_step=81, min_trials=1).reason for _ in range(3)}
    assert len(answers) == 1


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ({"rule": "asha", "max_step": 27}, {"rule": "asha", "min_step": 1, "max_step": 27, "eta": 3}),
        ({"rule": "asha", "max_step": 27, "promote": False}, {"rule": "asha", "min_step": 1, "max_step": 27, "eta": 3}),
        (
            {"rule": "hyperband", "max_step": 9, "eta": 2.0, "promote": True},
            {"rule": "hyperband", "min_step": 1, "max_step": 9, "eta": 2, "promote": True},
        ),
        ({"rule": "median", "min_step": 0}, {"rule": "median", "min_step": 0, "min_trials": 5}),
        (
            {"rule": "curve", "max_step": 27},
            {"rule": "curve", "min_step": 4, "max_step": 27, "min_trials": 5, "threshold": 0.05},
        ),
        ("off", {"rule": "off"}),
        (None, {"rule": "off"}),
    ],
)
def test_rules_survive_json_with_their_defaults_filled_in(given: Any, whole: dict[str, Any]) -> None:
    rule = PruningRule.from_json(given)
    assert rule.to_json() == whole
    assert PruningRule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [({"rule": "asha", "max_step": 9, "eta": 1}, "/pruning/eta"), ({"rule": "asha"}, "/pruning/max_step"),
     ({"rule": "hyperband"}, "/pruning/max_step"), ({"rule": "curve"}, "/pruning/max_step"),
     ({"rule": "asha", "max_step": 2, "min_step": 3}, "/pruning/max_step"),
     ({"rule": "curve", "max_step": 3}, "/pruning/max_step"),
     ({"rule": "median", "eta": 3}, "/pruning/eta"), ({"rule": "median", "promote": True}, "/pruning/promote"),
     ({"rule": "asha", "max_step": 9, "promote": 1}, "/pruning/promote"),
     ({"rule": "asha", "max_step": 9, "promote": "yes"}, "/pruning/promote"),
     ({"rule": "curve", "max_step": 9, "threshold": 1}, "/pruning/threshold"),
     ({"rule": "curve", "max_step": 9, "threshold": True}, "/pruning/threshold"),
     ({"rule": "curve", "max_step": 9, "threshold": float("nan")}, "/pruning/threshold"),
     ({"rule": "curve", "max_step": 9, "a/b": 1}, "/pruning/a~1b"),
     ({"rule": "best"}, "/pruning/rule"), ({"rule": ["asha"]}, "/pruning/rule"), ({}, "/pruning/rule"),
     ("on", "/pruning"), (["asha"], "/pruning"),
     ({"rule": "asha", "max_step": 2.5}, "/pruning/max_step"), ({"rule": "asha", "min_step": 0}, "/pruning/min_step"),
     ({"rule": "asha", "max_step": 10**400}, "/pruning/max_step"),
     ({"rule": "median", "min_trials": True}, "/pruning/min_trials")],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_its_pointer(settings: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        PruningRule.from_json(settings)
    assert pointer in [error.pointer for error in caught.value.errors]


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        PruningRule.from_json({"rule": "asha", "max_step": "x", "eta": 0, "promote": 0})
    assert [error.pointer for error in caught.value.errors] == ["/pruning/max_step", "/pruning/eta", "/pruning/promote"]


def test_a_new_trial_pauses_at_the_first_rung_of_its_bracket_only_if_trials_are_promoted() -> None:
    settings = {"rule": "hyperband", "min_step": 1, "max_step": 27, "eta": 3}
    silent, promoting = (PruningRule.from_json(settings | {"promote": yes}) for yes in (False, True))
    rungs = Rungs(1, 27, 3)
    for number in range(1, 60):
        assert silent.first_stop(number) is None
        assert promoting.first_stop(number) == rungs.until_step(rungs.bracket(number))
    assert PruningRule.from_json({"rule": "asha", "max_step": 27, "promote": True}).first_stop(5) == 1
    assert PruningRule.from_json("off").first_stop(1) is None


def test_a_report_is_told_its_rung_from_the_first_of_its_bracket_on() -> None:
    rule = PruningRule.from_json({"rule": "hyperband", "max_step": 27})
    number = next(n for n in range(1, 99) if rule.bracket(n) == 1)
    assert [rule.rung_shown(number, step) for step in (1, 2, 3, 9, 27, 99)] == [None, None, 1, 2, 3, 3]
    assert PruningRule.from_json({"rule": "median"}).rung_shown(1, 5) is None
