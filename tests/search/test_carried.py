"""Results at rungs, carried over to the level that enough trials reached."""

from __future__ import annotations

import numpy as np
import pytest

from app.search.carried import carried
from app.search.history import Goal, History, Record
from app.search.space import Float, SearchSpace
from app.search.suggest import posterior

SPACE = SearchSpace({"x": Float(0, 1)})


def halving(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) losses that fall from level to level, of which the better third goes on each time, and their true ends."""
    rng = np.random.default_rng(seed)
    quality = rng.standard_normal(n)
    levels = np.column_stack([quality + shift + 0.1 * rng.standard_normal(n) for shift in (8.0, 4.0, 0.0)])
    ends = levels[:, 2].copy()
    for level in (1, 2):
        before = levels[:, level - 1]
        levels[~(before <= np.nanquantile(before, 1 / 3)), level] = np.nan
    return levels, ends


def test_trials_that_came_to_the_level_keep_their_values_and_have_no_error() -> None:
    levels, _ = halving(60, 0)
    found = carried(levels)
    at_end = ~np.isnan(levels[:, 2])
    np.testing.assert_array_equal(found.values[at_end], levels[at_end, 2])
    assert np.isnan(found.std[at_end]).all()
    assert (found.std[~at_end] > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_stopped_trials_are_carried_near_where_they_would_have_ended(seed: int) -> None:
    levels, ends = halving(60, seed)
    found = carried(levels)
    stopped = np.isnan(levels[:, 2])
    assert np.corrcoef(found.values[stopped], ends[stopped])[0, 1] > 0.9
    last = np.where(np.isnan(levels[:, 1]), levels[:, 0], levels[:, 1])
    assert np.abs(found.values - ends)[stopped].mean() < 0.3 * np.abs(last - ends)[stopped].mean()


def test_who_stopped_earlier_is_less_sure() -> None:
    levels, _ = halving(90, 1)
    std = carried(levels).std
    first = np.isnan(levels[:, 1])
    second = ~first & np.isnan(levels[:, 2])
    assert np.median(std[first]) > np.median(std[second])


def test_with_few_at_the_end_the_level_below_counts() -> None:
    levels, _ = halving(27, 2)
    levels[3:, 2] = np.nan
    levels[np.flatnonzero(~np.isnan(levels[:, 2]))[2:], 2] = np.nan
    found = carried(levels)
    there = ~np.isnan(levels[:, 1])
    np.testing.assert_array_equal(found.values[there], levels[there, 1])


def test_a_trial_that_came_to_the_end_without_reports_counts_as_it_is() -> None:
    levels = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan], [np.nan, 0.5]])
    assert carried(levels).values.tolist() == [1.0, 2.0, 3.0, 0.5]


@pytest.mark.parametrize("value", [0.0, 1e300, -1e300, 1e-300])
def test_equal_and_extreme_values_stay_finite(value: float) -> None:
    levels = np.full((9, 3), value)
    levels[3:, 2] = levels[6:, 1] = np.nan
    assert np.isfinite(carried(levels).values).all()


def test_the_model_predicts_ends_and_not_the_early_reports_of_stopped_trials() -> None:
    def record(number: int, x: float) -> Record:
        end = (x - 0.7) ** 2
        goes_on = abs(x - 0.7) < 0.2
        rungs = ((end + 5.0,),)
        return Record(
            number, {"x": x}, "complete" if goes_on else "pruned", (end if goes_on else end + 5.0,), at_rungs=rungs
        )

    goal = Goal(("minimize",), n_rungs=1)
    places = np.random.default_rng(0).random(24)
    history = History.of(SPACE, goal, [record(k + 1, float(x)) for k, x in enumerate(places)])
    assert posterior(SPACE, goal, history, [{"x": 0.1}]).mean[0, 0] < 1.0
