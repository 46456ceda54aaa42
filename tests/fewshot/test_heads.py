from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from app.fewshot import heads, recurrent
from app.fewshot.judge import Tasks, judged
from app.fewshot.learner import Learner
from app.fewshot.spec import GRADIENT_BASED, METHODS, MethodName
from app.fewshot.training import Training
from tests.fewshot.problems import clusters, lines, spec


@pytest.fixture
def task() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), [1, 2, 3, 4])  # a different number of shots of each
    return (rng.standard_normal((10, 6)) + y[:, None]).astype(np.float32), y, rng.standard_normal((40, 6)) + 1.5


def test_prototypical_on_the_examples_themselves_is_the_nearest_centroid_classifier(task: tuple) -> None:
    x, y, queries = task
    log_odds = heads.prototypical({"head.scale": np.float32(0)}, x, np.eye(4)[y], queries, "euclidean")
    expected = NearestCentroid().fit(x, y).predict(queries)
    np.testing.assert_array_equal(log_odds.argmax(1), expected)
    assert len(set(expected)) == 3


def test_the_cosine_looks_at_directions_alone(task: tuple) -> None:
    x, y, queries = task
    params = {"head.scale": np.float32(0)}
    once, longer = (heads.prototypical(params, x, np.eye(4)[y], queries * size, "cosine") for size in (1, 7))
    np.testing.assert_allclose(once, longer, atol=1e-4)  # EPSILON stands under both roots


def test_the_ridge_head_is_scikit_learns_ridge_regression(task: tuple) -> None:
    x, y, queries = task
    members = np.eye(4)[y]
    params = {"head.log_penalty": np.log(0.3), "head.scale": 0.0, "head.bias": 0.0}
    size = np.sqrt(6)
    expected = Ridge(alpha=0.3, fit_intercept=False).fit(x / size, members).predict(queries / size)
    ours = heads.ridge(params, x.astype(np.float64), members, queries)
    np.testing.assert_allclose(ours, heads.COSINE_SCALE * expected, rtol=1e-6, atol=1e-8)


def test_the_siamese_head_adds_up_the_twins_differences() -> None:
    rng = np.random.default_rng(0)
    a, b, weights = rng.standard_normal((3, 5)), rng.standard_normal((2, 5)), rng.random(5)
    odds = heads.same_class({"head.weights": weights, "head.bias": 1.0}, a, b)
    for i in range(3):
        for j in range(2):
            assert odds[i, j] == pytest.approx(1.0 - sum(weights * abs(a[i] - b[j])))


def test_the_recurrent_learner_reads_the_same_in_numpy_and_jax(task: tuple) -> None:
    x, y, queries = task
    params = recurrent.initial(np.random.default_rng(0), 6) | {"head.scale": np.float32(0.2)}
    members = np.eye(4, dtype=np.float32)[y]
    slow = recurrent.lstm(params, x, members, queries.astype(np.float32))
    fast = recurrent.lstm(params, x, members, queries.astype(np.float32), jnp, jax.lax.scan)
    np.testing.assert_allclose(slow, fast, atol=1e-4)  # float32 on both sides
    np.testing.assert_allclose(np.exp(slow).sum(1), 1.0, atol=1e-4)


def test_the_recurrent_learner_reads_all_of_the_support_set(task: tuple) -> None:
    x, y, queries = task
    params = recurrent.initial(np.random.default_rng(0), 6)
    members = np.eye(4, dtype=np.float32)[y]
    rows = x @ params["head.projection"]
    changed = rows.copy()
    changed[9] += 1.0
    first, second = (recurrent.in_context(params, given, np, recurrent.in_turn) for given in (rows, changed))
    assert not np.allclose(first[0], second[0], atol=1e-6)
    assert recurrent.lstm(params, x, members, queries).shape == (40, 4)


@pytest.fixture(scope="module")
def learners() -> dict[MethodName, Learner]:
    """One of each method; what is asked of them here, they do before they are trained."""
    return {method: Training(spec(method), clusters()).learner() for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_no_query_can_tell_of_another(method: MethodName, learners: dict[MethodName, Learner]) -> None:
    episode = clusters().draw(np.random.default_rng(2), 1, ways=4, shots=3, queries=4)
    adapted = learners[method].adapt(episode.support_x[0], episode.support_y[0], 4)
    together = adapted.predict(episode.query_x[0])
    for i in range(16):
        alone = adapted.predict(episode.query_x[0, i : i + 1])
        np.testing.assert_allclose(alone.values[0], together.values[i], atol=1e-5)  # float32, other blocks of BLAS
    np.testing.assert_allclose(together.values.sum(1), 1.0, atol=1e-5)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "lstm"])  # it reads in an order
