"""The warping of objectives against scikit-learn, and at the limits of doubles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import PowerTransformer

from app.search.warping import Warping, inverse_yeo_johnson, yeo_johnson


@pytest.mark.parametrize("power", [-2.0, -0.5, 0.0, 0.7, 1.0, 2.0, 2.5])
def test_yeo_johnson_agrees_with_scikit_learn_and_its_inverse_undoes_it(power: float) -> None:
    x = np.linspace(-3, 3, 41)
    reference = PowerTransformer(standardize=False).fit(x[:, None])
    reference.lambdas_ = np.array([power])
    np.testing.assert_allclose(yeo_johnson(x, power), reference.transform(x[:, None])[:, 0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(inverse_yeo_johnson(yeo_johnson(x, power), power), x, rtol=1e-9, atol=1e-12)


def test_the_power_has_the_likelihood_of_scikit_learns() -> None:
    y = np.random.default_rng(0).lognormal(0.0, 0.5, 200)
    warping = Warping.fit(y)
    x = (y - warping.center) / warping.scale
    reference = PowerTransformer(standardize=False).fit(x[:, None])
    assert warping.power == pytest.approx(float(reference.lambdas_[0]), abs=1e-2)


def test_a_skewed_objective_becomes_nearly_symmetric() -> None:
    y = np.random.default_rng(0).lognormal(0.0, 2.0, 500)
    z = Warping.fit(y).forward(y)
    assert abs(np.mean(z)) < 1e-9
    assert np.std(z) == pytest.approx(1.0)
    assert abs(np.mean(z**3)) < 0.5 < np.mean(((y - y.mean()) / y.std()) ** 3)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_finite_values_keep_their_order_and_stay_finite(values: list[float]) -> None:
    y = np.array(values)
    warping = Warping.fit(y)
    z = warping.forward(y)
    assert np.isfinite(z).all()
    assert np.isfinite(warping.backward(z)).all()
    assert (warping.slope(y) >= 0).all()
    order = np.argsort(y, kind="stable")
    assert (np.diff(z[order]) >= 0).all()


def test_the_slope_is_the_derivative_and_backward_the_inverse() -> None:
    warping = Warping.fit(np.random.default_rng(1).gumbel(size=60))
    y = np.linspace(-3, 8, 23)
    h = 1e-6
    np.testing.assert_allclose(warping.slope(y), (warping.forward(y + h) - warping.forward(y - h)) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(warping.backward(warping.forward(y)), y, rtol=1e-9, atol=1e-9)


def test_one_huge_outlier_leaves_the_others_apart() -> None:
    y = np.append(np.linspace(0, 1, 20), 1e300)
    z = Warping.fit(y).forward(y)
    assert np.diff(z[:20]).min() > 0.01
