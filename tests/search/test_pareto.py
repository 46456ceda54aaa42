"""Fronts and hypervolumes against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.errors import ShapeError
from app.search.pareto import default_reference, hypervolume, non_dominated


def by_inclusion_and_exclusion(Y: np.ndarray, reference: np.ndarray) -> float:
    total = 0.0
    for size in range(1, len(Y) + 1):
        for chosen in combinations(range(len(Y)), size):
            corner = np.max(Y[list(chosen)], axis=0)
            total += (-1) ** (size + 1) * float(np.prod(np.maximum(reference - corner, 0.0)))
    return total


@given(
    st.integers(1, 4).flatmap(
        lambda m: arrays(np.float64, st.tuples(st.integers(1, 7), st.just(m)), elements=st.integers(0, 6).map(float))
    )
)
@settings(max_examples=200, deadline=None)
def test_hypervolume_and_front_agree_with_brute_force(Y: np.ndarray) -> None:
    reference = np.full(Y.shape[1], 5.0)
    assert hypervolume(Y, reference) == pytest.approx(by_inclusion_and_exclusion(Y, reference), abs=1e-9)
    beaten = [any((other <= row).all() and (other < row).any() for other in Y) for row in Y]
    assert non_dominated(Y).tolist() == [not b for b in beaten]


def test_hypervolume_of_three_objectives_agrees_with_monte_carlo() -> None:
    rng = np.random.default_rng(0)
    Y = rng.random((30, 3))
    points = rng.random((200_000, 3))
    share = (points[:, None, :] >= Y[None, :8]).all(axis=2).any(axis=1).mean()
    assert hypervolume(Y[:8], np.ones(3)) == pytest.approx(share, abs=5 * 0.5 / np.sqrt(200_000))


def test_rows_that_are_not_finite_never_stand_and_add_nothing() -> None:
    Y = np.array([[1.0, 1.0], [np.nan, 0.0], [-np.inf, 0.0]])
    assert non_dominated(Y).tolist() == [True, False, False]
    assert hypervolume(Y, np.array([2.0, 2.0])) == 1.0


def test_points_beyond_the_reference_add_nothing() -> None:
    assert hypervolume(np.array([[3.0, 0.0], [2.0, 1.0]]), np.array([2.0, 2.0])) == 0.0
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0


def test_the_default_reference_is_a_tenth_beyond_the_front() -> None:
    Y = np.array([[0.0, 10.0], [1.0, 0.0], [5.0, 50.0]])
    np.testing.assert_allclose(default_reference(Y), [1.1, 11.0])
    np.testing.assert_allclose(default_reference(np.array([[2.0, 0.0]])), [2.2, 1e-9])


def test_a_reference_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError):
        hypervolume(np.ones((2, 2)), np.ones(3))
