"""Every learner's step agrees with finite differences, or with a derivation of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from app.fewshot import gradients, recurrent
from app.fewshot.backbones import Backbone, Params
from app.fewshot.inner import Inner, Support
from app.fewshot.spec import GRADIENT_BASED, LearnerSpec, MethodName
from app.fewshot.tasks import Episodes, Pool
from app.fewshot.training import initial
from tests.fewshot.problems import clusters, drawn, images, lines, spec

STEP = 1e-5


@pytest.fixture(autouse=True)
def in_doubles() -> Iterator[None]:
    """Finite differences need more digits than training does."""
    with jax.enable_x64(True):
        yield


def doubles(values: Any) -> Any:
    return jax.tree.map(
        lambda value: np.asarray(value, np.float64) if np.asarray(value).dtype.kind == "f" else value, values
    )


def prepared(of: LearnerSpec, pool: Pool) -> tuple[Backbone, Params, Episodes]:
    backbone = Backbone(of.backbone, pool.x.shape[1:], of.width)
    params = doubles(initial(of, backbone))
    rng = np.random.default_rng(1)  # away from zero heads, at which second derivatives vanish
    params = {name: value + 0.1 * rng.standard_normal(np.shape(value)) for name, value in params.items()}
    return backbone, params, Episodes(*doubles(tuple(drawn(pool, of))))


def along(slope: gradients.Slope, params: Params, episodes: Episodes, direction: Params) -> tuple[float, float]:
    """The loss's change along a direction: by differences, and by the gradient."""

    def loss(size: float) -> float:
        return float(slope({name: params[name] + size * direction[name] for name in params}, episodes)[0])

    gradient = slope(params, episodes)[1]
    return (loss(STEP) - loss(-STEP)) / (2 * STEP), sum(float((gradient[n] * direction[n]).sum()) for n in params)


CASES: list[tuple[MethodName, dict[str, Any], Any]] = [
    ("prototypical", {}, clusters),
    ("prototypical", {"training_shots": 1, "distance": "cosine"}, clusters),
    ("prototypical", {"backbone": "conv4", "width": 3, "training_shots": 1, "training_queries": 2}, images),
    ("siamese", {}, clusters),
    ("metasvm", {}, clusters),
    ("lstm", {}, clusters),
    ("maml", {"inner_rate": 0.1}, clusters),
    ("maml", {"kind": "regression", "inner_steps": 3}, lines),
    ("anil", {"inner_rate": 0.1}, clusters),
    ("metasgd", {"inner_rate": 0.1}, clusters),
]


@pytest.mark.parametrize(("method", "choices", "pool"), CASES)
def test_the_step_agrees_with_finite_differences(method: MethodName, choices: dict[str, Any], pool: Any) -> None:
    of = spec(method, **choices)
    backbone, params, episodes = prepared(of, pool())
    slope = jax.jit(gradients.slope_of(of, backbone))
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = {name: rng.standard_normal(np.shape(value)) for name, value in params.items()}
        differences, derivative = along(slope, params, episodes, direction)
        assert derivative == pytest.approx(differences, rel=1e-4, abs=1e-7)
        assert abs(derivative) > 1e-6
    still = {name for name, value in slope(params, episodes)[1].items() if not np.abs(value).max() > 1e-15}
    if of.method in GRADIENT_BASED and of.kind == "classification":
        still -= {"head.w", "head.b", "rate.head.b"}  # the same for every class: the softmax does not see it
    assert still <= {"head.bias"}, still  # of metasvm, likewise


