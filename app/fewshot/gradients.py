"""The outer loop: one update of a learner's parameters from a batch of tasks, compiled once per shape. JAX stands here.

Adam, and an exponential average of the weights, which is what a learner is judged and served with.
Sources: Kingma & Ba 2015; Polyak & Juditsky 1992.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from app.fewshot import heads, recurrent
from app.fewshot.backbones import Backbone, Params, moments
from app.fewshot.inner import ABSENT, Inner, Support, convolved
from app.fewshot.spec import GRADIENT_BASED, LearnerSpec
from app.fewshot.tasks import Episodes

DECAY_OF_MEAN, DECAY_OF_SQUARE, EPSILON = 0.9, 0.999, 1e-8
AVERAGE_DECAY = 0.995
WARM_UP = 10.0  # updates; the first weights are forgotten faster, and the first steps are smaller
MAX_NORM = 10.0  # of a gradient: second derivatives can explode

Slope: TypeAlias = Callable[[Params, Episodes], tuple[Any, Params]]


class State(NamedTuple):
    """Everything that an update changes."""

    params: Params
    average: Params  # of the params
    mean: Params  # of the gradients
    square: Params  # of the gradients' squares
    n_updates: Any


def fresh(params: Params) -> State:
    """Before the first update."""
    zeros = {name: jnp.zeros_like(value) for name, value in params.items()}
    return State(params, params, zeros, zeros, np.int32(0))


@lru_cache(maxsize=32)
def updater(spec: LearnerSpec, backbone: Backbone) -> Callable[[State, Episodes, Any], tuple[State, Any]]:
    """The compiled update: (state, tasks, rate) → (state, loss); the seed does not matter, so let it be the same."""
    slope = slope_of(spec, backbone)

    @jax.jit
    def update(state: State, episodes: Episodes, rate: Any) -> tuple[State, Any]:
        loss, gradient = slope(state.params, episodes)
        return guarded(state, loss, gradient, rate * jnp.minimum(1.0, (state.n_updates + 1) / WARM_UP))

    return update


def slope_of(spec: LearnerSpec, backbone: Backbone) -> Slope:
    """(params, tasks) → (loss, its gradient), or the direction that reptile follows instead of one."""
    inner = Inner(spec, backbone)
    if spec.method == "reptile":
        return partial(_followed, inner)
    if spec.method in GRADIENT_BASED:
        return jax.value_and_grad(partial(_adapted_loss, inner))
    return jax.value_and_grad(partial(_embedded_loss, spec, backbone))


def guarded(state: State, loss: Any, gradient: Params, rate: Any) -> tuple[State, Any]:
    """As `descended`, with the loss; but a gradient that is not finite would be the end of every weight.

    It changes nothing instead, other tasks are next, and the loss is NaN.
    """
    is_finite = jnp.array([jnp.isfinite(g).all() for g in gradient.values()]).all()
    after = descended(state, gradient, rate)
    kept = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), after, state)
    return kept._replace(n_updates=after.n_updates), jnp.where(is_finite, loss, jnp.nan)


def descended(state: State, gradient: Params, rate: Any) -> State:
    """One step of Adam."""
    n = state.n_updates + 1
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in gradient.values()))
    shrink = jnp.minimum(1.0, MAX_NORM / (norm + EPSILON))
    params, average, means, squares = {}, {}, {}, {}
    keep = jnp.minimum(AVERAGE_DECAY, n / (n + WARM_UP))
    for name, value in state.params.items():
        g = gradient[name] * shrink
        means[name] = DECAY_OF_MEAN * state.mean[name] + (1 - DECAY_OF_MEAN) * g
        squares[name] = DECAY_OF_SQUARE * state.square[name] + (1 - DECAY_OF_SQUARE) * g * g
        step = means[name] / (1 - DECAY_OF_MEAN**n)
        step /= jnp.sqrt(squares[name] / (1 - DECAY_OF_SQUARE**n)) + EPSILON
        params[name] = value - rate * step
        average[name] = keep * state.average[name] + (1 - keep) * params[name]
    return State(params, average, means, squares, n)


def embedding_head(spec: LearnerSpec) -> Callable[..., Any]:
    """(params, support features, members, query features) → log-odds, for one task, in JAX."""
    if spec.method == "prototypical":
        return partial(heads.prototypical, distance=spec.distance, xp=jnp)
    if spec.method == "lstm":
        return partial(recurrent.lstm, xp=jnp, scan=jax.lax.scan)
    return partial({"siamese": heads.siamese, "metasvm": heads.ridge}[spec.method], xp=jnp)


def by_batch(hidden: Any, _block: int) -> Any:
    """By the statistics of all examples of an update; a learner has fixed ones, see `training.Training.learner`."""
    mean, deviation = moments(hidden, jnp)
    return (hidden - mean) / deviation


def _embedded_loss(spec: LearnerSpec, backbone: Backbone, params: Params, episodes: Episodes) -> Any:
    """All examples of all tasks are embedded at once; then each task is a head's."""
    n_tasks, n_support = episodes.support_y.shape
    x = jnp.concatenate([episodes.support_x, episodes.query_x], axis=1)
    features = backbone.features(params, x.reshape(-1, *backbone.shape), jnp, convolved, by_batch)
    features = features.reshape(n_tasks, x.shape[1], -1)
    head = embedding_head(spec)

    def of_task(features: Any, support_y: Any, query_y: Any) -> Any:
        if spec.method == "prototypical" and spec.training_shots == 1:
            y = jnp.concatenate([support_y, query_y])
            return _of_neighbours(head(params, features, jnp.eye(len(y)), features), y[:, None] == y[None, :])
        members = jax.nn.one_hot(support_y, spec.training_ways)
        log_odds = head(params, features[:n_support], members, features[n_support:])
        if spec.method == "siamese":  # every pair of the task is an example of its own: same class, or not
            pairs = heads.same_class(params, features[n_support:], features[:n_support], jnp)
            return _of_pairs(pairs, query_y[:, None] == support_y[None, :])
        return -jnp.take_along_axis(jax.nn.log_softmax(log_odds), query_y[:, None], axis=1).mean()

    return jax.vmap(of_task)(features, episodes.support_y, episodes.query_y).mean()


