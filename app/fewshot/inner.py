"""Learners that adapt by gradient steps: `maml`, `anil`, `metasgd`, and the steps of `reptile`. JAX stands here.

The inner loop learns one task from its support set, by gradient descent from weights that the outer loop learns:

    maml      every weight moves             Finn, Abbeel & Levine 2017, first-order too
    anil      only the head moves            Raghu et al. 2020
    metasgd   every weight at a rate of its own, learnt too      Li et al. 2017
    reptile   as maml; the outer loop follows where the weights went, with no second derivative   Nichol et al. 2018

The head starts as the same vector for every class, so any number of ways is only another shape, and the order of
classes does not matter (Ye & Chao 2022). The first step of a classification then moves the head alone, towards the
classes' means: by a head that is the same for every class no feature is better than another, so the slope of every
other weight is zero, as is that slope's own slope, and neither is computed. It sees features from the centre of the
support set, which no step moves: what all features have in common would let steps overshoot for all classes at once
(two of them left anil with 79 % at 5-way 5-shot after 120 updates where one had 88 %).
A regression is a head of one output and a squared loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from app.fewshot.backbones import Backbone, Params, sliced
from app.fewshot.heads import linear
from app.fewshot.spec import LearnerSpec

FEW_CHANNELS, MAX_UNROLLED = 4, 5
ABSENT = -1e9  # the log-odds of a class that is only padding


class Support(NamedTuple):
    """One task's support set, padded: rows of weight 0 and absent classes change nothing."""

    x: Any  # (s, *shape)
    y: Any  # (s,) class numbers, or values
    weights: Any  # (s,)
    present: Any  # (ways,) of the classes


def convolved(x: Any, weights: Any, stride: int = 1) -> Any:
    """As `backbones.sliced`, by JAX's own convolution: half the time where tasks share the weights, but for pixels."""
    if x.shape[-1] < FEW_CHANNELS:
        return sliced(x, weights, stride, jnp)
    kernel = weights.reshape(3, 3, x.shape[-1], -1)
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), [(1, 1), (1, 1)], dimension_numbers=layout)


