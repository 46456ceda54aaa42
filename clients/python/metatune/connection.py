"""What a study and its trials need of a client: a sender, and the outbox beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metatune.delivery import Answer, Steps
from metatune.errors import MetatuneError
from metatune.outbox import Outbox
from metatune.wire import Call, Request, T

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
