"""Trials as arrays."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from app.errors import InvalidMeasurement
from app.search.history import Goal, History, Record
from app.search.space import Categorical, Float, SearchSpace

SPACE = SearchSpace({"x": Float(0, 1), "k": Categorical(("a", "b"))})
GOAL = Goal(("minimize", "maximize"), (("at_most", 5.0), ("at_least", 2.0)))
RECORDS = [
    Record(3, {"x": 0.5, "k": "a"}, "complete", (1.0, 2.0), (6.0, 2.5), noise=0.1),
    Record(1, {"x": 0.1, "k": "b"}, "pending"),
    Record(2, {"x": 0.2, "k": "b"}, "complete", (math.nan, 2.0)),
    Record(5, {"x": 0.3, "k": "b"}, "infeasible"),
    Record(4, {"x": 0.4, "k": "gone"}, "pruned", (3.0, 4.0)),
    Record(6, {"x": 0.4, "k": "a"}, "complete", (2.0, 1.0), (4.0, 3.0)),
]


def test_objectives_are_minimised_and_outcomes_are_violations() -> None:
    history = History.of(SPACE, GOAL, RECORDS)
    assert history.numbers.tolist() == [2, 3, 4, 5, 6]
    assert history.pending_numbers == (1,)
    np.testing.assert_array_equal(history.objectives[[1, 2, 4]], [[1.0, -2.0], [3.0, -4.0], [2.0, -1.0]])
    np.testing.assert_array_equal(history.violations[[1, 4]], [[1.0, -0.5], [-1.0, -1.0]])
    assert history.is_feasible.tolist() == [False, False, False, False, True]
    assert history.is_measured.tolist() == [False, True, True, False, True]


def test_a_trial_without_a_finite_value_is_failed() -> None:
    history = History.of(SPACE, GOAL, RECORDS)
    assert history.states[0] == "failed"
    assert np.isnan(history.objectives[0]).all()


def test_the_order_of_records_does_not_matter() -> None:
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    one, two = History.of(SPACE, GOAL, RECORDS), History.of(SPACE, GOAL, shuffled)
    assert (one.states, one.keys) == (two.states, two.keys)
    np.testing.assert_array_equal(one.numbers, two.numbers)
    np.testing.assert_array_equal(one.units, two.units)
    np.testing.assert_array_equal(one.objectives, two.objectives)


def test_a_trial_with_another_number_of_values_is_refused() -> None:
    with pytest.raises(InvalidMeasurement, match="trial 7"):
        History.of(SPACE, GOAL, [Record(7, {"x": 0.5, "k": "a"}, "complete", (1.0,))])


def test_an_empty_history_has_no_trials_and_all_columns() -> None:
    history = History.of(SPACE, GOAL, [])
    assert (history.units.shape, history.objectives.shape, history.violations.shape) == ((0, 2), (0, 2), (0, 2))
    assert not history.is_feasible.any()


def test_a_history_that_grew_trial_by_trial_is_the_history_of_all_trials() -> None:
    grown = History.of(SPACE, GOAL, [])
    for record in sorted(RECORDS, key=lambda record: record.number):
        if record.state != "pending":
            grown = grown.grown([Record(record.number, record.params, "pending")])
        grown = grown.grown([record])
    whole = History.of(SPACE, GOAL, RECORDS)
    assert (grown.keys, grown.states, grown.pending_numbers) == (whole.keys, whole.states, whole.pending_numbers)
    np.testing.assert_array_equal(grown.units, whole.units)
    np.testing.assert_array_equal(grown.objectives, whole.objectives)


def test_an_older_history_does_not_see_what_a_newer_one_was_told() -> None:
    older = History.of(SPACE, GOAL, RECORDS)
    newer = older.grown([Record(7, {"x": 0.9, "k": "a"}, "complete", (1.0, 1.0))])
    key = SPACE.key({"x": 0.9, "k": "a"})
    assert (older.is_taken(key), newer.is_taken(key), older.n_finished) == (False, True, 5)
    with pytest.raises(ValueError, match="grown already"):
        older.grown([Record(8, {"x": 0.8, "k": "a"}, "complete", (1.0, 1.0))])


def test_the_order_in_which_results_come_does_not_matter() -> None:
    grown = History.of(SPACE, GOAL, [])
    for record in reversed(RECORDS):
        grown = grown.grown([record])
    whole = History.of(SPACE, GOAL, RECORDS)
    assert (grown.keys, grown.states, grown.pending_numbers) == (whole.keys, whole.states, whole.pending_numbers)
    np.testing.assert_array_equal(grown.units, whole.units)


def test_a_late_tell_keeps_the_memo_and_leaves_older_histories_as_they_were() -> None:
    late = Record(3, {"x": 0.5, "k": "a"}, "complete", (1.0, 2.0), (6.0, 2.5))
    older = History.of(SPACE, GOAL, [record for record in RECORDS if record.number != 3])
    newer = older.grown([late])
    assert newer.memo is older.memo
    assert (older.numbers.tolist(), newer.numbers.tolist()) == ([2, 4, 5, 6], [2, 3, 4, 5, 6])
    assert [history.is_taken(SPACE.key(late.params)) for history in (older, newer)] == [False, True]
    with pytest.raises(ValueError, match="grown already"):
        older.grown([Record(8, {"x": 0.8, "k": "a"}, "complete", (1.0, 1.0))])
    last = newer.grown([Record(8, {"x": 0.8, "k": "a"}, "complete", (1.0, 1.0))])
    assert last.numbers.tolist() == [2, 3, 4, 5, 6, 8]


def test_trials_are_settled_up_to_the_first_gap_or_far_behind_the_newest() -> None:
    def settled(numbers: list[int]) -> int:
        records = [Record(n, {"x": n / 1000, "k": "a"}, "complete", (1.0, 1.0)) for n in numbers]
        return History.of(SPACE, GOAL, records).settled_number

    assert settled([]) == 0
    assert settled([1, 2, 3]) == 3
    assert settled([1, 2, 3, 5]) == 4
    assert settled([*range(1, 41), *range(60, 100)]) == 79
    assert settled([*range(1, 300), *range(400, 900)]) == 835


def test_pending_trials_may_be_added_to_a_history_that_has_grown_already() -> None:
    older = History.of(SPACE, GOAL, RECORDS)
    newer = older.grown([Record(7, {"x": 0.9, "k": "a"}, "complete", (1.0, 1.0))])
    beside = older.grown([Record(8, {"x": 0.8, "k": "a"}, "pending")])
    assert (beside.n_finished, beside.pending_numbers, newer.n_finished) == (5, (1, 8), 6)


def test_the_largest_doubles_have_a_median() -> None:
    records = [Record(k, {"x": 0.1 * k, "k": "a"}, "complete", (1.7e308, -1.7e308)) for k in (1, 2)]
    assert np.isfinite(np.median(History.of(SPACE, GOAL, records).objectives, axis=0)).all()
