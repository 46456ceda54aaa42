"""Architecture searches for asyncio: the names and meanings of `metatune.nas`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metatune.async_job import AsyncJob
from metatune.nas import SEARCHES
from metatune.npz import listed
from metatune.wire import Request, creating, given

if TYPE_CHECKING:
    from metatune.connection import AsyncConnection


@dataclass(frozen=True)
class AsyncSearches:
    _connection: AsyncConnection

    async def search(
        self,
        name: str | None = None,
        *,
        space: Mapping[str, Any],
        evaluator: Mapping[str, Any],
        strategy: str | Mapping[str, Any] | None = None,
        reward: Mapping[str, Any] | None = None,
        budget: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> AsyncSearch:
        body = given(name=name, strategy=strategy, reward=reward, budget=budget, seed=seed)
        document = await self._connection.send(creating(SEARCHES, {**body, "space": space, "evaluator": evaluator}))
        return AsyncSearch(self._connection, document["name"])

    async def get(self, name: str) -> AsyncSearch:
        found = AsyncSearch(self._connection, name)
        await found.info()
        return found

    async def __aiter__(self) -> AsyncIterator[AsyncSearch]:
        async for document in self._connection.items(SEARCHES):
            yield AsyncSearch(self._connection, document["name"])


@dataclass(frozen=True)
class AsyncSearch(AsyncJob):
    _kind = "search"
    _collection = SEARCHES

    @property
    async def best(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await self._ask("GET", "pareto"))["best"]
        return found

    async def pareto(self, penalty: float | None = None) -> list[dict[str, Any]]:
        return list((await self._ask("GET", "pareto", **given(penalty=penalty)))["items"])

    async def architectures(self, penalty: float | None = None) -> AsyncIterator[dict[str, Any]]:
        async for item in self._connection.items(self._path("architectures"), penalty=penalty):
            yield item

    async def download(self, path: str | Path) -> Path:
        path = Path(path)
        query = {"format": "onnx"} if path.suffix == ".onnx" else {}
        content = await self._connection.send(Request("GET", self._path("model"), query=query, is_bytes=True))
        path.write_bytes(content)
        return path

    async def predict(self, x: Any) -> list[dict[str, Any]]:
        return list((await self._ask("POST", "predict", json={"x": listed(x)}))["predictions"])
