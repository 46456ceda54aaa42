"""The Gaussian process against scikit-learn and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from app.errors import NotPositiveDefinite, ShapeError
from app.search.fitting import fit, fit_from_two, log_posterior
from app.search.kernels import Embedding, matern52, matern52_with_slope, squared_distance
from app.search.priors import HyperPrior
from app.search.space import Bool, Categorical, Float, Int, SearchSpace
from app.search.surrogate import Factor, Surrogate

BOX = SearchSpace({f"x{j}": Float(0, 1) for j in range(3)})
MIXED = SearchSpace(
    {
        "x": Float(0, 1),
        "k": Categorical(("a", "b", "c")),
        "n": Int(1, 9, when={"k": ("a", "b")}),
        "b": Bool(when={"k": ("c",)}),
        "z": Float(0, 1),
    }
)
THETA = np.array([np.log(0.3), np.log(0.7), np.log(1.5), np.log(1.7), np.log(1e-2), 0.2])


def condition(embedding: Embedding, theta: np.ndarray, X: np.ndarray, y: np.ndarray, told: np.ndarray) -> Surrogate:
    return Factor.of(embedding, theta, X, told).given(y)


def data(n: int = 25, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).random((n, 3))
    return X, np.sin(5 * X[:, 0]) + X[:, 1] ** 2 - X[:, 2]


def smooth_part() -> Kernel:
    """Our covariance as scikit-learn writes it."""
    return ConstantKernel(np.exp(THETA[3])) * Matern(np.exp(THETA[:3]), nu=2.5)


def reference(X: np.ndarray, y: np.ndarray) -> GaussianProcessRegressor:
    kernel = smooth_part() + WhiteKernel(np.exp(THETA[4]))
    return GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(X, y - THETA[5])


def test_posterior_agrees_with_scikit_learn() -> None:
    X, y = data()
    X_new = np.random.default_rng(1).random((50, 3))
    ours = condition(Embedding.of(BOX), THETA, X, y, np.zeros(len(y))).predict(X_new)
    mean, std = reference(X, y).predict(X_new, return_std=True)
    np.testing.assert_allclose(ours.mean, mean + THETA[5], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        ours.std**2, std**2 - np.exp(THETA[4]), rtol=1e-7, atol=1e-10
    )  # theirs is of a measurement


def test_marginal_likelihood_agrees_with_scikit_learn() -> None:
    X, y = data()
    prior = HyperPrior(3)
    features = Embedding.of(BOX).features(X)
    ours = log_posterior(Embedding.of(BOX), features, y, np.zeros(len(y)), THETA, prior)
    expected = reference(X, y).log_marginal_likelihood()
    assert ours.value - prior.log_density(THETA).value == pytest.approx(expected, rel=1e-10)


def test_told_standard_errors_are_per_trial_noise_as_scikit_learns_alpha() -> None:
    X, y = data()
    told = np.linspace(0, 0.5, len(y))
    expected = GaussianProcessRegressor(smooth_part(), optimizer=None, alpha=told + np.exp(THETA[4]))
    expected.fit(X, y - THETA[5])
    ours = condition(Embedding.of(BOX), THETA, X, y, told).predict(X[:5] + 0.01)
    np.testing.assert_allclose(ours.mean, expected.predict(X[:5] + 0.01) + THETA[5], rtol=1e-9)


@pytest.mark.parametrize("space", [BOX, MIXED])
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_the_posterior_density_is_its_finite_difference(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = space.snap(rng.random((20, space.n_dimensions)))
    y, told = rng.standard_normal(20), 0.1 * rng.random(20)
    embedding, prior = Embedding.of(space), HyperPrior(space.n_dimensions)
    theta = prior.mode + rng.standard_normal(space.n_dimensions + 3)
    features = embedding.features(units)

    def density(at: np.ndarray) -> float:
        return log_posterior(embedding, features, y, told, at, prior).value

    steps = 1e-5 * np.eye(len(theta))
    expected = [(density(theta + step) - density(theta - step)) / 2e-5 for step in steps]
    actual = log_posterior(embedding, features, y, told, theta, prior).gradient
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("space", [BOX, MIXED])
def test_the_gradients_of_mean_and_std_are_their_finite_differences(space: SearchSpace) -> None:
    rng = np.random.default_rng(4)
    units = space.snap(rng.random((15, space.n_dimensions)))
    embedding = Embedding.of(space)
    surrogate = condition(embedding, HyperPrior(space.n_dimensions).mode, units, rng.standard_normal(15), np.zeros(15))
    at = space.snap(rng.random((6, space.n_dimensions)))
    prediction = surrogate.linearised(at)
    one, zero = np.ones(len(at)), np.zeros(len(at))
    mean_gradient, std_gradient = prediction.gradient(one, zero), prediction.gradient(zero, one)
    np.testing.assert_allclose(prediction.mean, surrogate.predict(at).mean, rtol=1e-12, atol=1e-12)
    for j, name in enumerate(space.columns):
        if not space.parameters[name].is_ordered:
            continue
        step = np.zeros(space.n_dimensions)
        step[j] = 1e-6
        up, down = surrogate.predict(at + step), surrogate.predict(at - step)
        active = ~np.isnan(at[:, j])
        np.testing.assert_allclose(mean_gradient[:, j], active * (up.mean - down.mean) / 2e-6, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(std_gradient[:, j], active * (up.std - down.std) / 2e-6, rtol=1e-4, atol=1e-6)


def test_the_prior_is_a_normal_density_and_its_gradient_a_finite_difference() -> None:
    prior = HyperPrior(4)
    covariance = np.zeros((7, 7))
    covariance[:4, :4] = 0.49 * np.eye(4) + 0.49
    covariance[4:, 4:] = np.diag([1.5**2, 3.0**2, 1.0])
    expected = multivariate_normal(prior.mode, covariance)
    theta = prior.mode + np.linspace(-0.5, 1.0, 7)
    difference = prior.log_density(theta).value - prior.log_density(prior.mode).value
    assert difference == pytest.approx(expected.logpdf(theta) - expected.logpdf(prior.mode))
    steps = 1e-6 * np.eye(7)
    slopes = [(expected.logpdf(theta + s) - expected.logpdf(theta - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(prior.log_density(theta).gradient, slopes, rtol=1e-6)


def test_distances_treat_choices_by_equality_and_inactivity_by_a_fixed_step() -> None:
    space = SearchSpace({"k": Categorical(("a", "b", "c")), "x": Float(0, 1, when={"k": ("a", "b")})})
    configurations = [{"k": "a", "x": 0.2}, {"k": "b", "x": 0.2}, {"k": "c"}, {"k": "a", "x": 0.9}]
    Z = Embedding.of(space).features(space.encode_many(configurations))
    distances = squared_distance(Z, Z)
    assert distances[0, 1] == pytest.approx(1.0)  # another choice
    assert distances[0, 2] == distances[1, 2] == distances[3, 2] == pytest.approx(2.0)  # another choice, x not active
    assert distances[0, 3] == pytest.approx((2 * np.sin(0.35)) ** 2)  # the chord of 0.7
    inactive = Embedding.of(space).features(space.encode_many([{"k": "c"}, {"k": "c"}]))
    assert squared_distance(inactive, inactive)[0, 1] == 0.0


def test_relabelled_choices_give_the_same_covariance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 12)
    one = SearchSpace({"k": Categorical(("a", "b", "c"))})
    two = SearchSpace({"k": Categorical(("c", "a", "b"))})
    units = [s.encode_many([{"k": "abc"[i]} for i in labels]) for s in (one, two)]
    Z = [Embedding.of(s).features(u) for s, u in zip((one, two), units, strict=True)]
    np.testing.assert_allclose(matern52(Z[0], Z[0], 1.0), matern52(Z[1], Z[1], 1.0), atol=1e-15)


def test_the_slope_is_minus_two_times_the_derivative_by_the_squared_distance() -> None:
    r = np.linspace(0.05, 3, 30)[:, None]
    zero = np.zeros((1, 1))
    h = 1e-6
    numeric = (matern52(np.sqrt(r**2 + h), zero, 2.0) - matern52(np.sqrt(r**2 - h), zero, 2.0)) / (2 * h)
    np.testing.assert_allclose(matern52_with_slope(r, zero, 2.0)[1], -2 * numeric, rtol=1e-6)


def test_points_with_other_columns_are_refused() -> None:
    with pytest.raises(ShapeError):
        matern52(np.zeros((2, 3)), np.zeros((2, 4)), 1.0)


def test_the_fit_finds_which_dimension_matters() -> None:
    X = np.random.default_rng(0).random((60, 3))
    theta = fit(Embedding.of(BOX), X, np.sin(8 * X[:, 0]), np.zeros(60))
    assert np.exp(theta[0]) < 0.5 * np.exp(theta[1:3]).min()


def test_noisy_results_on_a_grid_are_fitted_better_from_two_starts_and_never_worse() -> None:
    space = SearchSpace({f"x{j}": Float(0, 1) for j in range(6)})
    embedding, prior, gains = Embedding.of(space), HyperPrior(6), []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = np.round(rng.random((100, 6)) * 5) / 5
        y = np.sin(6 * X[:, 0]) + X[:, 1] + 0.3 * rng.standard_normal(100)
        y = (y - y.mean()) / y.std()
        densities = [
            log_posterior(embedding, embedding.features(X), y, np.zeros(100), theta, prior).value
            for theta in (fit(embedding, X, y, np.zeros(100)), fit_from_two(embedding, X, y))
        ]
        gains.append(densities[1] - densities[0])
    assert min(gains) > -0.1
    assert np.median(gains) > 5.0


def test_believed_pending_points_leave_the_mean_and_shrink_the_uncertainty() -> None:
    X, y = data()
    before = condition(Embedding.of(BOX), THETA, X, y, 0.1 * np.ones(len(y)))
    pending = np.array([[0.5, 0.5, 0.5], [0.9, 0.1, 0.2]])
    after = before.believing(pending[0]).believing(pending[1])
    X_new = np.vstack([pending, np.random.default_rng(1).random((20, 3))])
    np.testing.assert_allclose(after.predict(X_new).mean, before.predict(X_new).mean, rtol=1e-12)
    assert (after.predict(X_new).std <= before.predict(X_new).std + 1e-12).all()
    assert after.predict(pending).std.max() < 0.15
    told_again = condition(
        Embedding.of(BOX),
        THETA,
        np.vstack([X, pending]),
        np.concatenate([y, before.predict(pending).mean]),
        np.concatenate([0.1 * np.ones(len(y)), np.zeros(2)]),
    )
    np.testing.assert_allclose(after.predict(X_new).std, told_again.predict(X_new).std, rtol=1e-9)


def test_a_factor_that_grew_row_by_row_is_the_factor_of_all_rows() -> None:
    X, y = data()
    told = np.linspace(0, 0.5, len(y))
    grown = Factor.of(Embedding.of(BOX), THETA, X[:10], told[:10])
    for row, noise in zip(X[10:], told[10:], strict=True):
        grown = grown.with_row(row, float(noise))
    whole = Factor.of(Embedding.of(BOX), THETA, X, told)
    np.testing.assert_allclose(grown.L, whole.L, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(grown.given(y).mean_at_trials, whole.given(y).predict(X).mean, rtol=1e-9, atol=1e-10)


def test_repeated_trials_are_averaged() -> None:
    X = np.full((8, 3), 0.5)
    y = np.array([1.0, -1.0] * 4)
    theta = np.concatenate([np.zeros(3), [0.0, np.log(1.0), 0.0, -np.inf]])
    prediction = condition(Embedding.of(BOX), theta, X, y, np.zeros(8)).predict(X[:1])
    assert prediction.mean[0] == pytest.approx(0.0, abs=1e-12)
    assert prediction.std[0] ** 2 == pytest.approx(1 / 9)  # prior variance 1, eight measurements of variance 1


def test_a_covariance_that_cannot_be_factorised_is_an_error_of_ours() -> None:
    with pytest.raises(NotPositiveDefinite):
        condition(Embedding.of(BOX), THETA, np.zeros((2, 3)), np.zeros(2), np.array([np.nan, 0.0]))


def test_two_that_grow_from_one_factor_leave_each_other_alone() -> None:
    X, _ = data()
    base = Factor.of(Embedding.of(BOX), THETA, X[:10], np.zeros(10))
    one, other = base.with_row(X[10], 0.0), base.with_row(X[11], 0.1)
    for grown, rows, told in ((one, [*range(11)], 0.0), (other, [*range(10), 11], 0.1)):
        whole = Factor.of(Embedding.of(BOX), THETA, X[rows], np.append(np.zeros(10), told))
        np.testing.assert_allclose(grown.L, whole.L, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(grown.inverse @ grown.L, np.eye(11), atol=1e-10)
        np.testing.assert_array_equal(grown.units, X[rows])
    np.testing.assert_array_equal(base.with_row(X[10], 0.0).L, one.L)


def test_a_factor_grows_past_the_room_it_was_given() -> None:
    X, y = data(n=80)
    grown = Factor.of(Embedding.of(BOX), THETA, X[:3], np.zeros(3))
    for row in X[3:]:
        grown = grown.with_row(row, 0.0)
    whole = Factor.of(Embedding.of(BOX), THETA, X, np.zeros(80))
    np.testing.assert_allclose(grown.L, whole.L, rtol=1e-8, atol=1e-11)
    at = np.random.default_rng(1).random((40, 3))
    np.testing.assert_allclose(grown.given(y).predict(at).std, whole.given(y).predict(at).std, rtol=1e-8)


def test_predictions_of_few_rows_are_those_of_many() -> None:
    X, y = data()
    surrogate = condition(Embedding.of(BOX), THETA, X, y, np.zeros(len(y)))
    at = np.random.default_rng(1).random((100, 3))
    one_by_one = [surrogate.predict(row[None, :]) for row in at]
    together = surrogate.predict(at)
    np.testing.assert_allclose([p.mean[0] for p in one_by_one], together.mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose([p.std[0] for p in one_by_one], together.std, rtol=1e-9)


def test_a_scaled_factor_has_nothing_of_what_the_room_holds_beyond_its_rows() -> None:
    X, _ = data()
    factor = Factor.of(Embedding.of(BOX), THETA, X, np.zeros(len(X))).with_row(np.full(3, 0.5), 0.0).first(len(X))
    with np.errstate(all="raise"):
        factor.room.L[len(X) :] = factor.room.inverse[len(X) :] = factor.room.added[len(X) :] = 1e308
        scaled = factor.scaled(4.0, 0.0)
    np.testing.assert_allclose(scaled.inverse @ scaled.L, np.eye(len(X)), atol=1e-10)
    np.testing.assert_allclose(scaled.added, 4.0 * factor.added)
