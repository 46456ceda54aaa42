"""Which trials are better: against brute force, and whatever the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.search.pareto import crowding, default_reference, hypervolume
from app.search.ranking import Told, best_first, contributions, fronts, samples, told
from app.search.space import Float, SearchSpace
from app.search.suggest import Goal, History, Record

LINE = SearchSpace({"x": Float(0, 1)})
LOSS = Goal(("minimize",))


def history(records: list[Record], goal: Goal = LOSS) -> History:
    return History.of(LINE, goal, records)


def trial(number: int, *values: float, outcome: float | None = None, state: str = "complete") -> Record:
    outcomes = None if outcome is None else (outcome,)
    return Record(number, {"x": number / 100}, state, values or None, outcomes)  # type: ignore[arg-type]


def alone(objectives: np.ndarray) -> Told:
    return Told(np.zeros((len(objectives), 1)), objectives, np.zeros(len(objectives)))


def test_a_trial_within_the_bounds_comes_before_a_better_one_beyond_them() -> None:
    goal = Goal(("minimize",), (("at_most", 1.0),))
    records = [
        trial(1, 0.0, outcome=9.0), trial(2, 5.0, outcome=0.5), trial(3, 0.0, outcome=2.0), trial(4, 4.0, outcome=1.0),
    ]  # fmt: skip
    assert best_first(told(history(records, goal)), 4, crowding).tolist() == [3, 1, 2, 0]


def test_breaches_of_outcomes_of_any_size_weigh_alike() -> None:
    goal = Goal(("minimize",), (("at_most", 0.0), ("at_most", 0.0)))
    records = [
        Record(n, {"x": n / 9}, "complete", (0.0,), outcomes)
        for n, outcomes in enumerate([(1.0, 0.0), (0.0, 1e6), (3.0, 0.0), (0.0, 4e6)], start=1)
    ]
    assert best_first(told(history(records, goal)), 4, crowding).tolist() == [0, 1, 2, 3]


def test_a_pruned_trial_is_no_better_than_the_median_of_the_complete_ones() -> None:
    records = [trial(1, 0.0, state="pruned"), *(trial(n, float(n)) for n in range(2, 7))]
    assert told(history(records)).objectives[:, 0].tolist() == [4.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_samples_rank_equals_alike_and_what_could_not_be_evaluated_last() -> None:
    records = [trial(1, 3.0), trial(2, 1.0), trial(3, state="infeasible"), trial(4, 3.0), trial(5, state="failed")]
    assert samples(history(records)).order.tolist() == [1.0, 0.0, 3.0, 1.0]


@given(
    st.integers(2, 4).flatmap(
        lambda m: arrays(np.float64, st.tuples(st.integers(1, 12), st.just(m)), elements=st.integers(0, 4).map(float))
    )
)
@settings(max_examples=100, deadline=None)
def test_fronts_agree_with_peeling_off_what_no_other_beats(Y: np.ndarray) -> None:
    left = list(range(len(Y)))
    for front in fronts(Y, np.zeros(len(Y)), len(Y)):
        beaten = {i for i in left if any((Y[j] <= Y[i]).all() and (Y[j] < Y[i]).any() for j in left)}
        assert sorted(front.tolist()) == [i for i in left if i not in beaten]
        left = sorted(beaten)
    assert not left


@pytest.mark.parametrize(("m", "tolerance"), [(2, 1e-12), (3, 0.02), (4, 0.03)])
def test_a_contribution_is_the_hypervolume_lost_without_the_row(m: int, tolerance: float) -> None:
    rng = np.random.default_rng(m)
    front = rng.random((8, m))
    front /= np.linalg.norm(front, axis=1, keepdims=True)  # a sphere's rows do not beat each other
    reference = default_reference(front)
    box = float(np.prod(reference - front.min(axis=0)))
    whole = hypervolume(front, reference)
    lost = [(whole - hypervolume(np.delete(front, i, axis=0), reference)) / box for i in range(8)]
    np.testing.assert_allclose(contributions(front), lost, atol=tolerance)


def test_crowding_is_the_sides_of_the_box_between_the_neighbours() -> None:
    front = np.array([[0.0, 10.0], [1.0, 6.0], [3.0, 5.0], [10.0, 0.0]])
    np.testing.assert_allclose(crowding(front), [np.inf, 0.3 + 0.5, 0.9 + 0.6, np.inf])


@pytest.mark.parametrize("worth", [crowding, contributions])
def test_values_at_the_ends_of_the_doubles_are_ranked_without_overflow(worth: object) -> None:
    objectives = np.array([[1.7e308, -1.7e308], [-1.7e308, 1.7e308], [0.0, 0.0], [1.7e308, 1.7e308]])
    best = best_first(alone(objectives), 4, worth)  # type: ignore[arg-type]
    assert sorted(best[:3].tolist()) == [0, 1, 2]


def test_a_long_history_of_two_objectives_keeps_the_front() -> None:
    rng = np.random.default_rng(0)
    objectives = rng.random((10_000, 2)) + 0.1
    steps = np.linspace(0.0, 0.09, 20)
    objectives[rng.permutation(10_000)[:20]] = np.column_stack([steps, 0.09 - steps])
    best = best_first(alone(objectives), 20, crowding)
    assert objectives[best].max() < 0.1