class Inner:
    """The inner loop of one learner: pure functions of its parameters.

    Where the backbone moves, convolutions are slices: the derivative of a step of JAX's own takes three times as long.
    """

    def __init__(self, spec: LearnerSpec, backbone: Backbone) -> None:
        self.spec, self.backbone = spec, backbone
        self.convolution = convolved if spec.method == "anil" else None

    def initial(self, rng: np.random.Generator) -> Params:
        """The backbone's weights, the head's start, and for metasgd the rate of each."""
        params = self.backbone.initial(rng)
        n_features = self.backbone.features(params, np.zeros((1, *self.backbone.shape), np.float32)).shape[1]
        params["head.w"], params["head.b"] = np.zeros(n_features, np.float32), np.float32(0)
        if self.spec.method == "metasgd":
            rates = {f"rate.{name}": np.full_like(value, self.spec.inner_rate) for name, value in params.items()}
            params.update(rates)
        return params

    def start(self, params: Params, n_outputs: int) -> Params:
        """The weights before the first step: the head once for every class."""
        weights = {name: value for name, value in params.items() if not name.startswith("rate.")}
        weights["head.w"] = jnp.tile(params["head.w"][:, None], (1, n_outputs))
        weights["head.b"] = jnp.tile(params["head.b"], n_outputs)
        return weights

    def outputs(self, weights: Params, x: Any) -> Any:
        """(q, *shape) → (q, n_outputs)."""
        return linear(weights, self._features(weights, x), self.spec.head_gain)

    def _features(self, weights: Params, x: Any) -> Any:
        return self.backbone.features(weights, x, jnp, self.convolution)

    def loss(self, outputs: Any, y: Any, weights: Any, present: Any) -> Any:
        """The mean over rows: cross-entropy, or half the squared error."""
        if self.spec.kind == "regression":
            each = 0.5 * (outputs[:, 0] - y) ** 2
        else:
            log_probabilities = jax.nn.log_softmax(jnp.where(present, outputs, ABSENT))
            each = -jnp.take_along_axis(log_probabilities, y[:, None], axis=1)[:, 0]
        return (each * weights).sum() / weights.sum()

    def adapted(self, params: Params, support: Support, n_steps: int) -> Params:
        """The weights after `n_steps` of gradient descent on the support set."""
        weights = self.start(params, support.present.shape[0])
        n_of_head = 0
        if self.is_head_first or self.spec.method == "anil":
            n_of_head = n_steps if self.spec.method == "anil" else min(n_steps, 1)
            weights = self._with_moved_head(params, weights, support, n_of_head)

        def descend(weights: Params, _: None) -> tuple[Params, None]:
            return self._descended(params, weights, support), None

        return _scanned(descend, weights, None, n_steps - n_of_head)

    def followed(self, params: Params, supports: Support) -> Params:
        """The weights after a step on each of these support sets, which lie along the first axis."""
        weights, n_of_head = self.start(params, supports.present.shape[1]), int(self.is_head_first)
        if self.is_head_first:
            weights = self._with_moved_head(params, weights, Support(*(part[0] for part in supports)), 1)

        def descend(weights: Params, support: Support) -> tuple[Params, None]:
            return self._descended(params, weights, support), None

        rest = Support(*(part[n_of_head:] for part in supports))
        return _scanned(descend, weights, rest, len(rest.y))

    @property
    def is_head_first(self) -> bool:
        """Whether the first step moves nothing but the head."""
        return self.spec.kind == "classification"

    def _with_moved_head(self, params: Params, weights: Params, support: Support, n_steps: int) -> Params:
        """After steps that the head takes alone, so that the features of the support set stay."""
        features = self._features(weights, support.x)
        centre: Params = {}
        if self.is_head_first:
            centre = {"head.centre": support.weights @ features / support.weights.sum()}

        def support_loss(head: Params) -> Any:
            return self._scaled_loss(linear(head | centre, features, self.spec.head_gain), support)

        def descend(head: Params, _: None) -> tuple[Params, None]:
            return self._stepped(params, head, jax.grad(support_loss)(head)), None

        head = {name: value for name, value in weights.items() if name.startswith("head.")}
        return weights | centre | _scanned(descend, head, None, n_steps)

    def _descended(self, params: Params, weights: Params, support: Support) -> Params:
        """After one step of all weights."""

        moving = {name: value for name, value in weights.items() if name != "head.centre"}

        def support_loss(moving: Params) -> Any:
            return self._scaled_loss(self.outputs(weights | moving, support.x), support)

        return weights | self._stepped(params, moving, jax.grad(support_loss)(moving))

    def _scaled_loss(self, outputs: Any, support: Support) -> Any:
        """Else a step means less, the more classes there are."""
        loss = self.loss(outputs, support.y, support.weights, support.present)
        return loss * support.present.sum() / self.spec.training_ways

    def _stepped(self, params: Params, weights: Params, slopes: Params) -> Params:
        if self.spec.first_order:
            slopes = jax.lax.stop_gradient(slopes)
        return {name: weights[name] - self._rate(params, name) * slopes[name] for name in weights}

    def _rate(self, params: Params, name: str) -> Any:
        if self.spec.method != "metasgd":
            return self.spec.inner_rate
        rate = params[f"rate.{name}"]
        return rate[:, None] if name == "head.w" else rate


def _scanned(step: Any, start: Params, supports: Support | None, n_steps: int) -> Params:
    """Where the steps lead. A few are written out: within a loop convolutions took five times as long."""
    if n_steps == 0:
        return start
    return dict(jax.lax.scan(step, start, supports, length=n_steps, unroll=n_steps <= MAX_UNROLLED)[0])
