"""Rungs, brackets, standings and promotions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.rungs import Rungs, Standing, order, promotable, rank, rung_of, standing

ASHA = {"min_step": 1, "max_step": 27, "eta": 3}


def test_rungs_lie_at_powers_of_eta_up_to_the_last_step() -> None:
    assert [rung_of(step, **ASHA) for step in (0, 1, 2, 3, 8, 9, 26, 27, 90)] == [None, 0, 0, 1, 1, 2, 2, 3, 3]
    assert rung_of(100, min_step=2, max_step=20, eta=4) == 1  # 2, 8; 32 is beyond


def test_the_last_step_is_no_rung_for_there_trials_are_complete() -> None:
    assert Rungs(1, 27, 3).steps == (1, 3, 9)
    assert Rungs(1, 28, 3).steps == (1, 3, 9, 27)
    assert Rungs(5, 5, 3).steps == ()


def test_a_step_reaches_every_rung_at_or_below_it() -> None:
    assert [Rungs(2, 50, 4).reached(step) for step in (1, 2, 7, 8, 32, 99)] == [0, 1, 1, 2, 3, 3]


def test_after_the_last_rung_a_trial_goes_to_the_end() -> None:
    rungs = Rungs(1, 27, 3)
    assert [rungs.until_step(rung) for rung in range(4)] == [1, 3, 9, None]


def test_the_weights_of_the_brackets_are_those_of_hyperband() -> None:
    # Li et al. 2018, algorithm 1 with R = 27, eta = 3: s = 3, 2, 1, 0 begin with (3 + 1) / (s + 1) · 3^s trials
    expected = np.array([4 / 4 * 27, 4 / 3 * 9, 4 / 2 * 3, 4 / 1 * 1])
    assert Rungs(1, 27, 3).weights == pytest.approx(tuple(expected / expected.sum()))


def test_every_bracket_spends_about_as_many_steps() -> None:
    rungs = Rungs(1, 27, 3)
    spent = []
    for bracket, weight in enumerate(rungs.weights):
        levels = [*rungs.steps[bracket:], 27]
        shares = [3.0**-k for k in range(len(levels))]
        spent.append(weight * sum(s * (b - a) for s, a, b in zip(shares, [0, *levels], levels, strict=False)))
    assert max(spent) / min(spent) < 1.6


def test_a_trials_bracket_depends_on_its_number_alone_and_follows_the_weights_from_the_start() -> None:
    rungs = Rungs(1, 27, 3)
    found = [rungs.bracket(number) for number in range(1, 1001)]
    assert found == [Rungs(1, 27, 3).bracket(number) for number in range(1, 1001)]
    for n in (20, 100, 1000):
        shares = np.bincount(found[:n], minlength=4) / n
        assert np.abs(shares - rungs.weights).max() < 3.0 / n + 0.03


def test_huge_settings_stay_within_bounds() -> None:
    rungs = Rungs(1, 2**53, 2)
    assert len(rungs.steps) == 53
    assert sum(rungs.weights) == pytest.approx(1.0)
    assert 0 <= rungs.bracket(2**53) <= 53
    assert Rungs(1, 2**53, 2**53).steps == (1,)


# --- standings --------------------------------------------------------------------------------------------------


def test_with_one_objective_lower_is_better_and_equals_are_not() -> None:
    others = np.array([[0.1], [0.2], [0.2], [0.3]])
    assert standing(np.array([0.2]), others) == Standing(4, 1)
    assert standing(np.array([0.2]), np.empty((0, 1))) == Standing(0, 0)


@pytest.mark.parametrize("m", [1, 2])
def test_a_value_that_is_not_finite_is_the_worst(m: int) -> None:
    others = np.array([[0.1] * m, [0.2] * m, [math.nan] * m, [math.inf] * m])
    assert standing(np.full(m, math.nan), others) == Standing(4, 2)
    assert standing(np.full(m, 9.0), others).n_better == 2


def test_with_several_objectives_a_lower_rank_is_better_and_in_a_rank_more_room() -> None:
    front = np.array([[0.0, 4.0], [1.0, 2.0], [4.0, 0.0]])
    assert standing(np.array([5.0, 5.0]), front).n_better == 3
    assert standing(np.array([1.2, 1.9]), front).n_better == 3 - 1, "both ends have all the room there is; (1, 2) less"
    assert standing(np.array([-1.0, -1.0]), front).n_better == 0


def test_ranks_are_the_fronts_peeled_off_one_after_another() -> None:
    losses = np.array([[2.0, 2.0], [1.0, 1.0], [3.0, 3.0], [1.0, 1.0], [0.0, 9.0], [math.nan, 0.0]])
    ranks, _ = rank(losses)
    assert ranks.tolist() == [1.0, 0.0, 2.0, 0.0, 0.0, 6.0]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_a_rank_is_the_longest_chain_of_trials_each_better_than_the_next(rows: list[tuple[int, int]]) -> None:
    losses = np.array(rows, dtype=np.float64)

    def depth(i: int) -> int:
        beats = [k for k in range(len(losses)) if (losses[k] <= losses[i]).all() and (losses[k] < losses[i]).any()]
        return max((depth(k) + 1 for k in beats), default=0)

    assert rank(losses)[0].tolist() == [depth(i) for i in range(len(losses))]


# --- promotion --------------------------------------------------------------------------------------------------


def test_the_best_third_of_a_rung_may_go_on_as_far_as_it_is_paused_there() -> None:
    losses = np.array([[0.5], [0.1], [0.4], [0.2], [0.6], [0.3]])
    everyone = np.ones(6, dtype=bool)
    assert promotable(losses, everyone, 3) == [1, 3]
    assert promotable(losses, ~np.eye(6, dtype=bool)[1], 3) == [3]
    assert promotable(losses[:2], everyone[:2], 3) == []


def test_of_equal_trials_the_first_goes_on() -> None:
    assert promotable(np.full((6, 1), 0.5), np.ones(6, dtype=bool), 3) == [0, 1]


def test_what_came_to_nothing_never_goes_on() -> None:
    assert promotable(np.array([[math.nan], [math.nan], [math.inf]]), np.ones(3, dtype=bool), 3) == []


def test_with_several_objectives_the_front_goes_on_first() -> None:
    losses = np.array([[3.0, 3.0], [0.0, 2.0], [2.0, 0.0], [4.0, 4.0]])
    assert order(losses) == [1, 2, 0, 3]
    assert promotable(losses, np.ones(4, dtype=bool), 2) == [1, 2]
