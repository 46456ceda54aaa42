"""The client for asyncio: the names and meanings of `metatune.client.Client`, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from metatune.async_study import AsyncStudy
from metatune.client import RETRY_SECONDS, address_of, key_of, name_of, outbox_of
from metatune.connection import AsyncConnection
from metatune.knowledge import KNOWLEDGE, exporting, forgetting, importing, recommending
from metatune.record import StudyRecord, defining, definition_of
from metatune.sender import AsyncSender
from metatune.space import Parameter
from metatune.wire import STUDIES, Request, creating, given, study_path, tagged

if TYPE_CHECKING:
    import httpx

    from metatune.async_fewshot import AsyncFewShot
    from metatune.async_nas import AsyncSearches
    from metatune.events import Event


class AsyncClient:
    """Speaks to one server as one project, from one event loop. Arguments as for `Client`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retry_seconds: float = RETRY_SECONDS,
        outbox: str | Path | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        sender = AsyncSender(address_of(url), key_of(key), retry_seconds, transport)
        self._connection = AsyncConnection(sender, outbox_of(outbox, sender.url))

    @property
    def url(self) -> str:
        return self._connection.url

    async def study(
        self,
        name: str | None = None,
        space: Mapping[str, Parameter] | type | None = None,
        *,
        direction: str | None = None,
        objectives: Sequence[Mapping[str, str]] | None = None,
        constraints: Sequence[str] | None = None,
        outcomes: Sequence[Mapping[str, Any]] | None = None,
        algorithm: str | Mapping[str, Any] | None = None,
        seed: int | None = None,
        stop: Mapping[str, Any] | None = None,
        pruning: str | Mapping[str, Any] | None = None,
        warm_start: Literal["auto", "off"] | Sequence[str] | None = None,
        metafeatures: Mapping[str, float] | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        **more: Any,
    ) -> AsyncStudy:
        fields = given(
            direction=direction,
            objectives=objectives,
            constraints=constraints,
            outcomes=outcomes,
            algorithm=algorithm,
            seed=seed,
            stop=stop,
            pruning=pruning,
            warm_start=warm_start,
            metafeatures=metafeatures,
            description=description,
            tags=tags,
            **more,
        )
        document = await self._connection.send(defining(name, definition_of(space, fields)))
        study = AsyncStudy(self._connection, document)
        await study.deliver()
        return study

    async def studies(
        self, *, state: str | None = None, prefix: str | None = None, tags: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncStudy]:
        async for document in self._connection.items(STUDIES, state=state, prefix=prefix, **tagged(tags)):
            yield AsyncStudy(self._connection, document)

    async def import_study(self, document: Mapping[str, Any], *, name: str | None = None) -> AsyncStudy:
        request = creating("/v1/studies/import", document, **given(name=name))
        return AsyncStudy(self._connection, await self._connection.send(request))

    async def restore(self, name: str) -> AsyncStudy:
        return AsyncStudy(self._connection, await self._connection.send(creating(study_path(name, "restore"), {})))

    async def recommend(
        self,
        space: Mapping[str, Parameter] | type | None = None,
        *,
        count: int = 5,
        description: str | None = None,
        metafeatures: Mapping[str, float] | None = None,
        constraints: Sequence[str] | None = None,
        direction: str | None = None,
        objective: str | None = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        wish = given(
            count=count,
            description=description,
            metafeatures=metafeatures,
            constraints=constraints,
            direction=direction,
            objective=objective,
            aliases=aliases,
        )
        return dict(await self._connection.send(recommending(definition_of(space, wish))))

    def knowledge(self) -> AsyncIterator[dict[str, Any]]:
        return self._connection.items(KNOWLEDGE)

    async def export_knowledge(self, *, raw: bool = True) -> dict[str, Any]:
        return dict(await self._connection.send(exporting(raw=raw)))

    async def import_knowledge(self, document: Mapping[str, Any]) -> int:
        return int((await self._connection.send(importing(document)))["imported"])

    async def forget_knowledge(self, study: str) -> None:
        await self._connection.send(forgetting(study))

    def watch(self, study: str | StudyRecord, *, after: int | None = None) -> AsyncIterator[Event]:
        from metatune.watch import async_watch

        return async_watch(self._connection.sender, name_of(study), after)

    @property
    def fewshot(self) -> AsyncFewShot:
        from metatune.async_fewshot import AsyncFewShot

        return AsyncFewShot(self._connection)

    @property
    def nas(self) -> AsyncSearches:
        from metatune.async_nas import AsyncSearches

        return AsyncSearches(self._connection)

    async def me(self) -> dict[str, Any]:
        return dict(await self._connection.send(Request("GET", "/v1/me")))

    async def request(self, method: str, path: str, json: Any = None, **query: Any) -> Any:
        return await self._connection.send(Request(method, path, json=json, query=query, retryable=method != "POST"))

    async def close(self) -> None:
        await self._connection.sender.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self.url}>"
