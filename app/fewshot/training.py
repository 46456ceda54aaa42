"""Meta-training: updates in rounds, a judgement after each, and a checkpoint of plain arrays from which it goes on.

Everything random follows from the seed and the number of the update, so a training that died and went on from its
checkpoint ends with the weights of one that did not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.fewshot import heads, recurrent
from app.fewshot.augment import distorted, noisy
from app.fewshot.backbones import Backbone, Params
from app.fewshot.judge import Judgement, Tasks, judged, sharpness
from app.fewshot.learner import Learner
from app.fewshot.spec import GRADIENT_BASED, LearnerSpec, need_engine
from app.fewshot.tasks import Array, Episodes, Pool

TASK_STREAM, WEIGHT_STREAM, STATISTICS_STREAM = 0x7A5C, 0x1417, 0x57A7
SMALLEST_DEVIATION = 1e-6
TASKS_OF_SHARPNESS = 50
N_ROWS_OF_STATISTICS = 500
N_ROWS_OF_SCALE = 20_000  # examples that the scale is taken from


@dataclass(frozen=True)
class Scale:
    """One mean and deviation of images, one per column of vectors; and those of a regression's targets."""

    mean: Array
    deviation: Array
    target_mean: float = 0.0
    target_deviation: float = 1.0

    @classmethod
    def of(cls, pool: Pool) -> Scale:
        rows = np.concatenate(pool.members)[:N_ROWS_OF_SCALE]
        x = pool.x[rows].astype(np.float32)
        axes = (0,) if x.ndim == 2 else (0, 1, 2)
        mean, deviation = x.mean(axis=axes), _divisor(x.std(axis=axes))
        if pool.targets is None:
            return cls(mean, deviation)
        targets = pool.targets[np.concatenate(pool.members)].astype(np.float64)
        return cls(mean, deviation, float(targets.mean()), float(_divisor(targets.std())))


def _divisor(deviation: Any) -> Array:
    """What never varies is left as it is."""
    return np.where(deviation > SMALLEST_DEVIATION, deviation, 1).astype(np.float32)


