"""What a learner is to be: its method, backbone and tasks, with every choice that was left open filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias, get_args

from app.errors import EngineMissing, Invalid
from app.fewshot.backbones import WIDTHS, Kind

MethodName: TypeAlias = Literal["prototypical", "siamese", "metasvm", "lstm", "maml", "anil", "metasgd", "reptile"]
Augmentation: TypeAlias = Literal["rotations", "mirrors", "distortions", "noise"]

METHODS: tuple[MethodName, ...] = get_args(MethodName)
GRADIENT_BASED = frozenset({"maml", "anil", "metasgd", "reptile"})  # they adapt by gradient steps, and so regress too
HEADS_OF_HOG = frozenset({"prototypical", "metasvm"})  # what needs no training before it
TWICE = frozenset({("prototypical", "conv4")})  # two networks do better than one in the same time
GAIN_OF_VALUES = 8.0
SHARPNESS = 20.0  # of the classes' means as a head: as a prototypical learner's, −10 squared distances, starts


@dataclass(frozen=True)
class LearnerSpec:
    """The fields of the request that decide what the learner becomes.

    `ways`, `shots` and `queries` describe the tasks it is meant for; `training_ways`, `training_queries` and
    `tasks_per_update` those it is trained on. `inner_rate`, `inner_steps` and `first_order` concern gradient-based
    methods, `distance` prototypical ones and `head` metasvm. `networks` are trained apart and answer together.
    """

    method: MethodName
    kind: Literal["classification", "regression"]
    backbone: Kind
    width: int
    ways: int
    shots: int
    queries: int
    augment: tuple[Augmentation, ...]
    seed: int
    training_ways: int
    training_shots: int
    training_queries: int
    tasks_per_update: int
    learning_rate: float
    inner_rate: float
    inner_steps: int
    adapt_steps: int
    first_order: bool
    distance: Literal["euclidean", "cosine"]
    head: Literal["ridge", "svm"]
    networks: int

    def __post_init__(self) -> None:
        if self.kind == "regression" and self.method not in GRADIENT_BASED:
            able = ", ".join(sorted(GRADIENT_BASED))
            raise Invalid(f"{self.method} only classifies; for a dataset of regression tasks there are {able}")
        if self.backbone == "hog" and self.method not in HEADS_OF_HOG:
            able = ", ".join(sorted(HEADS_OF_HOG))
            raise Invalid(f"hog has no weights that {self.method} could train; with it there are {able}")
        if self.networks > 1 and (self.backbone == "hog" or self.method in GRADIENT_BASED):
            why = "hog has no weights" if self.backbone == "hog" else f"{self.method} moves the weights of one network"
            raise Invalid(f"{why}: with it `networks` is 1, got {self.networks}")

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to meta-train, for which an engine is needed."""
        return self.backbone != "hog"

    @property
    def head_gain(self) -> float:
        """Of the head that gradient steps move: together they make it about as sharp as SHARPNESS, at whatever rate."""
        if self.kind == "regression":
            return GAIN_OF_VALUES
        return math.sqrt(SHARPNESS * self.training_ways / (self.inner_rate * max(1, self.inner_steps)))


def need_engine(what: str) -> None:
    """Raises: EngineMissing, where JAX is not installed."""
    if find_spec("jax") is None:
        raise EngineMissing(
            f"{what} takes JAX, which is not installed here: pip install 'metatune-server[networks]'; "
            "the backbone `hog` does without"
        )


MAX_ROWS = 4096  # examples of all tasks of one update together


def spec_of(
    *,
    method: MethodName,
    kind: Literal["classification", "regression"],
    shape: Sequence[int],
    ways: int,
    shots: int,
    queries: int,
    backbone: Kind | None,
    augment: Sequence[Augmentation] | None,
    seed: int,
    options: Mapping[str, Any],
) -> LearnerSpec:
    """What was asked for, of examples of this shape; the rest as suits the method.

    Raises: Invalid, if the parts do not go together.
    """
    is_image = len(shape) > 1
    if backbone is None:
        backbone = "conv4" if is_image else "mlp"
    if backbone in ("conv4", "hog") and not is_image:
        raise Invalid(f"{backbone} needs images, these examples are vectors of {shape[0]} numbers; use mlp or linear")
    is_square = is_image and shape[0] == shape[1]
    usual: tuple[Augmentation, ...] = ("rotations", "mirrors", "distortions") if is_square else ()
    augmented = tuple(augment) if augment is not None else usual if backbone != "hog" else ()
    if "rotations" in augmented and not is_square:
        raise Invalid(f"rotations need square images, these examples have the shape {list(shape)}")
    for name in ("mirrors", "distortions"):
        if name in augmented and not is_image:
            raise Invalid(f"{name} need images, these examples have the shape {list(shape)}")
    ways = 1 if kind == "regression" else ways
    chosen = suited(method, kind, ways, shots) | {"width": WIDTHS.get(backbone, 0)}
    if (method, backbone) in TWICE:
        chosen["networks"] = 2
    chosen |= options
    chosen["adapt_steps"] = options.get("adapt_steps", max(chosen["adapt_steps"], chosen["inner_steps"]))
    rows = (
        chosen["tasks_per_update"] * chosen["training_ways"] * (chosen["training_shots"] + chosen["training_queries"])
    )
    if rows > MAX_ROWS:
        raise Invalid(f"an update would take {rows} examples at once, at most {MAX_ROWS}; ask for fewer ways or shots")
    return LearnerSpec(
        method=method,
        kind=kind,
        backbone=backbone,
        ways=ways,
        shots=shots,
        queries=queries,
        augment=augmented,
        seed=seed,
        **chosen,
    )


def suited(method: MethodName, kind: Literal["classification", "regression"], ways: int, shots: int) -> dict[str, Any]:
    """What is used of a method where nothing was asked for: see docs/decisions/few-shot.md."""
    common: dict[str, Any] = {
        "training_ways": max(ways, 20),
        "training_shots": 1,
        "training_queries": 4,
        "tasks_per_update": 1,
        "learning_rate": 5e-3,
        "inner_rate": 0.1,
        "inner_steps": 2,
        "adapt_steps": 5,
        "first_order": False,
        "distance": "euclidean",
        "head": "ridge",
        "networks": 1,
    }
    if kind == "regression":
        return common | {
            "training_ways": 1,
            "training_shots": shots,
            "training_queries": 10,
            "tasks_per_update": 4,
            "learning_rate": 1e-3,
            "inner_rate": 0.05,
            "inner_steps": 5,
            "adapt_steps": 5,
        }
    if method == "reptile":
        return common | {"inner_steps": 5}
    return common
