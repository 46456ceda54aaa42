"""Pruning rules by hand-made tables of reports."""

from __future__ import annotations

import math
from typing import Any

import pytest

from app.errors import Invalid, NotAvailableYet
from app.search.pruning import PruningRule, asha, median, rung_of

ASHA = {"min_step": 1, "max_step": 27, "eta": 3}


def test_rungs_lie_at_powers_of_eta_up_to_the_last_step() -> None:
    assert [rung_of(step, **ASHA) for step in (0, 1, 2, 3, 8, 9, 26, 27, 90)] == [None, 0, 0, 1, 1, 2, 2, 3, 3]
    assert rung_of(100, min_step=2, max_step=20, eta=4) == 1  # 2, 8; 32 is beyond


def test_asha_goes_on_while_fewer_than_eta_values_are_known() -> None:
    assert not asha(1, 0.9, {}, [{1: 0.1}], "minimize", **ASHA).prune


def test_asha_keeps_the_best_third_at_a_rung_in_either_direction() -> None:
    others = [{1: v} for v in (0.1, 0.2, 0.3, 0.4, 0.5)]
    decisions = {value: asha(1, value, {}, others, "minimize", **ASHA).prune for value in (0.05, 0.15, 0.25, 0.9)}
    assert decisions == {0.05: False, 0.15: False, 0.25: True, 0.9: True}
    mirrored = [{1: -v} for v in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert asha(1, -0.25, {}, mirrored, "maximize", **ASHA).prune
    assert not asha(1, -0.15, {}, mirrored, "maximize", **ASHA).prune


def test_asha_takes_a_trials_value_at_the_first_step_at_or_after_the_rung() -> None:
    others = [{2: 0.1, 4: 0.9, 5: 0.0}, {1: 0.0, 3: 0.8}]  # at rung 1 (step 3): 0.9 and 0.8
    decision = asha(3, 0.85, {1: 0.5}, others, "minimize", **ASHA)
    assert (decision.prune, decision.rung) == (True, 1)
    assert not asha(3, 0.7, {1: 0.5}, others, "minimize", **ASHA).prune


def test_asha_judges_a_rung_once() -> None:
    others = [{1: 0.1}, {1: 0.2}, {1: 0.3}]
    assert asha(1, 0.9, {1: 0.9}, others, "minimize", **ASHA).prune
    assert not asha(2, 0.9, {1: 0.9}, others, "minimize", **ASHA).prune


def test_asha_never_stops_a_trial_at_its_last_step_or_before_the_first_rung() -> None:
    others = [{27: 0.1}, {27: 0.2}, {27: 0.3}]
    assert not asha(27, 0.9, {}, others, "minimize", **ASHA).prune
    assert asha(1, 0.9, {}, others, "minimize", min_step=2, max_step=27, eta=3).rung is None


def test_a_value_that_is_not_finite_is_the_worst() -> None:
    others = [{1: 0.1}, {1: 0.2}, {1: math.nan}]
    assert asha(1, math.nan, {}, others, "minimize", **ASHA).prune
    assert median(1, math.inf, {}, [{1: 0.1}] * 5, "minimize").prune


def test_the_median_rule_compares_the_best_so_far_with_the_others_at_this_step() -> None:
    others = [{1: 0.9, 2: v} for v in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert not median(2, 0.3, {}, others, "minimize").prune
    assert median(2, 0.31, {}, others, "minimize").prune
    assert not median(2, 0.31, {1: 0.25}, others, "minimize").prune
    assert median(2, 0.29, {}, others, "maximize").prune


def test_the_median_rule_waits_for_its_step_and_its_trials() -> None:
    others = [{1: 0.1, 9: 0.1}] * 5
    assert not median(2, 0.9, {}, others, "minimize", min_step=3).prune
    assert not median(2, 0.9, {}, others[:4], "minimize").prune
    assert not median(2, 0.9, {}, [{1: 0.1}] * 5, "minimize").prune  # none of them reached step 2
    assert median(2, 0.9, {}, others, "minimize").prune


def test_rules_survive_json_with_their_defaults_filled_in() -> None:
    rule = PruningRule.from_json({"rule": "asha", "max_step": 27})
    assert rule.to_json() == {"rule": "asha", "min_step": 1, "max_step": 27, "eta": 3}
    assert PruningRule.from_json(rule.to_json()) == rule
    assert PruningRule.from_json("off").to_json() == {"rule": "off"}
    assert rule.decide(1, 0.9, {}, [{1: 0.1}, {1: 0.2}], "minimize").prune
    assert not PruningRule.from_json("off").decide(1, 0.9, {}, [{1: 0.1}] * 9, "minimize").prune


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [({"rule": "asha", "max_step": 9, "eta": 1}, "/pruning/eta"), ({"rule": "asha"}, "/pruning/max_step"),
     ({"rule": "asha", "max_step": 2, "min_step": 3}, "/pruning/max_step"),
     ({"rule": "median", "eta": 3}, "/pruning/eta"),
     ({"rule": "best"}, "/pruning/rule"), ({}, "/pruning/rule"), ("on", "/pruning"), (["asha"], "/pruning"),
     ({"rule": "asha", "max_step": 2.5}, "/pruning/max_step"),
     ({"rule": "median", "min_trials": True}, "/pruning/min_trials")],
)  # fmt: skip
def test_a_wrong_setting_is_refused_with_its_pointer(settings: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        PruningRule.from_json(settings)
    assert [error.pointer for error in caught.value.errors] == [pointer]


@pytest.mark.parametrize("rule", ["hyperband", "curve"])
def test_rules_that_are_not_built_say_so(rule: str) -> None:
    with pytest.raises(NotAvailableYet, match="asha"):
        PruningRule.from_json({"rule": rule})