def test_reptile_follows_where_steps_on_one_part_of_the_examples_after_another_lead() -> None:
    of = spec("reptile", training_queries=5, inner_steps=2, inner_rate=0.2)
    backbone, params, episodes = prepared(of, clusters())
    _, moved = jax.jit(gradients.slope_of(of, backbone))(params, episodes)
    inner = Inner(of, backbone)

    def part(task: int, chosen: list[int]) -> tuple[Any, Any]:
        both = (episodes.support_x, episodes.query_x), (episodes.support_y, episodes.query_y)
        x, y = (np.concatenate([p[task].reshape(3, -1, *p.shape[2:]) for p in pair], 1)[:, chosen] for pair in both)
        return x.reshape(y.size, -1), y.ravel()

    def loss(weights: Params, centre: Any, x: Any, y: Any) -> Any:
        outputs = inner.outputs(weights | {"head.centre": centre}, x)
        return inner.loss(outputs, y, jnp.ones(len(y)), jnp.ones(3, bool))

    slope = jax.jit(jax.grad(loss))
    expected = {name: np.zeros(np.shape(params[name])) for name in params if not name.startswith("head.")}
    for task in range(2):
        weights = inner.start(params, 3)
        centre = backbone.features(params, part(task, [0, 1, 2, 3])[0]).mean(0)
        for chosen in ([0, 1, 2, 3], [4, 5, 6, 0]):  # of seven examples of each class four, and the other three
            slopes = slope(weights, centre, *part(task, chosen))
            weights = {name: weights[name] - 0.2 * slopes[name] for name in weights}
        for name in expected:
            expected[name] = expected[name] + (params[name] - weights[name]) / 2
    assert max(np.abs(value).max() for value in expected.values()) > 1e-3
    for name, value in expected.items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-8, atol=1e-12)


def test_the_inner_steps_are_those_of_gradient_descent_on_all_weights() -> None:
    of = spec("maml", inner_rate=0.3)
    backbone, params, episodes = prepared(of, clusters())
    inner = Inner(of, backbone)
    x, y = episodes.support_x[0], episodes.support_y[0]

    def loss(weights: Params) -> Any:
        log_odds = of.head_gain / np.sqrt(5) * (backbone.features(weights, x, jnp) - centre) @ weights["head.w"]
        return -jax.nn.log_softmax(log_odds + weights["head.b"])[jnp.arange(6), y].mean()

    weights, slope = inner.start(params, 3), jax.jit(jax.grad(loss))
    centre = backbone.features(params, x).mean(0)
    for _ in range(3):
        slopes = slope(weights)
        weights = {name: weights[name] - 0.3 * slopes[name] for name in weights}
    found = inner.adapted(params, Support(x, y, np.ones(6), np.ones(3, bool)), 3)
    assert np.abs(found["dense0.w"] - params["dense0.w"]).max() > 1e-3
    for name, value in weights.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-12)


def test_prototypical_learns_from_every_pair_of_its_examples() -> None:
    of = spec("prototypical", backbone="linear", training_shots=1, training_queries=2, tasks_per_update=1)
    backbone, params, episodes = prepared(of, clusters())
    x = np.concatenate([episodes.support_x[0], episodes.query_x[0]]) @ params["dense0.w"] + params["dense0.b"]
    y = np.concatenate([episodes.support_y[0], episodes.query_y[0]])
    losses = []
    for i in range(9):
        others = [j for j in range(9) if j != i]
        near = [np.exp(-10 * np.exp(params["head.scale"]) * ((x[i] - x[j]) ** 2).sum() / 5) for j in others]
        losses.append(-np.log(sum(near[n] for n, j in enumerate(others) if y[j] == y[i]) / sum(near)))
    assert float(gradients.slope_of(of, backbone)(params, episodes)[0]) == pytest.approx(np.mean(losses), rel=1e-9)


def test_maml_without_inner_steps_is_plain_multi_task_training() -> None:
    of = spec("maml", kind="regression", inner_steps=0)
    backbone, params, episodes = prepared(of, lines())
    loss, gradient = jax.jit(gradients.slope_of(of, backbone))(params, episodes)

    def plain(params: Params) -> Any:
        """One network for all tasks, on all their queries at once."""
        features = backbone.features(params, episodes.query_x.reshape(-1, 1), jnp)
        outputs = 8.0 / np.sqrt(5) * features @ params["head.w"] + params["head.b"]
        return 0.5 * jnp.mean((outputs - episodes.query_y.ravel()) ** 2)

    expected, slope = jax.value_and_grad(plain)(params)
    assert float(loss) == pytest.approx(float(expected), rel=1e-10)
    for name in params:
        np.testing.assert_allclose(gradient[name], slope[name], rtol=1e-8, atol=1e-12)


