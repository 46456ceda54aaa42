"""What networks are trained and judged on: examples in three parts, always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import Invalid
from app.nas.network import Shape

#: Of each class: for validation, which the search sees, and for the last judgement, which it does not.
VALIDATION_SHARE, HELD_OUT_SHARE = 0.2, 0.2
#: A class needs one example in each part.
LEAST_EXAMPLES = 3


@dataclass(frozen=True)
class Split:
    """`x` is (n, *shape), already at mean 0 and deviation 1 over the part for training; `y` numbers of labels.

    `centre` and `scale` bring examples there: a number each for images, one of each feature for vectors.
    """

    train_x: NDArray[Any]
    train_y: NDArray[np.int32]
    validation_x: NDArray[Any]
    validation_y: NDArray[np.int32]
    held_out_x: NDArray[Any]
    held_out_y: NDArray[np.int32]
    labels: tuple[Any, ...]
    centre: float | NDArray[np.float32]
    scale: float | NDArray[np.float32]

    @property
    def shape(self) -> Shape:
        return tuple(self.train_x.shape[1:])


def split_of(x: NDArray[Any], y: NDArray[np.integer[Any]], labels: Sequence[Any]) -> Split:
    """Divides class by class, by a fixed shuffle: every search on these examples is judged by the same ones.

    Raises: Invalid, if a class has too few examples.
    """
    x = np.asarray(x, dtype=np.float32)
    x = x[..., None] if x.ndim == 3 else x
    rng = np.random.default_rng(0)
    parts: list[list[NDArray[np.intp]]] = [[], [], []]
    for number, label in enumerate(labels):
        rows = rng.permutation(np.flatnonzero(y == number))
        if len(rows) < LEAST_EXAMPLES:
            raise Invalid(f"class {label!r} has {len(rows)} examples; training takes at least {LEAST_EXAMPLES}")
        n_validation = max(1, round(VALIDATION_SHARE * len(rows)))
        n_held_out = max(1, round(HELD_OUT_SHARE * len(rows)))
        for part, some in zip(parts, np.split(rows, [n_validation, n_validation + n_held_out]), strict=True):
            part.append(some)
    validation, held_out, train = (np.sort(np.concatenate(part)) for part in parts)
    centre: float | NDArray[np.float32]
    scale: float | NDArray[np.float32]
    if x.ndim == 2:
        centre, scale = x[train].mean(axis=0), x[train].std(axis=0)
        scale = np.where(scale > 0, scale, np.float32(1.0))
    else:
        centre, scale = float(x[train].mean()), float(x[train].std()) or 1.0
    x = (x - centre) / scale
    numbers = np.asarray(y, dtype=np.int32)
    return Split(
        x[train], numbers[train], x[validation], numbers[validation], x[held_out], numbers[held_out],
        tuple(labels), centre, scale,
    )  # fmt: skip


def digits() -> Split:
    """1,797 handwritten digits of 8 × 8, from scikit-learn."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return split_of(bundle.images, bundle.target, list(range(10)))


#: Shape and classes of what is bundled, for those who need not load it.
BUNDLED: dict[str, tuple[Shape, int]] = {"digits": ((8, 8, 1), 10)}
