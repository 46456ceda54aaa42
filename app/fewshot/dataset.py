"""A meta-dataset: examples of many classes, or of many named regression tasks, checked as they come in.

What is kept is a table of arrays whatever was uploaded, as `.npz` without pickles: `x`, the class (or task) number of
each row, and as JSON the names.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.errors import FieldError, Invalid
from app.fewshot.tasks import Array, Indices, Pool

Label: TypeAlias = str | int | float | bool
Kind: TypeAlias = Literal["classification", "regression"]

SMALLEST_CLASS = 2  # examples: one to learn from, one to be judged on
SMALLEST_DATASET = 2  # classes
MAX_FEATURES = 2**20
MAX_LABEL = 128  # characters


class InvalidDataset(Invalid):
    """`errors` point into the upload: `/x`, `/y`, `/group`, or the file itself."""

    code = "invalid-dataset"

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(detail, errors=[FieldError(where, detail)])


@dataclass(frozen=True)
class Dataset:
    """`names` are classes, or tasks of a regression; a class of one group is not its namesake of another."""

    kind: Kind
    x: NDArray[np.generic]  # (n, h, w[, c]) or (n, d)
    numbers: Indices  # (n,) into names
    names: tuple[Label, ...]
    groups: tuple[str, ...] | None  # of each name
    targets: Array | None = None  # (n,) of a regression

    def __post_init__(self) -> None:
        _check(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example."""
        return self.x.shape[1:]

    @cached_property
    def members(self) -> tuple[Indices, ...]:
        order = np.argsort(self.numbers, kind="stable")
        return tuple(np.split(order, np.cumsum(np.bincount(self.numbers, minlength=len(self.names)))[:-1]))

    def pool(self, chosen: Sequence[int]) -> Pool:
        """To draw tasks from these classes."""
        return Pool.of(self.x, [self.members[number] for number in chosen], self.targets)

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """(n,), of each example's content."""
        rows = np.ascontiguousarray(self.x.reshape(len(self.x), -1))
        digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
        return np.frombuffer(b"".join(digests), dtype=np.uint64)

    def n_shared(self, chosen: Sequence[int], others: Sequence[int]) -> int:
        """Examples of the chosen classes that stand, the same to the last bit, among the others too."""
        if not chosen or not others:
            return 0
        here = np.concatenate([self.members[number] for number in chosen])
        there = np.concatenate([self.members[number] for number in others])
        return int(np.isin(self.hashes[here], self.hashes[there]).sum())

    def summary(self) -> dict[str, Any]:
        """As it is answered."""
        sizes = [len(rows) for rows in self.members]
        _, counts = np.unique(self.hashes, return_counts=True)
        return {
            "kind": self.kind,
            "examples": len(self.x),
            "shape": list(self.shape),
            "dtype": str(self.x.dtype),
            "classes": len(self.names),
            "smallest_class": min(sizes),
            "largest_class": max(sizes),
            "groups": None if self.groups is None else len(set(self.groups)),
            "duplicates": int((counts - 1).sum()),
        }

    def to_bytes(self) -> bytes:
        about = {"kind": self.kind, "names": self.names, "groups": self.groups}
        arrays = {"x": self.x, "numbers": self.numbers.astype(np.int32)}
        if self.targets is not None:
            arrays["targets"] = self.targets
        return packed(about, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> Dataset:
        about, arrays = unpacked(content)
        groups = about["groups"]
        return cls(
            about["kind"],
            arrays["x"],
            arrays["numbers"].astype(np.intp),
            tuple(about["names"]),
            None if groups is None else tuple(groups),
            arrays.get("targets"),
        )


def packed(about: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """Plain arrays and a JSON document in one `.npz`, not compressed: weights hardly shrink, and it takes seconds."""
    buffer = io.BytesIO()
    document = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, about=document, **arrays)
    return buffer.getvalue()


def unpacked(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `packed` packed."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop("about").tobytes()), arrays


def made(
    x: NDArray[np.generic],
    y: NDArray[np.generic],
    group: NDArray[np.generic] | None = None,
    task: NDArray[np.generic] | None = None,
) -> Dataset:
    """From columns of n rows: classes in `y`, or with `task` the values of named regression tasks.

    Raises: InvalidDataset, naming the column and the row.
    """
    _check_columns(x, y, group, task)
    names, groups, numbers = _numbered(y if task is None else task, group)
    targets = None
    if task is not None:
        targets = _finite("/y", y)
    return Dataset("classification" if task is None else "regression", x, numbers, names, groups, targets)


def merged(datasets: Sequence[Dataset], names: Sequence[str]) -> Dataset:
    """All their classes together; those of each form a group of their own, or several.

    Raises: Invalid, if their examples are of different shapes.
    """
    first = datasets[0]
    for dataset, name in zip(datasets, names, strict=True):
        if dataset.shape != first.shape or dataset.kind != first.kind:
            raise Invalid(
                f"dataset {name!r} holds {dataset.kind} examples of the shape {list(dataset.shape)}, {names[0]!r} "
                f"{first.kind} ones of {list(first.shape)}; only equal ones can be merged"
            )
    offsets = np.cumsum([0, *(len(dataset.names) for dataset in datasets)])
    return Dataset(
        first.kind,
        np.concatenate([dataset.x for dataset in datasets]),
        np.concatenate([dataset.numbers + offset for dataset, offset in zip(datasets, offsets, strict=False)]),
        tuple(label for dataset in datasets for label in dataset.names),
        tuple(
            f"{name}/{group}" if dataset.groups is not None else name
            for dataset, name in zip(datasets, names, strict=True)
            for group in (dataset.groups or [""] * len(dataset.names))
        ),
        None if first.targets is None else np.concatenate([d.targets for d in datasets if d.targets is not None]),
    )


def _check(dataset: Dataset) -> None:
    """What must hold for tasks to be drawn."""
    x = dataset.x
    if x.ndim not in (2, 3, 4):
        raise InvalidDataset("/x", f"x must be (n, d) vectors or (n, h, w[, channels]) images, got {list(x.shape)}")
    if 0 in x.shape:
        raise InvalidDataset("/x", f"x holds no values: its shape is {list(x.shape)}")
    if np.prod(x.shape[1:]) > MAX_FEATURES:
        raise InvalidDataset("/x", f"an example may have {MAX_FEATURES} values, these have {np.prod(x.shape[1:])}")
    what = "classes" if dataset.kind == "classification" else "tasks"
    if len(dataset.names) < SMALLEST_DATASET:
        where = "/y" if dataset.kind == "classification" else "/task"
        raise InvalidDataset(where, f"there are {len(dataset.names)} {what}; tasks need {SMALLEST_DATASET} at least")
    sizes = np.bincount(dataset.numbers, minlength=len(dataset.names))
    if sizes.min() < SMALLEST_CLASS:
        scarce = dataset.names[int(sizes.argmin())]
        raise InvalidDataset(
            "/y",
            f"{what} need {SMALLEST_CLASS} examples at least, and {scarce!r} has {sizes.min()}"
            + (f" ({int((sizes < SMALLEST_CLASS).sum())} are so)" if (sizes < SMALLEST_CLASS).sum() > 1 else ""),
        )


def _check_columns(x: Any, y: Any, group: Any, task: Any) -> None:
    _finite("/x", x, numeric="x must be numbers")
    for name, column in (("y", y), ("group", group), ("task", task)):
        if column is None:
            continue
        if column.ndim != 1:
            raise InvalidDataset(
                f"/{name}", f"{name} must be one value per example, got the shape {list(column.shape)}"
            )
        if len(column) != len(x):
            raise InvalidDataset(f"/{name}", f"x holds {len(x)} examples and {name} {len(column)} values")


def _finite(where: str, values: Any, numeric: str = "with `task`, y must be numbers") -> Array:
    if values.dtype.kind not in "biuf":
        raise InvalidDataset(where, f"{numeric}, got the type {values.dtype}")
    if values.dtype.kind == "f":
        flat = values.reshape(len(values), -1) if len(values) else values
        for start in range(0, len(flat), 10_000):  # the whole of it at once would take its memory again
            is_bad = ~np.isfinite(flat[start : start + 10_000]).reshape(len(flat[start : start + 10_000]), -1).all(
                axis=1
            )
            if is_bad.any():
                raise InvalidDataset(where, f"row {start + int(is_bad.argmax())} holds a value that is not finite")
    return np.asarray(values, dtype=np.float32) if values.ndim == 1 else values


def _numbered(labels: Any, group: Any) -> tuple[tuple[Label, ...], tuple[str, ...] | None, Indices]:
    """Names, the group of each, and the number of each row; sorted, so that the order of rows does not matter."""
    if labels.dtype.kind not in "biuUS" and not (labels.dtype.kind == "f" and np.isfinite(labels).all()):
        raise InvalidDataset("/y", f"names of classes must be strings or whole numbers, got the type {labels.dtype}")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "replace")
    kinds, of_row = np.unique(labels, return_inverse=True)
    for label in kinds if kinds.dtype.kind == "U" else ():
        if len(label) > MAX_LABEL or "\0" in label:
            raise InvalidDataset("/y", f"a name has {MAX_LABEL} printable characters at most, got {label[:40]!r}…")
    plain = [kind.item() for kind in kinds]
    if group is None:
        return tuple(plain), None, of_row.astype(np.intp)
    group_kinds, group_of_row = np.unique(group.astype(str), return_inverse=True)
    pairs, of_pair = np.unique(of_row * len(group_kinds) + group_of_row, return_inverse=True)
    names = [plain[pair // len(group_kinds)] for pair in pairs]
    groups = [str(group_kinds[pair % len(group_kinds)]) for pair in pairs]
    if len(set(names)) < len(names):
        names = [f"{group}/{name}" for group, name in zip(groups, names, strict=True)]
    return tuple(names), tuple(groups), of_pair.astype(np.intp)