def test_first_order_maml_takes_the_slope_where_the_steps_ended() -> None:
    of = spec("maml", kind="regression", inner_steps=2, first_order=True, tasks_per_update=1)
    backbone, params, episodes = prepared(of, lines())
    inner = Inner(of, backbone)
    support = Support(episodes.support_x[0], episodes.support_y[0], np.ones(2), np.ones(1, bool))
    weights = inner.adapted(params, support, 2)

    def loss(weights: Params) -> Any:
        return inner.loss(
            inner.outputs(weights, episodes.query_x[0]), episodes.query_y[0], np.ones(10), np.ones(1, bool)
        )

    expected = jax.grad(loss)(weights)
    gradient = gradients.slope_of(of, backbone)(params, episodes)[1]
    exact = gradients.slope_of(spec("maml", kind="regression", inner_steps=2, tasks_per_update=1), backbone)(
        params, episodes
    )[1]
    for name in params:
        np.testing.assert_allclose(np.ravel(gradient[name]), np.ravel(expected[name]), rtol=1e-8, atol=1e-12)
    assert not np.allclose(gradient["dense0.w"], exact["dense0.w"])


@pytest.mark.parametrize(("method", "moves"), [("maml", True), ("anil", False)])
def test_the_inner_loop_of_anil_moves_only_the_head(method: MethodName, moves: bool) -> None:
    of = spec(method, inner_steps=3)
    backbone, params, episodes = prepared(of, clusters())
    inner = Inner(of, backbone)
    support = Support(episodes.support_x[0], episodes.support_y[0], np.ones(6), np.ones(3, bool))
    start, weights = inner.start(params, 3), inner.adapted(params, support, 3)
    for name in start:
        has_moved = not np.array_equal(start[name], weights[name])
        assert has_moved == (moves or name.startswith("head.")), name


def test_metasgd_whose_rates_are_equal_is_maml() -> None:
    metasgd, maml = spec("metasgd", inner_rate=0.3), spec("maml", inner_rate=0.3)
    backbone, params, episodes = prepared(maml, clusters())
    rates = {f"rate.{name}": np.full_like(value, 0.3) for name, value in params.items()}
    losses = [
        gradients.slope_of(of, backbone)(values, episodes)[0]
        for of, values in ((metasgd, params | rates), (maml, params))
    ]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-10)


def test_padding_changes_nothing() -> None:
    of = spec("maml")
    backbone, params, episodes = prepared(of, clusters())
    inner = Inner(of, backbone)
    x, y = episodes.support_x[0], episodes.support_y[0]
    plain = inner.adapted(params, Support(x, y, np.ones(6), np.ones(3, bool)), 3)
    wide = np.concatenate([x, 99 * np.ones((2, 6))]), np.concatenate([y, [0, 0]])
    rows, present = np.arange(8) < 6, np.arange(8) < 3
    padded = inner.adapted(params, Support(*wide, rows.astype(float), present), 3)
    for name, value in plain.items():
        there = padded[name][..., :3] if name in ("head.w", "head.b") else padded[name]
        np.testing.assert_allclose(there, value, rtol=1e-8, atol=1e-12)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    state = gradients.descended(gradients.fresh({"w": np.array([1.0, -2.0])}), {"w": np.array([0.3, 0.1])}, 0.1)
    found, loss = gradients.guarded(state, 2.0, {"w": np.array([0.3, 0.1])}, 0.1)
    assert float(loss) == 2.0
    assert (found.params["w"] != state.params["w"]).all()
    for bad in (np.nan, np.inf):
        after, loss = gradients.guarded(state, 2.0, {"w": np.array([0.3, bad])}, 0.1)
        assert np.isnan(loss)
        assert int(after.n_updates) == int(state.n_updates) + 1  # other tasks are next
        for now, before in zip(after[:4], state[:4], strict=True):
            np.testing.assert_array_equal(now["w"], before["w"])


def test_the_slope_of_a_gate_stays_finite_however_far_it_is_shut() -> None:
    slope = jax.grad(lambda gate: recurrent.opened(gate, jnp))
    assert float(slope(jnp.float32(-200))) == 0.0
    assert float(slope(jnp.float32(0))) == 0.25
    for gate in (-3.0, 0.5, 8.0):
        assert recurrent.opened(gate, np) == pytest.approx(1 / (1 + np.exp(-gate)))


def test_adam_takes_the_steps_that_its_paper_gives() -> None:
    params = {"w": np.array([1.0, -2.0])}
    state = gradients.fresh(params)
    mean, square, w = np.zeros(2), np.zeros(2), params["w"].copy()
    for t in range(1, 6):
        g = np.array([0.3 * t, -1.0])
        state = gradients.descended(state, {"w": g}, 0.1)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g
        w -= 0.1 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-6)  # powers of the decays are taken in float32
