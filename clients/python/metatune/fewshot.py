"""Few-shot adaptation: `client.fewshot` uploads data, trains learners, and adapts them to new tasks."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from metatune.job import Job
from metatune.npz import is_array, listed, packed
from metatune.wire import Request, creating, given

if TYPE_CHECKING:
    from metatune.connection import Connection

DATASETS, LEARNERS, EVALUATIONS = "/v1/fewshot/datasets", "/v1/fewshot/learners", "/v1/fewshot/evaluations"
UPLOAD_SECONDS = 600.0

Examples: TypeAlias = "tuple[Any, Any] | Mapping[str, Any]"


@dataclass(frozen=True)
class FewShot:
    """The datasets and learners of a project."""

    _connection: Connection

    def upload(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        x: Any = None,
        y: Any = None,
        group: Any = None,
        task: Any = None,
    ) -> dict[str, Any]:
        """A file (.npz, .csv, .parquet), or arrays: examples `x`, the class of each, and its group or regression task.

        The same data again is no error.  Raises: Invalid, saying what is wrong with them; Conflict, if the name is
        another dataset's.
        """
        with ExitStack() as opened:  # until it is sent
            return dict(self._connection.send(uploading(name, path, arrays(x=x, y=y, group=group, task=task), opened)))

    def datasets(self) -> Iterator[dict[str, Any]]:
        """What is in each dataset, by name."""
        return self._connection.items(DATASETS)

    def delete_dataset(self, name: str) -> None:
        """Raises: Conflict, while an unfinished job needs it."""
        self._connection.send(Request("DELETE", f"{DATASETS}/{quote(name, safe='')}"))

    def train(
        self,
        name: str | None = None,
        *,
        method: str,
        dataset: str | Sequence[str],
        ways: int | None = None,
        shots: int | None = None,
        queries: int | None = None,
        backbone: str | None = None,
        augment: Sequence[str] | None = None,
        split: Mapping[str, Any] | None = None,
        episodes: int | None = None,
        max_seconds: float | None = None,
        patience: int | None = None,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
        tune: Mapping[str, Any] | None = None,
    ) -> Learner:
        """Submits a training, or finds the one of that name with the same body. It runs at the server.

        Raises: Invalid, naming each wrong field; NotFound, if there is no such dataset; Conflict, if the name is
        another learner's.
        """
        body = given(
            name=name, method=method, dataset=dataset if isinstance(dataset, str) else list(dataset), ways=ways,
            shots=shots, queries=queries, backbone=backbone, augment=augment, split=split, episodes=episodes,
            max_seconds=max_seconds, patience=patience, seed=seed, options=options, tune=tune,
        )  # fmt: skip
        return Learner(self._connection, self._connection.send(creating(LEARNERS, body))["name"])

    def get(self, name: str) -> Learner:
        """Raises: NotFound."""
        found = Learner(self._connection, name)
        found.info()
        return found

    def __iter__(self) -> Iterator[Learner]:
        for document in self._connection.items(LEARNERS):
            yield Learner(self._connection, document["name"])


@dataclass(frozen=True)
class Learner(Job):
    """One learner; it can be used from its first judgement on, while it is still trained."""

    _kind = "learner"
    _collection = LEARNERS

    def adapt(self, support: Examples, query: Any) -> list[dict[str, Any]]:
        """Label, probabilities and distance of each query, from a support set: `(x, y)`. Nothing is kept.

        Raises: Conflict, before the first judgement; Invalid, naming what is wrong with the examples.
        """
        body = {"support": examples_in(support), "query": queries_in(query)}
        return list(self._ask("POST", "adapt", json=body)["predictions"])

    def keep(self, name: str, support: Examples) -> Adaptation:
        """Keeps an adaptation under a name, in place of the one before."""
        kept = Adaptation(self._connection, self.name, name)
        kept.put(support)
        return kept

    def adaptation(self, name: str) -> Adaptation:
        """Raises: NotFound."""
        found = Adaptation(self._connection, self.name, name)
        found.info()
        return found

    def adaptations(self) -> Iterator[Adaptation]:
        for document in self._connection.items(self._path("adaptations")):
            yield Adaptation(self._connection, self.name, document["name"])

    def evaluate(
        self,
        dataset: str,
        *,
        name: str | None = None,
        ways: int | None = None,
        shots: int | None = None,
        queries: int | None = None,
        episodes: int | None = None,
    ) -> Evaluation:
        """Submits a judgement on another dataset's tasks."""
        body = given(name=name, ways=ways, shots=shots, queries=queries, episodes=episodes) | {"dataset": dataset}
        document = self._connection.send(creating(self._path("evaluate"), body))
        return Evaluation(self._connection, document["name"])

    def download(self, path: str | Path) -> Path:
        """Writes the best so far, a zip of weights.npz and learner.json.  Raises: Conflict, if there is none."""
        content = self._connection.send(Request("GET", self._path("model"), is_bytes=True))
        path = Path(path)
        path.write_bytes(content)
        return path


