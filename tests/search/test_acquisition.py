"""Log expected improvement against integration and its limits; gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from app.search.acquisition import (
    Acquisition,
    HypervolumeImprovement,
    Improvement,
    Thrift,
    Within,
    exploration_share,
    log_expected_improvement,
    log_h,
    noise_discount,
)
from app.search.kernels import Embedding
from app.search.pareto import hypervolume
from app.search.priors import HyperPrior
from app.search.space import Float, SearchSpace
from app.search.surrogate import Factor, Prediction, Surrogate

SPACE = SearchSpace({f"x{j}": Float(0, 1) for j in range(3)})


def surrogate(seed: int) -> Surrogate:
    rng = np.random.default_rng(seed)
    factor = Factor.of(Embedding.of(SPACE), HyperPrior(3).mode, rng.random((12, 3)), np.zeros(12))
    return factor.given(rng.standard_normal(12))


@pytest.mark.parametrize(
    ("mean", "std", "best"), [(0.0, 1.0, 0.0), (1.0, 0.5, 0.3), (-2.0, 0.1, 1.0), (3.0, 1.0, 0.0), (5.0, 2.0, 1.0)]
)
def test_expected_improvement_agrees_with_numerical_integration(mean: float, std: float, best: float) -> None:
    def improvement(f: float) -> float:
        return (best - f) * norm.pdf(f, mean, std)

    expected, _ = quad(improvement, mean - 12 * std, best, epsabs=1e-14, epsrel=1e-11, points=[min(mean, best - 1e-9)])
    actual = log_expected_improvement(np.array([mean]), np.array([std]), best)[0]
    assert actual == pytest.approx(np.log(expected), rel=1e-8)


def test_log_h_is_smooth_and_increasing_over_its_three_branches() -> None:
    z = np.concatenate([-np.logspace(12, -8, 4001), np.linspace(0, 10, 1001)])
    values = log_h(z)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    for edge in (-1.0, -1e3):
        below, above = log_h(np.array([edge * (1 + 1e-9), edge * (1 - 1e-9)]))
        assert below == pytest.approx(above, rel=1e-8)


@pytest.mark.parametrize("z", [-1e6, -1e3, -999.9, -37.0, -1.0, -1e-9, 0.0, 0.3, 8.0, 1e4])
def test_of_few_rows_the_improvement_is_that_of_many(z: float) -> None:
    of = surrogate(0)
    at = np.random.default_rng(1).random((50, 3))
    predicted = of.predict(at)
    term = Improvement(of, float(predicted.mean[0] + z * predicted.std[0]))
    few = [term.value([Prediction(predicted.mean[i : i + 1], predicted.std[i : i + 1])])[0] for i in range(50)]
    np.testing.assert_allclose(few, term.value([predicted]), rtol=1e-12)


def test_log_h_far_out_is_its_asymptote() -> None:
    z = -1e3
    expected = -(z**2) / 2 - 0.5 * np.log(2 * np.pi) - 2 * np.log(-z) + np.log1p(-3 / z**2)
    assert log_h(np.array([z]))[0] == pytest.approx(expected, rel=1e-12)


FRONT = np.array([[-0.5, 0.4, 0.1], [0.1, -0.6, 0.3], [0.3, 0.2, -0.7]])
TERMS = {
    "improvement": (Improvement(surrogate(0), 0.0, 0.3),),
    "far improvement": (Improvement(surrogate(0), -5.0),),
    "limits": (Within(surrogate(1), 0.3), Within(surrogate(2), -2.0)),
    "thrift": (Improvement(surrogate(0), 0.0), Thrift(surrogate(2), 0.7)),
    "two objectives": (HypervolumeImprovement((surrogate(0), surrogate(1)), FRONT[:, :2], np.ones(2)),),
    "three objectives": (HypervolumeImprovement((surrogate(0), surrogate(1), surrogate(2)), FRONT, np.ones(3)),),
}


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_of_the_acquisition_is_its_finite_difference(name: str) -> None:
    acquisition = Acquisition(TERMS[name])
    at = np.random.default_rng(5).random((5, 3))
    values, gradient = acquisition.value_and_gradient(at)
    np.testing.assert_allclose(values, acquisition.value(at), rtol=1e-12)
    for j in range(3):
        step = 1e-6 * np.eye(3)[j]
        expected = (acquisition.value(at + step) - acquisition.value(at - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, j], expected, rtol=2e-4, atol=1e-5)


def test_the_probability_of_feasibility_is_added_in_logarithms() -> None:
    limit = surrogate(1)
    at = np.random.default_rng(5).random((5, 3))
    prediction = limit.predict(at)
    expected = np.log(norm.cdf((0.3 - prediction.mean) / prediction.std))
    improvement = Improvement(surrogate(0), 0.0)
    added = Acquisition((improvement, Within(limit, 0.3))).value(at) - Acquisition((improvement,)).value(at)
    np.testing.assert_allclose(added, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_watched_rows_follow_the_pending_trials_whenever_the_watch_began(name: str) -> None:
    rng = np.random.default_rng(5)
    rows, pending = rng.random((300, 3)), rng.random((4, 3))
    rows[7] = pending[2]
    acquisition = Acquisition(TERMS[name])
    early = acquisition.watching(rows).believing(pending[:1]).believing(pending[1:])
    late = acquisition.believing(pending).watching(rows)
    np.testing.assert_array_equal(early.value_at_watched(), late.value_at_watched())
    np.testing.assert_allclose(early.value_at_watched(), late.value(rows), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(acquisition.watching(rows).value_at_watched(), acquisition.value(rows), rtol=1e-12)


def test_exploration_is_everything_at_the_incumbents_mean_and_nothing_where_improvement_is_sure() -> None:
    assert exploration_share(0.0, 1.0, 0.0) == pytest.approx(1.0)
    assert exploration_share(-5.0, 0.1, 0.0) < 1e-100
    z = 0.7
    assert exploration_share(-0.7, 1.0, 0.0) == pytest.approx(norm.pdf(z) / (norm.pdf(z) + z * norm.cdf(z)))


def test_the_noise_discount_is_its_formula_vanishes_without_noise_and_has_its_derivative() -> None:
    std = np.array([0.01, 0.3, 2.0])
    np.testing.assert_allclose(noise_discount(std, 0.5).log, np.log(1 - 0.5 / np.sqrt(std**2 + 0.25)), rtol=1e-9)
    np.testing.assert_allclose(noise_discount(std, 0.0).log, 0.0, atol=1e-12)
    numeric = (noise_discount(std + 1e-7, 0.5).log - noise_discount(std - 1e-7, 0.5).log) / 2e-7
    np.testing.assert_allclose(noise_discount(std, 0.5).by_std, numeric, rtol=1e-5)


@pytest.mark.parametrize("m", [2, 3])
def test_expected_hypervolume_improvement_agrees_with_monte_carlo(m: int) -> None:
    surrogates = tuple(surrogate(j) for j in range(m))
    front, reference = FRONT[:, :m], np.ones(m)
    at = np.random.default_rng(3).random((3, 3))
    actual = np.exp(Acquisition((HypervolumeImprovement(surrogates, front, reference),)).value(at))
    rng = np.random.default_rng(0)
    before = hypervolume(front, reference)
    for i in range(len(at)):
        beliefs = [s.predict(at[i : i + 1]) for s in surrogates]
        draws = np.stack([b.mean[0] + b.std[0] * rng.standard_normal(4000) for b in beliefs], axis=1)
        gains = [hypervolume(np.vstack([front, draw]), reference) - before for draw in draws]
        assert actual[i] == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(len(gains)))
