"""What a study and its trials need of a client: a sender, and the outbox beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metatune.delivery import Answer, Steps
from metatune.errors import MetatuneError
from metatune.outbox import Outbox
from metatune.wire import Call, Request, T, page_of

if TYPE_CHECKING:
    from metatune.sender import AsyncSender, Sender


@dataclass(frozen=True)
class Connection:
    sender: Sender
    outbox: Outbox

    @property
    def url(self) -> str:
        return self.sender.url

    def send(self, request: Request) -> Any:
        return self.sender.send(request)

    def call(self, call: Call[T], *, retry_seconds: float | None = None) -> T:
        return self.sender.call(call, retry_seconds=retry_seconds)

    def items(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """What a list holds, fetched page by page as you go."""
        after: str | None = None
        while True:
            page = self.send(page_of(path, query, after))
            yield from page["items"]
            after = page.get("next")
            if after is None:
                return

    def run(self, steps: Steps, *, retry_seconds: float | None = None) -> Any:
        """Sends what the steps ask for, until they return."""
        try:
            request = next(steps)
            while True:
                try:
                    answer = Answer(self.sender.send(request, retry_seconds=retry_seconds))
                except MetatuneError as error:
                    answer = Answer(error=error)
                request = steps.send(answer)
        except StopIteration as end:
            return end.value


@dataclass(frozen=True)
class AsyncConnection:
    sender: AsyncSender
    outbox: Outbox

    @property
    def url(self) -> str:
        return self.sender.url

    async def send(self, request: Request) -> Any:
        return await self.sender.send(request)

    async def call(self, call: Call[T], *, retry_seconds: float | None = None) -> T:
        return await self.sender.call(call, retry_seconds=retry_seconds)

    async def items(self, path: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        after: str | None = None
        while True:
            page = await self.send(page_of(path, query, after))
            for item in page["items"]:
                yield item
            after = page.get("next")
            if after is None:
                return

    async def run(self, steps: Steps, *, retry_seconds: float | None = None) -> Any:
        try:
            request = next(steps)
            while True:
                try:
                    answer = Answer(await self.sender.send(request, retry_seconds=retry_seconds))
                except MetatuneError as error:
                    answer = Answer(error=error)
                request = steps.send(answer)
        except StopIteration as end:
            return end.value
