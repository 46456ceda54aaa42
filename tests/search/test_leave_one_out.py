"""Predictions of trials left out agree with leaving them out."""

from __future__ import annotations

import numpy as np
import pytest

from app.search.kernels import Embedding
from app.search.leave_one_out import leave_one_out, rank_correlation
from app.search.priors import HyperPrior
from app.search.space import Float, SearchSpace
from app.search.surrogate import Factor

BOX = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)})
THETA = HyperPrior(2).mode
THETA[:4], THETA[4] = np.log([0.4, 0.7, 1.5, 0.02]), 0.3


def test_the_closed_form_equals_conditioning_on_all_but_one() -> None:
    rng = np.random.default_rng(0)
    units, told = rng.random((12, 2)), np.where(rng.random(12) < 0.5, 0.05, 0.0)
    y = np.sin(5 * units[:, 0]) + 0.1 * rng.standard_normal(12)
    embedding = Embedding.of(BOX)
    found = leave_one_out(Factor.of(embedding, THETA, units, told).given(y))
    assert found.values == pytest.approx(y)
    for i in range(12):
        rest = np.arange(12) != i
        alone = Factor.of(embedding, THETA, units[rest], told[rest]).given(y[rest]).predict(units[i : i + 1])
        assert found.mean[i] == pytest.approx(alone.mean[0])
        assert found.std[i] == pytest.approx(np.sqrt(alone.std[0] ** 2 + 0.02 + told[i]))


def test_values_without_a_pattern_are_not_predicted_and_a_smooth_function_is() -> None:
    rng = np.random.default_rng(1)
    units = rng.random((60, 2))
    factor = Factor.of(Embedding.of(BOX), THETA, units, np.zeros(60))
    random, smooth = rng.standard_normal(60), np.sin(3 * units[:, 0]) * 2
    assert leave_one_out(factor.given(random)).r2 < 0.2
    found = leave_one_out(factor.given(smooth))
    assert found.r2 > 0.98
    assert found.rank_correlation > 0.98
    assert found.coverage > 0.9


def test_rank_correlation_takes_ties_at_their_mean_and_constants_as_nothing() -> None:
    from scipy.stats import spearmanr

    x, y = np.array([1.0, 2.0, 2.0, 5.0, 0.0]), np.array([3.0, 1.0, 4.0, 4.0, 0.5])
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(x, np.ones(5)) == 0.0
