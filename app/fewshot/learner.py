"""A trained learner: adapt it to a task, and ask the adapted one. `adapt` and `Adapted.predict` are the doors.

Learners that embed and compare need NumPy alone; those that adapt by gradient steps load JAX at the first adaptation,
with the support set padded to a few shapes, so that hardly any task waits for the compiler.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import NotTrainedYet
from app.fewshot import heads, recurrent
from app.fewshot.backbones import Backbone, Params, as_it_is, banded
from app.fewshot.dataset import packed, unpacked
from app.fewshot.hog import hog
from app.fewshot.spec import GRADIENT_BASED, LearnerSpec, need_engine
from app.fewshot.tasks import Array, Indices

FORMAT = 4  # of what is stored: another one, whenever the same weights mean another network
OF_ONE_NETWORK = 3  # the format before learners could have several; still read
CHUNK = 13  # examples embedded at one time, so few that what is made of them stays in the cache
SMALLEST_SHAPE = 8  # rows or classes; larger ones are padded to the next power of two
MAX_SVM_STEPS = 10_000


@dataclass(frozen=True)
class Learner:
    """What meta-training made. `mean` and `deviation` bring examples to the scale that it was trained on.

    Several networks that were trained apart answer together: each sees the task by its own features, which lie side by
    side here, and their log-odds are averaged. A regression's targets have a scale of their own, which predictions come
    back from.
    """

    spec: LearnerSpec
    shape: tuple[int, ...]
    networks: tuple[Params, ...]  # the weights of each
    mean: Array
    deviation: Array
    known_distance: float | None = None  # how far from the nearest class nineteen of twenty known examples lie
    target_mean: float = 0.0
    target_deviation: float = 1.0

    def to_bytes(self) -> bytes:
        """Weights as plain arrays, the rest as JSON."""
        about = {"spec": asdict(self.spec), "shape": self.shape, "known_distance": self.known_distance}
        about |= {"format": FORMAT, "target_mean": self.target_mean, "target_deviation": self.target_deviation}
        arrays = {"mean": self.mean, "deviation": self.deviation}
        for i, params in enumerate(self.networks):
            arrays |= {f"network{i}/{name}": value for name, value in params.items()}
        return packed(about, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> Learner:
        """Raises: NotTrainedYet, for weights that this version would compute with differently."""
        about, arrays = unpacked(content)
        stored = dict(about["spec"])
        if about.get("format") == OF_ONE_NETWORK:
            parts, stored["networks"] = ["params"], 1
        elif about.get("format") == FORMAT:
            parts = [f"network{i}" for i in range(stored["networks"])]
        else:
            raise NotTrainedYet("this learner was trained by a version with other networks; train it again")
        spec = LearnerSpec(**{**stored, "augment": tuple(stored["augment"])})
        networks = tuple(_under(part, arrays) for part in parts)
        shape = tuple(about["shape"])
        rest = {name: about[name] for name in ("known_distance", "target_mean", "target_deviation")}
        return cls(spec, shape, networks, arrays["mean"], arrays["deviation"], **rest)

    @property
    def backbone(self) -> Backbone:
        return Backbone(self.spec.backbone, self.shape, self.spec.width)

    @property
    def is_gradient_based(self) -> bool:
        return self.spec.method in GRADIENT_BASED

    def scaled(self, x: NDArray[np.generic]) -> Array:
        return (x.astype(np.float32) - self.mean) / self.deviation

    def features(self, x: NDArray[np.generic], weights: Params | None = None) -> Array:
        """(n, *shape) → (n, n_features) of all networks, with the adapted weights if there are any."""
        parts = [self._embedded(self.scaled(x[i : i + CHUNK]), weights) for i in range(0, max(len(x), 1), CHUNK)]
        return np.concatenate(parts)

    def _embedded(self, x: Array, weights: Params | None) -> Array:
        if self.spec.backbone == "hog":
            return hog(x)
        normalisation = None if self.is_gradient_based else as_it_is
        each = [
            self.backbone.features(one, x, convolution=banded, normalisation=normalisation)
            for one in (self.networks if weights is None else (weights,))
        ]
        return np.concatenate(each, axis=1)

    def adapt(self, x: NDArray[np.generic], y: Indices | Array, n_classes: int) -> Adapted:
        """To a support set of class numbers 0 … n_classes − 1, or with n_classes = 1 of a regression's values."""
        if self.is_gradient_based:
            return self._descended(x, y, n_classes)
        return self.compared(self.features(x), y, n_classes)

    def compared(self, support: Array, y: Indices | Array, n_classes: int) -> Adapted:
        """From features of the support set that are there already."""
        members = np.eye(n_classes, dtype=np.float32)[y]
        state = {"support": support, "members": members, "means": heads.means(support, members)}
        if self.spec.method == "metasvm" and self.spec.head == "svm":
            state |= _separated(support, y, n_classes)
        return Adapted(self, n_classes, state)

    def _descended(self, x: NDArray[np.generic], y: Indices | Array, n_classes: int) -> Adapted:
        n_rows = padded(len(x))
        is_regression = self.spec.kind == "regression"
        n_outputs = 1 if is_regression else padded(n_classes)
        scaled = np.zeros((n_rows, *self.shape), np.float32)
        scaled[: len(x)] = self.scaled(x)
        targets = np.zeros(n_rows, np.float32 if is_regression else np.int32)
        targets[: len(x)] = (y - self.target_mean) / self.target_deviation if is_regression else y
        rows, present = np.arange(n_rows) < len(x), np.arange(n_outputs) < n_classes
        adapted = _compiled(replace(self.spec, seed=0), self.backbone)
        weights = adapted(self.networks[0], scaled, targets, rows.astype(np.float32), present)
        state = {name: np.asarray(value) for name, value in weights.items()}
        state["head.w"], state["head.b"] = state["head.w"][:, :n_classes], state["head.b"][:n_classes]
        if self.spec.kind == "classification":
            members = np.eye(n_classes, dtype=np.float32)[y]
            state["means"] = heads.means(self.features(x, state), members)
        return Adapted(self, n_classes, state)


