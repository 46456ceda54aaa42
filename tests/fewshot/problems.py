"""Small problems that the tests of few-shot learners share."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.fewshot.spec import LearnerSpec, MethodName, suited
from app.fewshot.tasks import Episodes, Pool

SHAPE = (6,)


def spec(method: MethodName, **choices: Any) -> LearnerSpec:
    """A small learner of 3-way 2-shot tasks, or of what the choices say."""
    kind = choices.pop("kind", "classification")
    ways, shots = choices.pop("ways", 3), choices.pop("shots", 2)
    small = {"training_ways": ways if kind == "classification" else 1, "training_shots": shots, "tasks_per_update": 2}
    filled = {
        "backbone": "mlp",
        "width": 5,
        "queries": 3,
        "augment": (),
        "seed": 0,
        **suited(method, kind, ways, shots),
        **small,
        **choices,
    }
    return LearnerSpec(method=method, kind=kind, ways=ways, shots=shots, **filled)


def clusters(n_classes: int = 12, n_examples: int = 8, spread: float = 0.6) -> Pool:
    """Classes are normal clouds around normal centres."""
    rng = np.random.default_rng(5)
    centres = rng.standard_normal((n_classes, 1, *SHAPE))
    x = centres + spread * rng.standard_normal((n_classes, n_examples, *SHAPE))
    members = np.arange(n_classes * n_examples).reshape(n_classes, n_examples)
    return Pool.of(x.reshape(-1, *SHAPE).astype(np.float32), list(members))


def images(n_classes: int = 6, n_examples: int = 4, side: int = 8) -> Pool:
    rng = np.random.default_rng(6)
    x = rng.integers(0, 255, (n_classes, 1, side, side)) // 2 + rng.integers(
        0, 120, (n_classes, n_examples, side, side)
    )
    members = np.arange(n_classes * n_examples).reshape(n_classes, n_examples)
    return Pool.of(x.reshape(-1, side, side).astype(np.uint8), list(members))


def lines(n_tasks: int = 10, n_examples: int = 12) -> Pool:
    """Regressions of straight lines: y = a x + b."""
    rng = np.random.default_rng(7)
    x = rng.uniform(-1, 1, (n_tasks, n_examples, 1)).astype(np.float32)
    slope, start = rng.uniform(-2, 2, (2, n_tasks, 1))
    members = np.arange(n_tasks * n_examples).reshape(n_tasks, n_examples)
    targets = (slope * x[..., 0] + start).astype(np.float32).ravel()
    return Pool.of(x.reshape(-1, 1), list(members), targets)


def drawn(pool: Pool, of: LearnerSpec, seed: int = 0) -> Episodes:
    """What one update learns from."""
    rng = np.random.default_rng(seed)
    return pool.draw(rng, of.tasks_per_update, of.training_ways, of.training_shots, of.training_queries)
