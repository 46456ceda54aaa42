"""Adapt: a learner to a task in one call, or an adaptation that is kept, asked and extended. A worker does this.

Learners and adaptations are loaded when they are first asked for, and the last ones stay in memory.
"""

from __future__ import annotations

import base64
import binascii
import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from app.db import adaptations, artefacts, jobs
from app.db.jobs import Address
from app.db.session import Store
from app.db.tables import Adaptation
from app.errors import FieldError, Invalid, NotTrainedYet
from app.fewshot.dataset import Label, packed, unpacked
from app.fewshot.learner import Adapted, Learner
from app.fewshot.reading import arrays_of

Thing = TypeVar("Thing")
KEPT_IN_MEMORY = 64  # learners and adaptations; a learner has a few megabytes
MAX_SUPPORT, MAX_QUERIES = 4096, 16_384  # examples
MAX_UNPACKED = 256 * 2**20


class Shelf:
    """The things that were asked for last, by the artefact that they are made of."""

    def __init__(self) -> None:
        self._things: LRUCache[tuple[str, ...], Any] = LRUCache(KEPT_IN_MEMORY)
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...], make: Callable[[], Thing]) -> Thing:
        with self._lock:
            if key in self._things:
                found: Thing = self._things[key]
                return found
        thing = make()  # not under the lock: others need not wait for it
        with self._lock:
            self._things[key] = thing
        return thing


SHELF = Shelf()


@dataclass(frozen=True)
class Task:
    """A support set with the names of its classes; of a regression `labels` is empty and `y` holds values."""

    x: NDArray[np.generic]
    y: NDArray[Any]
    labels: tuple[Label, ...]

    def to_bytes(self) -> bytes:
        return packed({"labels": self.labels}, {"x": self.x, "y": self.y})

    @classmethod
    def from_bytes(cls, content: bytes) -> Task:
        about, arrays = unpacked(content)
        return cls(arrays["x"], arrays["y"], tuple(about["labels"]))

    def summary(self) -> dict[str, Any]:
        """How many examples there are, of each class."""
        counts = [int((self.y == number).sum()) for number in range(len(self.labels))]
        return {"examples": len(self.x), "labels": list(self.labels), "counts": counts}


@dataclass(frozen=True)
class Answer:
    """One query's."""

    label: Label | None
    probabilities: dict[str, float] | None
    value: float | None
    distance: float | None
    unknown: bool | None


def adapt(store: Store, address: Address, support: Any, query: Any) -> list[Answer]:
    """In one call; nothing is kept.  Raises: JobNotFound, NotTrainedYet, Invalid."""
    learner, _ = learner_of(store, address)
    task = read_task(learner, support)
    x = read_examples(learner, query, "/query", MAX_QUERIES)
    return answers(adapted(learner, task), task, x, None)


def keep(store: Store, address: Address, name: str, support: Any) -> tuple[Adaptation, bool]:
    """Writes the support set under a name, in place of the one before; whether it is new."""
    learner, _ = learner_of(store, address)
    task = read_task(learner, support)
    adapted(learner, task)  # what cannot be learnt is refused now
    made = artefacts.write(store, address.project_id, [task.to_bytes()], most=MAX_UNPACKED)
    with store.write(address.project_id) as session:
        return adaptations.keep(jobs.get(session, address, lock=True), name, made, task.summary())


def extend(store: Store, address: Address, name: str, support: Any) -> Adaptation:
    """Adds classes or examples to a kept adaptation."""
    learner, _ = learner_of(store, address)
    while True:
        with store.read(address.project_id) as session:
            row = adaptations.get(jobs.get(session, address), name)
        task = joined(learner, task_of(store, address.project_id, row), read_task(learner, support))
        adapted(learner, task)
        made = artefacts.write(store, address.project_id, [task.to_bytes()], most=MAX_UNPACKED)
        with store.write(address.project_id) as session:
            here = jobs.get(session, address, lock=True)
            there = adaptations.get(here, name, lock=True)
            if there.revision == row.revision:
                adaptations.change(here, there, made, task.summary())
                return there
            artefacts.remove(session, made)  # somebody else added something meanwhile: to that, then


def predict(store: Store, address: Address, name: str, query: Any, unknown_distance: float | None) -> list[Answer]:
    """By a kept adaptation."""
    learner, model_id = learner_of(store, address)
    with store.read(address.project_id) as session:
        row = adaptations.get(jobs.get(session, address), name)
    task = SHELF.get((row.artefact_id,), lambda: task_of(store, address.project_id, row))
    ready = SHELF.get((model_id, row.artefact_id), lambda: adapted(learner, task))
    x = read_examples(learner, query, "/query", MAX_QUERIES)
    return answers(ready, task, x, unknown_distance)


def learner_of(store: Store, address: Address) -> tuple[Learner, str]:
    """With the artefact that it is made of.  Raises: JobNotFound, NotTrainedYet."""
    with store.read(address.project_id) as session:
        job = jobs.get(session, address).job
    model_id = job.model_id
    if model_id is None:
        raise NotTrainedYet(f"learner {address.name!r} is {job.state} and has learnt nothing yet", state=job.state)
    make = lambda: Learner.from_bytes(artefacts.read(store, address.project_id, model_id))  # noqa: E731
    return SHELF.get((model_id,), make), model_id


def task_of(store: Store, project_id: int, row: Adaptation) -> Task:
    return Task.from_bytes(artefacts.read(store, project_id, row.artefact_id))