class Training:
    """One learner while it is trained; `checkpoint` and `restore` carry it from one process to another."""

    def __init__(self, spec: LearnerSpec, train: Pool) -> None:
        self.spec = spec
        self.scale = Scale.of(train)
        self.pool = widened(train, spec.augment)
        self.backbone = Backbone(spec.backbone, train.x.shape[1:], spec.width)
        if spec.is_trained:
            need_engine(f"to train {spec.backbone}")
            from app.fewshot import gradients

            self._states: list[Any] = [gradients.fresh(initial(spec, self.backbone, i)) for i in range(spec.networks)]
            self._update = gradients.updater(replace(spec, seed=0, networks=1), self.backbone)
        else:
            self._states = []
            self._params = heads.initial(spec.method, 1)
            ways, queries = min(spec.ways, train.n_classes), min(spec.queries, train.smallest - spec.shots)
            if ways > 1 and queries > 0:
                tasks = Tasks(ways, spec.shots, queries, TASKS_OF_SHARPNESS, spec.seed)
                self._params["head.scale"] = np.float32(sharpness(self.learner(), train, tasks))

    @property
    def n_updates(self) -> int:
        """Of all networks together."""
        return sum(int(state.n_updates) for state in self._states)

    @property
    def n_episodes(self) -> int:
        """Tasks that it has learnt from."""
        return self.n_updates * self.spec.tasks_per_update

    def advance(self, n_updates: int, fraction: float = 0.0) -> float:
        """So many updates, when this fraction of all is done; the mean loss over them. The networks take turns."""
        rate = np.float32(self.spec.learning_rate * falling(fraction))
        losses = []
        for n in range(self.n_updates, self.n_updates + (n_updates if self._states else 0)):
            rng = np.random.default_rng([self.spec.seed, TASK_STREAM, n])
            turn = n % len(self._states)
            self._states[turn], loss = self._update(self._states[turn], self._tasks(rng), rate)
            losses.append(loss)
        return float(np.mean([float(loss) for loss in losses])) if losses else float("nan")

    def _tasks(self, rng: np.random.Generator) -> Episodes:
        spec = self.spec
        drawn = self.pool.draw(
            rng, spec.tasks_per_update, spec.training_ways, spec.training_shots, spec.training_queries
        )
        support_x, query_x = (self._augmented(x, rng) for x in (drawn.support_x, drawn.query_x))
        drawn = drawn._replace(support_x=support_x, query_x=query_x)
        if spec.kind == "classification":
            return drawn
        mean, deviation = np.float32(self.scale.target_mean), np.float32(self.scale.target_deviation)
        support_y, query_y = ((y - mean) / deviation for y in (drawn.support_y, drawn.query_y))
        return drawn._replace(support_y=support_y, query_y=query_y)

    def _augmented(self, x: Array, rng: np.random.Generator) -> Array:
        flat = (x.reshape(-1, *x.shape[2:]) - self.scale.mean) / self.scale.deviation
        if "distortions" in self.spec.augment:
            flat = distorted(flat, rng)
        if "noise" in self.spec.augment:
            flat = noisy(flat, rng)
        return flat.reshape(x.shape).astype(np.float32)

    def learner(self) -> Learner:
        """As it is now."""
        every = [state.average for state in self._states] or [self._params]
        networks = [{name: np.asarray(value) for name, value in params.items()} for params in every]
        if self.spec.backbone == "conv4" and self.spec.method not in GRADIENT_BASED:
            typical = self._typical()
            networks = [self.backbone.settled(params, typical) for params in networks]
        return Learner(self.spec, self.backbone.shape, tuple(networks), **vars(self.scale))

    def _typical(self) -> Array:
        """Examples as they are trained on, the same ones every time."""
        rng = np.random.default_rng([self.spec.seed, STATISTICS_STREAM])
        drawn = self.pool.sample(rng, N_ROWS_OF_STATISTICS)
        return self._augmented(drawn[None], rng).reshape(drawn.shape)

    def checkpoint(self) -> dict[str, Array]:
        """Plain arrays, by name."""
        arrays = {}
        for i, state in enumerate(self._states):
            parts = state._asdict()
            arrays[f"{i}/n_updates"] = np.asarray(parts.pop("n_updates"))
            for part, values in parts.items():
                arrays |= {f"{i}/{part}/{name}": np.asarray(value) for name, value in values.items()}
        return arrays

    def restore(self, arrays: dict[str, Array]) -> None:
        """From a checkpoint of a training with the same spec and pool."""
        for i, state in enumerate(self._states):
            parts = {
                part: {name: arrays[f"{i}/{part}/{name}"] for name in values}
                for part, values in state._asdict().items()
                if part != "n_updates"
            }
            self._states[i] = type(state)(**parts, n_updates=np.int32(arrays[f"{i}/n_updates"]))


def widened(pool: Pool, augment: Sequence[str]) -> Pool:
    """With mirrored and turned classes beside its own, as far as they were asked for."""
    if "mirrors" in augment:
        pool = pool.with_mirrors()
    return pool.with_rotations() if "rotations" in augment else pool


def falling(fraction: float) -> float:
    """Of the learning rate, what is left when this fraction of a training is done: a cosine's half, from 1 to 0.

    Source: Loshchilov & Hutter 2017.
    """
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))


def initial(spec: LearnerSpec, backbone: Backbone, network: int = 0) -> Params:
    """The parameters of one of its networks before the first update, of backbone and head."""
    rng = np.random.default_rng([spec.seed, WEIGHT_STREAM, network])
    if spec.method in GRADIENT_BASED:
        from app.fewshot.inner import Inner

        return Inner(spec, backbone).initial(rng)
    params = backbone.initial(rng)
    n_features = backbone.features(params, np.zeros((1, *backbone.shape), np.float32)).shape[1]
    own = recurrent.initial(rng, n_features) if spec.method == "lstm" else heads.initial(spec.method, n_features)
    return params | own


def finished(learner: Learner, pool: Pool, tasks: Tasks) -> tuple[Learner, Judgement]:
    """The learner with the distance that it calls unknown, and its judgement."""
    judgement, known_distance = judged(learner, pool, tasks)
    return replace(learner, known_distance=known_distance), judgement
