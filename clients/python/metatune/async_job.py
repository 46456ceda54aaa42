"""Jobs for asyncio: the names and meanings of `metatune.job`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote

from metatune.job import POLL_SECONDS, UNFINISHED, need_success, printed
from metatune.wire import Request

if TYPE_CHECKING:
    from metatune.connection import AsyncConnection

Self = TypeVar("Self", bound="AsyncJob")


@dataclass(frozen=True)
class AsyncJob:
    _connection: AsyncConnection
    name: str

    _kind: ClassVar[str]
    _collection: ClassVar[str]

    async def info(self) -> dict[str, Any]:
        return dict(await self._ask("GET"))

    async def wait(self: Self, progress: Callable[[Mapping[str, Any]], None] = printed) -> Self:
        while True:
            info = await self.info()
            progress(info)
            if info["state"] not in UNFINISHED:
                break
            await asyncio.sleep(POLL_SECONDS)
        need_success(self._kind, info)
        return self

    async def cancel(self) -> dict[str, Any]:
        return dict(await self._ask("POST", "cancel", json={}))

    async def delete(self) -> None:
        await self._ask("DELETE")

    async def _ask(self, method: str, *rest: str, json: Any = None, **query: Any) -> Any:
        return await self._connection.send(Request(method, self._path(*rest), json=json, query=query))

    def _path(self, *rest: str) -> str:
        return "/".join([self._collection, quote(self.name, safe=""), *rest])