def adapted(learner: Learner, task: Task) -> Adapted:
    return learner.adapt(task.x, task.y, max(1, len(task.labels)))


def answers(ready: Adapted, task: Task, x: NDArray[np.generic], unknown_distance: float | None) -> list[Answer]:
    found = ready.predict(x)
    if found.distances is None:
        return [Answer(None, None, float(value), None, None) for value in found.values]
    limit = unknown_distance if unknown_distance is not None else ready.learner.known_distance
    names = [str(label) if not isinstance(label, bool) else str(label).lower() for label in task.labels]
    best = found.values.argmax(1)
    return [
        Answer(
            task.labels[best[i]],
            dict(zip(names, map(float, found.values[i]), strict=True)),
            None,
            float(found.distances[i]),
            None if limit is None else bool(found.distances[i] > limit),
        )
        for i in range(len(x))
    ]


def joined(learner: Learner, first: Task, second: Task) -> Task:
    """The examples of both; a class of the second that the first has too gets more of them."""
    if learner.spec.kind == "regression":
        task = Task(np.concatenate([first.x, second.x]), np.concatenate([first.y, second.y]), ())
    else:
        there = {_typed(label): number for number, label in enumerate(first.labels)}
        labels = list(first.labels)
        for label in second.labels:
            if _typed(label) not in there:
                there[_typed(label)] = len(labels)
                labels.append(label)
        numbers = np.array([there[_typed(label)] for label in second.labels])
        task = Task(np.concatenate([first.x, second.x]), np.concatenate([first.y, numbers[second.y]]), tuple(labels))
        _check_names(task.labels)
    if len(task.x) > MAX_SUPPORT:
        raise _wrong("/support/x", f"a support set may have {MAX_SUPPORT} examples, with these it has {len(task.x)}")
    return task


# --- reading ---


def read_task(learner: Learner, support: Any) -> Task:
    """Raises: Invalid, naming the place."""
    given = _unpacked(support, "/support", ("x", "y"))
    x = _examples(learner, given.get("x"), "/support", MAX_SUPPORT)
    y = given.get("y")
    if y is None:
        raise _wrong("/support/y", "a support set needs y, one label for each example")
    y = y.tolist() if isinstance(y, np.ndarray) else y
    if len(y) != len(x):
        raise _wrong("/support/y", f"x holds {len(x)} examples and y {len(y)} labels")
    if learner.spec.kind == "regression":
        return Task(x, _values(y), ())
    labels: dict[Any, int] = {}
    numbers = [labels.setdefault(_typed(_label(i, label)), len(labels)) for i, label in enumerate(y)]
    names = tuple(label for _, label in labels)
    _check_names(names)
    return Task(x, np.array(numbers), names)


def read_examples(learner: Learner, given: Any, place: str, most: int) -> NDArray[np.generic]:
    """Raises: Invalid, naming the place."""
    return _examples(learner, _unpacked(given, place, ("x",)).get("x"), place, most)


def _unpacked(given: Any, place: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Either nested lists under `x` (and `y`), or the same arrays as an .npz in base64 under `npz`."""
    if given.get("npz") is None:
        return dict(given)
    try:
        content = base64.b64decode(given["npz"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"{place}/npz", f"npz must be base64 of an .npz file: {error}") from error
    return dict(arrays_of(io.BytesIO(content), MAX_UNPACKED, names))


def _examples(learner: Learner, x: Any, place: str, most: int) -> NDArray[np.generic]:
    if x is None:
        raise _wrong(f"{place}/x", "x is missing: examples as nested lists, or npz with an array x")
    try:
        array = np.asarray(x)
    except ValueError:
        array = np.array(object())
    if array.dtype.kind not in "biuf":
        raise _wrong(f"{place}/x", f"x must be numbers, every example of the shape {list(learner.shape)}")
    if array.shape[1:] != learner.shape or not len(array):
        raise _wrong(f"{place}/x", f"x must be examples of the shape {list(learner.shape)}, got {list(array.shape)}")
    if len(array) > most:
        raise _wrong(f"{place}/x", f"there may be {most} examples, got {len(array)}")
    array = array.astype(np.float32) if array.dtype.kind in "fb" or array.dtype.itemsize > 1 else array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int((~np.isfinite(array).reshape(len(array), -1).all(1)).argmax())
        raise _wrong(f"{place}/x/{row}", f"example {row} holds a value that is not finite")
    return array


def _label(i: int, label: Any) -> Label:
    if isinstance(label, (str, bool, int, float)) and not (isinstance(label, float) and not np.isfinite(label)):
        if isinstance(label, str) and len(label) > 128:
            raise _wrong(f"/support/y/{i}", "a label has 128 characters at most")
        return label
    raise _wrong(f"/support/y/{i}", f"a label is text, a number or true or false, got {str(label)[:60]}")


def _typed(label: Label) -> tuple[str, Label]:
    """1, 1.0 and true are three labels."""
    return type(label).__name__, label


def _check_names(labels: Sequence[Label]) -> None:
    names = [str(label).lower() if isinstance(label, bool) else str(label) for label in labels]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise _wrong(
                "/support/y", f"two labels both read {name!r} in `probabilities`; let them differ in their text"
            )


def _values(y: Sequence[Any]) -> NDArray[np.float32]:
    for i, value in enumerate(y):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise _wrong(
                f"/support/y/{i}", f"this learner's tasks are regressions: y holds numbers, got {str(value)[:60]}"
            )
    return np.asarray(y, dtype=np.float32)


def _wrong(pointer: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(pointer, detail)])
