from __future__ import annotations

import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from app.errors import EngineMissing, Invalid, NotTrainedYet, ShapeError
from app.fewshot.backbones import Backbone, as_it_is, banded, pooled, sliced
from app.fewshot.dataset import packed, unpacked
from app.fewshot.gradients import by_batch, convolved
from app.fewshot.hog import hog
from app.fewshot.judge import Tasks, baselines, judged
from app.fewshot.learner import Learner, padded
from app.fewshot.spec import METHODS, MethodName
from app.fewshot.training import Training, falling
from tests.fewshot.problems import clusters, images, lines, spec

TASKS = Tasks(ways=3, shots=2, queries=4, n_episodes=40, seed=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_training_that_went_on_from_a_checkpoint_ends_as_one_that_did_not_stop(method: MethodName) -> None:
    whole, first, second = (Training(spec(method), clusters()) for _ in range(3))
    whole.advance(6)
    first.advance(4)
    second.restore(unpacked(packed({}, first.checkpoint()))[1])
    assert second.n_updates == 4
    second.advance(2)
    for name, value in whole.checkpoint().items():
        np.testing.assert_array_equal(second.checkpoint()[name], value)


def test_networks_are_trained_in_turns_and_go_on_from_a_checkpoint_in_between() -> None:
    whole, first, second = (Training(spec("prototypical", networks=2), clusters()) for _ in range(3))
    whole.advance(7)
    first.advance(4)
    first.advance(1)  # the second network has one update less now, and is next
    second.restore(unpacked(packed({}, first.checkpoint()))[1])
    second.advance(2)
    assert (second.n_updates, second.n_episodes) == (7, 14)
    assert int(second.checkpoint()["0/n_updates"]) == 4
    one, other = second.learner().networks
    assert not np.array_equal(one["dense0.w"], other["dense0.w"])
    for name, value in whole.checkpoint().items():
        np.testing.assert_array_equal(second.checkpoint()[name], value)


def test_the_first_of_two_networks_starts_as_an_only_one() -> None:
    alone, together = (Training(spec("prototypical", networks=n), clusters()).learner() for n in (1, 2))
    np.testing.assert_array_equal(alone.networks[0]["dense0.w"], together.networks[0]["dense0.w"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_learner_gets_better_at_tasks_that_it_has_not_seen(method: MethodName) -> None:
    """Only two of eight columns tell the classes apart, which no untrained learner knows."""
    rng = np.random.default_rng(0)
    x = 3 * rng.standard_normal((40, 10, 8))
    x[..., :2] = 1.5 * rng.standard_normal((40, 1, 2)) + 0.2 * rng.standard_normal((40, 10, 2))
    rows = np.arange(400).reshape(40, 10)
    pools = [
        clusters().__class__.of(x.reshape(-1, 8).astype(np.float32), list(part)) for part in (rows[:28], rows[28:])
    ]
    training = Training(spec(method, width=16, tasks_per_update=4, learning_rate=5e-3), pools[0])
    before, _ = judged(training.learner(), pools[1], TASKS)
    training.advance(150)
    after, _ = judged(training.learner(), pools[1], TASKS)
    assert after.mean > before.mean + before.half_width + after.half_width, (before, after)


@pytest.mark.slow
def test_a_regression_learner_gets_better_at_lines_that_it_has_not_seen() -> None:
    pool = lines(40, n_examples=20)
    tasks = Tasks(ways=1, shots=5, queries=5, n_episodes=40, seed=0)
    training = Training(spec("maml", kind="regression", shots=5, width=16, learning_rate=5e-3), pool)
    before, _ = judged(training.learner(), lines(), tasks)
    training.advance(400)
    after, _ = judged(training.learner(), lines(), tasks)
    assert after.mean < 0.5 * before.mean
    assert after.mean < baselines(pool, lines(), tasks)["mean"].mean


def test_a_regression_does_not_depend_on_the_unit_of_its_values() -> None:
    """Metres or millimetres, from whichever zero: the same learner, up to rounding."""
    plain = lines(n_examples=15)
    assert plain.targets is not None
    millimetres = replace(plain, targets=1000 * plain.targets + 5000)
    errors = []
    for pool in (plain, millimetres):
        training = Training(spec("maml", kind="regression", shots=5), pool)
        training.advance(20)
        learner = type(training.learner()).from_bytes(training.learner().to_bytes())
        errors.append(judged(learner, pool, Tasks(ways=1, shots=5, queries=5, n_episodes=10, seed=0))[0].mean)
    assert errors[1] == pytest.approx(1e6 * errors[0], rel=1e-2)  # float32


def test_the_rate_falls_to_nothing_along_half_a_cosine() -> None:
    assert [falling(fraction) for fraction in (0.0, 1 / 3, 0.5, 1.0, 1.5)] == pytest.approx([1, 0.75, 0.5, 0, 0])
    training = Training(spec("prototypical"), clusters())
    before = training.learner().networks[0]["dense0.w"]
    training.advance(2, fraction=1.0)
    np.testing.assert_allclose(training.learner().networks[0]["dense0.w"], before, rtol=1e-6)  # an average of equals


def test_a_learner_of_a_version_with_other_networks_is_refused() -> None:
    learner = Training(spec("prototypical"), clusters()).learner()
    about, arrays = unpacked(learner.to_bytes())
    del about["format"]
    with pytest.raises(NotTrainedYet, match="train it again"):
        Learner.from_bytes(packed(about, arrays))


def test_a_learner_from_before_there_could_be_several_networks_is_still_read() -> None:
    learner = Training(spec("prototypical"), clusters()).learner()
    about, arrays = unpacked(learner.to_bytes())
    about["format"] = 3
    assert about["spec"].pop("networks") == 1
    old = packed(about, {name.replace("network0/", "params/"): value for name, value in arrays.items()})
    x = clusters().x[:5]
    np.testing.assert_array_equal(Learner.from_bytes(old).features(x), learner.features(x))


def test_the_same_seed_gives_the_same_learner_and_another_one_another() -> None:
    weights = []
    for seed in (0, 0, 1):
        training = Training(spec("prototypical", seed=seed), clusters())
        training.advance(2)
        weights.append(training.learner().networks[0]["dense0.w"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize(("kind", "shape"), [("conv4", (9, 8)), ("conv4", (8, 8, 3)), ("mlp", (6,)), ("linear", (6,))])
def test_a_backbone_gives_the_same_features_in_numpy_and_jax(kind: str, shape: tuple[int, ...]) -> None:
    backbone = Backbone(kind, shape, 4)  # type: ignore[arg-type]
    params = backbone.initial(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((5, *shape)).astype(np.float32)
    features = backbone.features(params, x)
    np.testing.assert_allclose(features, backbone.features(params, x, jnp), atol=1e-5)  # float32
    np.testing.assert_allclose(features[2:3], backbone.features(params, x[2:3]), atol=1e-5)
    assert len({row.tobytes() for row in features}) == 5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 6), (3, 3), (1, 4), (5, 1)])
def test_a_convolution_of_slices_is_that_of_jax_and_of_bands(stride: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, *size, 5), (45, 4)))
    for ours in (sliced, banded):
        np.testing.assert_allclose(ours(x, w, stride), convolved(x, w, stride), atol=1e-4)  # float32


def test_a_learner_has_the_statistics_of_training_examples_for_good() -> None:
    """As a batch of these examples would be normalised, and not by what it is asked with."""
    training = Training(spec("prototypical", backbone="conv4", width=3, training_queries=2), images())
    training.advance(1)
    typical, learner = training._typical(), training.learner()
    params = training.checkpoint()
    average = {name.removeprefix("0/average/"): params[name] for name in params if name.startswith("0/average/")}
    by_its_batch = training.backbone.features(average, typical, jnp, convolved, by_batch)
    fixed = training.backbone.features(learner.networks[0], typical, normalisation=as_it_is)
    np.testing.assert_allclose(fixed, by_its_batch, atol=0.02 * fixed.std())  # variances are differences of float32
    x = images().x[:6]
    np.testing.assert_allclose(learner.features(x)[2:3], learner.features(x[2:3]), atol=1e-5)


def test_pooling_keeps_the_largest_of_each_square() -> None:
    x = np.arange(20.0).reshape(1, 5, 4, 1)
    np.testing.assert_array_equal(pooled(x)[0, :, :, 0], [[5, 7], [13, 15]])


def test_hog_serves_without_training() -> None:
    learner = Training(spec("prototypical", backbone="hog"), images(side=20)).learner()
    judgement, _ = judged(learner, images(side=20), Tasks(ways=3, shots=1, queries=1, n_episodes=30, seed=0))
    assert judgement.mean - judgement.half_width > 0.5  # a third would be guessed


def test_without_an_engine_hog_serves_and_what_embeds_still_adapts(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Training(spec("prototypical"), clusters()).learner()
    monkeypatch.setitem(sys.modules, "jax", None)
    episode = clusters().draw(np.random.default_rng(0), 1, 3, 2, 2)
    found = learner.adapt(episode.support_x[0], episode.support_y[0], 3).predict(episode.query_x[0])
    assert found.values.shape == (6, 3)
    Training(spec("metasvm", backbone="hog"), images(side=20)).learner()
    with pytest.raises(EngineMissing, match="networks"):
        Training(spec("prototypical"), clusters())


def test_probabilities_of_hog_are_about_as_high_as_it_is_right() -> None:
    pool = images(n_classes=20, n_examples=8, side=20)
    learner = Training(spec("prototypical", backbone="hog"), pool).learner()
    right, sure = [], []
    for episode in Tasks(ways=3, shots=2, queries=4, n_episodes=20, seed=3).drawn(pool):
        support_x, support_y, query_x, query_y = (part[0] for part in episode)
        found = learner.adapt(support_x, support_y, 3).predict(query_x).values
        right.append((found.argmax(1) == query_y).mean())
        sure.append(found.max(1).mean())
    assert np.mean(sure) == pytest.approx(np.mean(right), abs=0.1)


def test_hog_sees_edges_and_not_brightness() -> None:
    image = images(side=20).x[:1].astype(np.float32)
    np.testing.assert_allclose(hog(image), hog(3 * image + 50), atol=1e-3)  # EPSILON stands under the root
    assert np.abs(hog(image) - hog(np.rot90(image, axes=(1, 2)))).max() > 0.05
    with pytest.raises(ShapeError, match="10 × 10"):
        hog(np.zeros((1, 9, 9), np.float32))


def test_methods_are_refused_where_they_cannot_be() -> None:
    with pytest.raises(Invalid, match="only classifies"):
        spec("lstm", kind="regression")
    with pytest.raises(Invalid, match="hog"):
        spec("maml", backbone="hog")
    for choices in ({"method": "maml"}, {"method": "prototypical", "backbone": "hog"}):
        with pytest.raises(Invalid, match="`networks` is 1"):
            spec(**choices, networks=2)


def test_baselines_are_judged_on_the_same_tasks() -> None:
    pool = clusters(spread=0.05)
    found = baselines(pool, pool, TASKS)
    assert set(found) == {
        f"{head}-{features}" for head in ("nearest-centroid", "logistic-regression") for features in ("raw", "pca")
    }
    assert all(judgement.mean == 1.0 for judgement in found.values())


def test_supports_are_padded_to_few_shapes() -> None:
    assert [padded(n) for n in (1, 5, 8, 9, 25, 33)] == [8, 8, 8, 16, 32, 64]
