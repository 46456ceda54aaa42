"""Forecasts of learning curves, against curves whose end is known and an independent Student t."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from app.errors import ShapeError
from app.search.curves import forecast, student_cdf

LAST = 81
SHAPES = {
    "power": lambda t: 0.2 + 0.8 * t**-0.5,
    "exponent": lambda t: 0.1 + 0.9 * np.exp(-t / 10.0),
    "logistic": lambda t: 0.3 + 0.5 / (1.0 + t / 12.0),
    "flat": lambda t: 0.5 + 0.0 * t,
}


@pytest.mark.parametrize("dof", [3.0, 7.0, 40.0, 131.0])
def test_the_quadrature_agrees_with_scipys_student_t(dof: float) -> None:
    t = np.array([-30.0, -3.0, -1.0, 0.0, 0.5, 2.0, 9.0])
    assert student_cdf(t, dof) == pytest.approx(stats.t.cdf(t, dof), abs=1e-12)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_from_half_the_curve_the_end_is_forecast_within_a_tenth_of_its_drop(shape: str) -> None:
    t = np.arange(1.0, 41.0)
    y = SHAPES[shape](t) + 0.002 * np.random.default_rng(3).standard_normal(len(t))
    found = forecast(t, y, LAST)
    assert found is not None
    assert found.mean == pytest.approx(float(SHAPES[shape](np.array(float(LAST)))), abs=0.08)


def test_forecasts_are_calibrated_enough_to_stop_by() -> None:
    """Of ends forecast to lie below a bar with less than 5 %, few do: 400 random curves seen for 9 of 81 steps."""
    rng = np.random.default_rng(5)
    n_wrong = n_sure = 0
    for _ in range(400):
        end, drop, pace = rng.uniform(0, 1), rng.uniform(0.2, 1), rng.uniform(0.3, 1.5)
        t = np.arange(1.0, 10.0)
        y = end + drop * t**-pace + 0.01 * rng.standard_normal(9)
        truth, bar = end + drop * LAST**-pace, rng.uniform(0, 1)
        found = forecast(t, y, LAST)
        assert found is not None
        if found.probability_below(bar) < 0.05:
            n_sure += 1
            n_wrong += truth < bar
    assert n_sure > 100
    assert n_wrong / n_sure < 0.05


def test_units_do_not_matter() -> None:
    t = np.arange(1.0, 13.0)
    y = SHAPES["power"](t) + 0.01 * np.random.default_rng(2).standard_normal(len(t))
    here, there = forecast(t, y, LAST), forecast(t * 100, 5.0 - 1000.0 * y, LAST * 100)
    assert here is not None
    assert there is not None
    assert there.probability_below(5.0 - 1000.0 * 0.4) == pytest.approx(1.0 - here.probability_below(0.4), abs=1e-9)


def test_reports_that_are_not_finite_or_at_step_zero_are_left_out() -> None:
    t = np.arange(0.0, 9.0)
    y = np.where(t == 4.0, math.nan, 1.0 / (t + 1.0))
    assert forecast(t[:5], y[:5], LAST) is None, "three are left"
    kept = (t > 0) & np.isfinite(y)
    here, there = forecast(t, y, LAST), forecast(t[kept], y[kept], LAST)
    assert here is not None
    assert there is not None
    assert here.mean == there.mean


@pytest.mark.parametrize("value", [0.0, 0.5, -1e300, 1e300])
def test_a_curve_that_never_moves_ends_where_it_is(value: float) -> None:
    found = forecast(np.arange(1.0, 9.0), np.full(8, value), LAST)
    assert found is not None
    assert found.mean == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_a_long_curve_is_thinned_to_what_it_shows() -> None:
    t = np.arange(1.0, 5001.0)
    found = forecast(t, SHAPES["power"](t), 10_000)
    assert found is not None
    assert found.mean == pytest.approx(float(SHAPES["power"](np.array(10_000.0))), abs=0.02)


def test_samples_follow_the_mixture() -> None:
    t = np.arange(1.0, 13.0)
    found = forecast(t, SHAPES["power"](t), LAST)
    assert found is not None
    drawn = found.sample(20_000, np.random.default_rng(0))
    for bar in (0.2, 0.29, 0.35):
        assert float((drawn < bar).mean()) == pytest.approx(found.probability_below(bar), abs=0.02)


def test_steps_and_values_must_be_as_many() -> None:
    with pytest.raises(ShapeError):
        forecast(np.arange(3.0), np.arange(4.0), LAST)