def test_the_order_of_classes_and_examples_does_not_matter(
    method: MethodName, learners: dict[MethodName, Learner]
) -> None:
    episode = clusters().draw(np.random.default_rng(2), 1, ways=4, shots=3, queries=4)
    x, y, queries = episode.support_x[0], episode.support_y[0], episode.query_x[0]
    here = learners[method].adapt(x, y, 4).predict(queries)
    renamed, shuffled = np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(12)
    there = learners[method].adapt(x[shuffled], renamed[y][shuffled], 4).predict(queries)
    np.testing.assert_allclose(here.values, there.values[:, renamed], atol=1e-3)  # gradient steps add float32 in order


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_ways_and_shots_can_be_learnt(method: MethodName, learners: dict[MethodName, Learner]) -> None:
    for ways, shots in ((2, 1), (9, 4)):
        episode = clusters(spread=0.02).draw(np.random.default_rng(0), 1, ways, shots, queries=1)
        found = learners[method].adapt(episode.support_x[0], episode.support_y[0], ways).predict(episode.query_x[0])
        assert found.values.shape == (ways, ways)
        if method not in GRADIENT_BASED:  # a few steps from untrained weights promise nothing
            assert (found.values.argmax(1) == episode.query_y[0]).mean() > 1 / ways


@pytest.mark.parametrize("method", [method for method in METHODS if method not in GRADIENT_BASED])
def test_several_networks_answer_with_the_mean_of_their_log_odds(method: MethodName) -> None:
    learner = Training(spec(method, networks=2), clusters()).learner()
    learner = Learner.from_bytes(learner.to_bytes())
    episode = clusters().draw(np.random.default_rng(2), 1, ways=4, shots=3, queries=4)
    x, y, queries = episode.support_x[0], episode.support_y[0], episode.query_x[0]
    each = []
    for params in learner.networks:
        alone = replace(learner, spec=replace(learner.spec, networks=1), networks=(params,))
        each.append(alone.adapt(x, y, 4).log_odds(alone.features(queries)))
    together = learner.adapt(x, y, 4)
    assert not np.allclose(each[0], each[1], atol=0.1)
    np.testing.assert_allclose(together.log_odds(learner.features(queries)), np.mean(each, axis=0), atol=1e-4)
    assert together.predict(queries).values.shape == (16, 4)


def test_a_support_vector_head_separates_two_classes_and_more() -> None:
    for networks, ways in ((1, 1), (1, 2), (1, 5), (2, 5)):
        learner = Training(spec("metasvm", head="svm", networks=networks), clusters()).learner()
        episode = clusters().draw(np.random.default_rng(0), 1, ways, 4, queries=3)
        found = learner.adapt(episode.support_x[0], episode.support_y[0], ways).predict(episode.query_x[0])
        assert (found.values.argmax(1) == episode.query_y[0]).mean() >= 0.6


def test_a_regression_answers_values() -> None:
    learner = Training(spec("maml", kind="regression", ways=1, shots=5), lines()).learner()
    judgement, known_distance = judged(learner, lines(), Tasks(ways=1, shots=5, queries=4, n_episodes=3, seed=0))
    assert known_distance is None
    assert judgement.mean > 0


def test_other_classes_are_farther_than_known_ones(learners: dict[MethodName, Learner]) -> None:
    pool = clusters(spread=0.02)
    for method, learner in learners.items():
        _, known = judged(learner, pool, Tasks(ways=3, shots=3, queries=3, n_episodes=20, seed=0))
        episode = pool.draw(np.random.default_rng(0), 1, ways=12, shots=3, queries=1)
        adapted = learner.adapt(episode.support_x[0, :9], episode.support_y[0, :9], 3)
        distances = adapted.predict(episode.query_x[0]).distances
        assert known is not None
        assert distances is not None
        assert np.median(distances[3:]) > known, method  # nine classes that it was not shown
        assert np.median(distances[:3]) <= known, method