@dataclass(frozen=True)
class Evaluation(Job):
    """The judgement of a learner on another dataset: `wait().info()["result"]`."""

    _kind = "evaluation"
    _collection = EVALUATIONS


@dataclass(frozen=True)
class Adaptation:
    """A learner that has learnt one task, and can be shown more of it."""

    _connection: Connection
    learner: str
    name: str

    def info(self) -> dict[str, Any]:
        """Its labels, and how many examples of each it has learnt from."""
        return dict(self._connection.send(Request("GET", self._path())))

    def put(self, support: Examples) -> dict[str, Any]:
        """Learns this support set in place of the one before."""
        body = {"support": examples_in(support)}
        return dict(self._connection.send(Request("PUT", self._path(), json=body)))

    def predict(self, query: Any, *, unknown_distance: float | None = None) -> list[dict[str, Any]]:
        """Label, probabilities, distance, and whether it is `unknown`, of each query."""
        body = {"query": queries_in(query)} | given(unknown_distance=unknown_distance)
        return list(self._connection.send(Request("POST", self._path("predict"), json=body))["predictions"])

    def extend(self, support: Examples) -> dict[str, Any]:
        """Adds classes, or examples of classes."""
        return dict(self._connection.send(extending(self._path("support"), support)))

    def delete(self) -> None:
        self._connection.send(Request("DELETE", self._path()))

    def _path(self, *rest: str) -> str:
        return adaptation_path(self.learner, self.name, *rest)


def adaptation_path(learner: str, name: str, *rest: str) -> str:
    return "/".join([LEARNERS, quote(learner, safe=""), "adaptations", quote(name, safe=""), *rest])


def extending(path: str, support: Examples) -> Request:
    """Sent once: an answer that was lost may have been a yes, and twice the examples are another support set."""
    return Request("PATCH", path, json={"support": examples_in(support)}, retryable=False)


def arrays(**named: Any) -> dict[str, Any]:
    """Raises: TypeError, unless they are arrays."""
    found = given(**named)
    for name, array in found.items():
        if not is_array(array):
            raise TypeError(f"{name} must be an array as NumPy's are, got {type(array).__name__}")
    return found


def uploading(name: str, path: str | Path | None, found: Mapping[str, Any], opened: ExitStack) -> Request:
    """A file is read while it is sent, so that it may be larger than the memory.

    Raises: TypeError, unless there is either a path, or x and y.
    """
    if (path is None) == (not found) or (found and not {"x", "y"} <= set(found)):
        raise TypeError("give the path of a file, or the arrays x and y")
    if path is None:
        file: tuple[str, Any] = (f"{name}.npz", packed(found))
    else:
        file = (Path(path).name, opened.enter_context(Path(path).open("rb")))  # noqa: SIM115  (closed by the caller)
    return Request("POST", DATASETS, form={"name": name}, files={"file": file}, answer_seconds=UPLOAD_SECONDS)


def examples_in(support: Examples) -> dict[str, Any]:
    """A support set as it is sent: arrays in binary, which is smaller; labels of several types as lists."""
    x, y = (support["x"], support["y"]) if isinstance(support, Mapping) else support
    if is_array(x) and is_array(y):
        return {"npz": _encoded(x=x, y=y)}
    return {"x": listed(x), "y": listed(y)}


def queries_in(query: Any) -> dict[str, Any]:
    x = query["x"] if isinstance(query, Mapping) else query
    return {"npz": _encoded(x=x)} if is_array(x) else {"x": listed(x)}


def _encoded(**named: Any) -> str:
    return base64.b64encode(packed(named)).decode("ascii")
