"""Few-shot adaptation for asyncio: the names and meanings of `metatune.fewshot`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from metatune.async_job import AsyncJob
from metatune.fewshot import (
    DATASETS,
    EVALUATIONS,
    LEARNERS,
    Examples,
    adaptation_path,
    arrays,
    examples_in,
    extending,
    queries_in,
    uploading,
)
from metatune.wire import Request, creating, given

if TYPE_CHECKING:
    from metatune.connection import AsyncConnection


@dataclass(frozen=True)
class AsyncFewShot:
    _connection: AsyncConnection

    async def upload(
        self,
        name: str,
        path: str | Path | None = None,
        *,
        x: Any = None,
        y: Any = None,
        group: Any = None,
        task: Any = None,
    ) -> dict[str, Any]:
        with ExitStack() as opened:
            return dict(
                await self._connection.send(uploading(name, path, arrays(x=x, y=y, group=group, task=task), opened))
            )

    async def datasets(self) -> AsyncIterator[dict[str, Any]]:
        async for document in self._connection.items(DATASETS):
            yield document

    async def delete_dataset(self, name: str) -> None:
        await self._connection.send(Request("DELETE", f"{DATASETS}/{quote(name, safe='')}"))

    async def train(
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
    ) -> AsyncLearner:
        body = given(
            name=name, method=method, dataset=dataset if isinstance(dataset, str) else list(dataset), ways=ways,
            shots=shots, queries=queries, backbone=backbone, augment=augment, split=split, episodes=episodes,
            max_seconds=max_seconds, patience=patience, seed=seed, options=options, tune=tune,
        )  # fmt: skip
        return AsyncLearner(self._connection, (await self._connection.send(creating(LEARNERS, body)))["name"])

    async def get(self, name: str) -> AsyncLearner:
        found = AsyncLearner(self._connection, name)
        await found.info()
        return found

    async def __aiter__(self) -> AsyncIterator[AsyncLearner]:
        async for document in self._connection.items(LEARNERS):
            yield AsyncLearner(self._connection, document["name"])


@dataclass(frozen=True)
class AsyncLearner(AsyncJob):
    _kind = "learner"
    _collection = LEARNERS

    async def adapt(self, support: Examples, query: Any) -> list[dict[str, Any]]:
        body = {"support": examples_in(support), "query": queries_in(query)}
        return list((await self._ask("POST", "adapt", json=body))["predictions"])

    async def keep(self, name: str, support: Examples) -> AsyncAdaptation:
        kept = AsyncAdaptation(self._connection, self.name, name)
        await kept.put(support)
        return kept

    async def adaptation(self, name: str) -> AsyncAdaptation:
        found = AsyncAdaptation(self._connection, self.name, name)
        await found.info()
        return found

    async def adaptations(self) -> AsyncIterator[AsyncAdaptation]:
        async for document in self._connection.items(self._path("adaptations")):
            yield AsyncAdaptation(self._connection, self.name, document["name"])

    async def evaluate(
        self,
        dataset: str,
        *,
        name: str | None = None,
        ways: int | None = None,
        shots: int | None = None,
        queries: int | None = None,
        episodes: int | None = None,
    ) -> AsyncEvaluation:
        body = given(name=name, ways=ways, shots=shots, queries=queries, episodes=episodes) | {"dataset": dataset}
        document = await self._connection.send(creating(self._path("evaluate"), body))
        return AsyncEvaluation(self._connection, document["name"])

    async def download(self, path: str | Path) -> Path:
        content = await self._connection.send(Request("GET", self._path("model"), is_bytes=True))
        path = Path(path)
        path.write_bytes(content)
        return path


@dataclass(frozen=True)
class AsyncEvaluation(AsyncJob):
    _kind = "evaluation"
    _collection = EVALUATIONS


@dataclass(frozen=True)
class AsyncAdaptation:
    _connection: AsyncConnection
    learner: str
    name: str

    async def info(self) -> dict[str, Any]:
        return dict(await self._connection.send(Request("GET", self._path())))

    async def put(self, support: Examples) -> dict[str, Any]:
        body = {"support": examples_in(support)}
        return dict(await self._connection.send(Request("PUT", self._path(), json=body)))

    async def predict(self, query: Any, *, unknown_distance: float | None = None) -> list[dict[str, Any]]:
        body = {"query": queries_in(query)} | given(unknown_distance=unknown_distance)
        return list((await self._connection.send(Request("POST", self._path("predict"), json=body)))["predictions"])

    async def extend(self, support: Examples) -> dict[str, Any]:
        return dict(await self._connection.send(extending(self._path("support"), support)))

    async def delete(self) -> None:
        await self._connection.send(Request("DELETE", self._path()))

    def _path(self, *rest: str) -> str:
        return adaptation_path(self.learner, self.name, *rest)
