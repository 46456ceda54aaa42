"""Learners that adapt by gradient steps: `maml`, `anil`, `metasgd`, and the steps of `reptile`. JAX stands here.

The inner loop learns one task from its support set, by gradient descent from weights that the outer loop learns:

    maml      every weight moves             Finn, Abbeel & Levine 2017, first-order too
    anil      only the head moves            Raghu et al. 2020
    metasgd   every weight at a rate of its own, learnt too      Li et al. 2017
    reptile   as maml; the outer loop follows where the weights went, with no second derivative   Nichol et al. 2018

The head starts as the same vector for every class, so any number of ways is only another shape, and the order of
classes does not matter (Ye & Chao 2022). The first step then moves the head alone: towards the classes' means.
A regression is a head of one output and a squared loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from app.fewshot.backbones import Backbone, Params
from app.fewshot.heads import linear
from app.fewshot.spec import LearnerSpec

ABSENT = -1e9  # the log-odds of a class that is only padding


class Support(NamedTuple):
    """One task's support set, padded: rows of weight 0 and absent classes change nothing."""

    x: Any  # (s, *shape)
    y: Any  # (s,) class numbers, or values
    weights: Any  # (s,)
    present: Any  # (ways,) of the classes


class Inner:
    """The inner loop of one learner: pure functions of its parameters."""

    def __init__(self, spec: LearnerSpec, backbone: Backbone) -> None:
        self.spec, self.backbone = spec, backbone

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
        return linear(weights, self.backbone.features(weights, x, jnp))

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
        is_anil = self.spec.method == "anil"
        features = self.backbone.features(weights, support.x, jnp) if is_anil else None
        moving = {name for name in weights if name.startswith("head.")} if is_anil else set(weights)

        def support_loss(moved: Params) -> Any:
            everything = {**weights, **moved}
            outputs = self.outputs(everything, support.x) if features is None else linear(everything, features)
            loss = self.loss(outputs, support.y, support.weights, support.present)
            return loss * support.present.sum() / self.spec.training_ways  # else a step means less, the more classes

        def descend(moved: Params, _: None) -> tuple[Params, None]:
            slopes = jax.grad(support_loss)(moved)
            if self.spec.first_order:
                slopes = jax.lax.stop_gradient(slopes)
            return {name: moved[name] - self._rate(params, name) * slopes[name] for name in moved}, None

        moved, _ = jax.lax.scan(descend, {name: weights[name] for name in moving}, length=n_steps)
        return {**weights, **moved}

    def _rate(self, params: Params, name: str) -> Any:
        if self.spec.method != "metasgd":
            return self.spec.inner_rate
        rate = params[f"rate.{name}"]
        return rate[:, None] if name == "head.w" else rate