@dataclass(frozen=True)
class Predictions:
    """`values` are (q, classes) probabilities, or (q,) of a regression; `distances` to the nearest class's mean."""

    values: Array
    distances: Array | None


@dataclass(frozen=True)
class Adapted:
    """A learner that has learnt one task; `state` is all it remembers of it."""

    learner: Learner
    n_classes: int
    state: dict[str, Array]

    def predict(self, x: NDArray[np.generic]) -> Predictions:
        """Of each query by itself."""
        weights = self.state if self.learner.is_gradient_based else None
        return self.predict_features(self.learner.features(x, weights))

    def predict_features(self, features: Array) -> Predictions:
        """From features of the queries that are there already."""
        if self.learner.spec.kind == "regression":
            learner = self.learner
            return Predictions(learner.target_mean + learner.target_deviation * self.log_odds(features)[:, 0], None)
        distances = heads.squared_distances(features, self.state["means"], np).min(1) / features.shape[1]
        return Predictions(recurrent.softmax(self.log_odds(features), np), distances)

    def log_odds(self, features: Array) -> Array:
        """(q, n_features) → (q, classes): the mean of what the networks say, each by its own features."""
        networks, state = self.learner.networks, self.state
        if self.learner.is_gradient_based:
            return np.asarray(heads.linear(state, features, self.learner.spec.head_gain))
        if "svm.w" in state:
            return np.asarray(heads.COSINE_SCALE * (heads.unit(features, np) @ state["svm.w"] + state["svm.b"]))
        parts = (np.split(part, len(networks), axis=1) for part in (state["support"], features))
        return np.asarray(np.mean([self._said(*one) for one in zip(networks, *parts, strict=True)], axis=0))

    def _said(self, params: Params, support: Array, queries: Array) -> Array:
        spec, task = self.learner.spec, (params, support, self.state["members"], queries)
        if spec.method == "prototypical":
            return np.asarray(heads.prototypical(*task, distance=spec.distance))
        if spec.method == "lstm":
            return np.asarray(recurrent.lstm(*task))
        return np.asarray({"siamese": heads.siamese, "metasvm": heads.ridge}[spec.method](*task))


def _under(part: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(f"{part}/"): value for name, value in arrays.items() if name.startswith(f"{part}/")}


def padded(n: int) -> int:
    """The next of 8, 16, 32, …"""
    return max(SMALLEST_SHAPE, 1 << (n - 1).bit_length())


@lru_cache(maxsize=32)
def _compiled(spec: LearnerSpec, backbone: Backbone) -> Any:
    """The inner loop, compiled once per shape for all learners of one kind, whatever their weights and seeds."""
    need_engine(f"to adapt by {spec.method}")
    import jax

    from app.fewshot.inner import Inner, Support

    inner = Inner(spec, backbone)

    def adapted(params: Params, x: Any, y: Any, weights: Any, present: Any) -> Params:
        return inner.adapted(params, Support(x, y, weights, present), spec.adapt_steps)

    return jax.jit(adapted)


def _separated(support: Array, y: Indices | Array, n_classes: int) -> dict[str, Array]:
    """The hyperplanes of a linear support-vector machine, one class against the rest."""
    from sklearn.svm import LinearSVC

    if n_classes == 1:
        return {"svm.w": np.zeros((support.shape[1], 1), np.float32), "svm.b": np.zeros(1, np.float32)}
    machine = LinearSVC(max_iter=MAX_SVM_STEPS, random_state=0).fit(heads.unit(support, np), y)
    weights, bias = machine.coef_.T.astype(np.float32), machine.intercept_.astype(np.float32)
    if n_classes == 2:  # scikit-learn keeps one plane for both
        weights, bias = np.hstack([-weights, weights]), np.concatenate([-bias, bias])
    return {"svm.w": weights, "svm.b": bias}