def _of_neighbours(log_odds: Any, is_same: Any) -> Any:
    """Each example is a query once, and all others are support sets of one: how likely is one of its own class?

    It learns from every pair of a task, where one support example for each class leaves most of them out.
    Source: Laenen & Bertinetto 2021.
    """
    itself = jnp.eye(len(log_odds), dtype=bool)
    of_all = jax.nn.logsumexp(jnp.where(itself, ABSENT, log_odds), axis=1)
    of_same = jax.nn.logsumexp(jnp.where(is_same & ~itself, log_odds, ABSENT), axis=1)
    return (of_all - of_same).mean()


def _of_pairs(log_odds: Any, is_same: Any) -> Any:
    """Binary cross-entropy, in which equal pairs weigh as much as different ones."""
    each = jax.nn.softplus(jnp.where(is_same, -log_odds, log_odds))
    return 0.5 * ((each * is_same).sum() / is_same.sum() + (each * ~is_same).sum() / (~is_same).sum())


def _adapted_loss(inner: Inner, params: Params, episodes: Episodes) -> Any:
    n_outputs = inner.spec.training_ways

    def of_task(support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        present = jnp.ones(n_outputs, bool)
        support = Support(support_x, support_y, jnp.ones(support_y.shape), present)
        weights = inner.adapted(params, support, inner.spec.inner_steps)
        return inner.loss(inner.outputs(weights, query_x), query_y, jnp.ones(query_y.shape), present)

    return _of_each(of_task, *episodes).mean()


def _followed(inner: Inner, params: Params, episodes: Episodes) -> tuple[Any, Params]:
    """Of each task, how far its weights went while it was learnt from all its examples; the loss is that of the last.

    Each step learns from other examples, a part of every class: what helps with one part and the next alike adds up.
    """
    n_ways, n_steps = inner.spec.training_ways, inner.spec.inner_steps
    both = (episodes.support_x, episodes.query_x), (episodes.support_y, episodes.query_y)
    x, y = (
        jnp.concatenate([part.reshape(len(part), n_ways, -1, *part.shape[2:]) for part in pair], 2) for pair in both
    )
    n_examples = y.shape[2]
    n_of_step = -(-n_examples // n_steps)
    chosen = (np.arange(n_steps)[:, None] * n_of_step + np.arange(n_of_step)) % n_examples

    def parts(values: Any) -> Any:
        """(ways, examples, …) → (steps, ways · examples of a step, …)."""
        each = jnp.moveaxis(values[:, chosen], 0, 1)
        return each.reshape(n_steps, n_ways * n_of_step, *values.shape[2:])

    def of_task(x: Any, y: Any) -> tuple[Any, Params]:
        rows = jnp.ones((n_steps, n_ways * n_of_step))
        supports = Support(parts(x), parts(y), rows, jnp.ones((n_steps, n_ways), bool))
        weights = inner.followed(params, supports)
        last = Support(*(part[-1] for part in supports))
        loss = inner.loss(inner.outputs(weights, last.x), last.y, last.weights, last.present)
        moved = {name: params[name] - value for name, value in weights.items() if not name.startswith("head.")}
        moved["head.w"] = params["head.w"] - weights["head.w"].mean(1)
        moved["head.b"] = params["head.b"] - weights["head.b"].mean()
        return loss, moved

    losses, moved = _of_each(of_task, x, y)
    return losses.mean(), {name: value.mean(0) for name, value in moved.items()}


def _of_each(of_task: Callable[..., Any], *tasks: Any) -> Any:
    """Side by side; a single task by itself, which compiles in a tenth of the time of a `vmap` over one."""
    if len(tasks[0]) > 1:
        return jax.vmap(of_task)(*tasks)
    return jax.tree.map(lambda value: value[None], of_task(*(part[0] for part in tasks)))
