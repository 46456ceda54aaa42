"""The Sobol sequence against SciPy's, and its scrambling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from app.search.designs import _words, sobol


@pytest.mark.parametrize("n_dimensions", [1, 2, 7, 64])
def test_the_unscrambled_points_are_those_of_joe_and_kuo(n_dimensions: int) -> None:
    ours = _words(np.arange(256), n_dimensions) / 2.0**32
    reference = qmc.Sobol(n_dimensions, scramble=False).random(256)  # the same points in Gray-code order
    np.testing.assert_array_equal(np.sort(ours, axis=0), np.sort(reference, axis=0))
    assert {tuple(row) for row in ours} == {tuple(row) for row in reference}


def test_every_dyadic_box_of_a_scrambled_net_holds_one_point() -> None:
    points = sobol(np.arange(64), 2, seed=5)
    for width, height in ((64, 1), (16, 4), (8, 8), (2, 32)):
        boxes = np.floor(points * [width, height]) @ [1000, 1]
        assert len(set(boxes)) == 64


def test_a_point_depends_on_seed_and_index_alone() -> None:
    whole = sobol(np.arange(20), 80, seed=1)
    np.testing.assert_array_equal(sobol(np.array([13, 4]), 80, seed=1), whole[[13, 4]])
    assert not np.allclose(sobol(np.arange(20), 80, seed=2), whole)
    assert ((whole > 0) & (whole < 1)).all()


def test_scrambled_points_are_more_even_than_random_ones() -> None:
    discrepancy = [qmc.discrepancy(sobol(np.arange(64), 6, seed)) for seed in range(5)]
    random = [qmc.discrepancy(np.random.default_rng(seed).random((64, 6))) for seed in range(5)]
    assert np.mean(discrepancy) < 0.5 * np.mean(random)


def test_without_dimensions_the_points_are_empty_rows() -> None:
    assert sobol(np.arange(3), 0, seed=1).shape == (3, 0)
