"""Watches a study over a stream that may break: each attempt goes on behind the last event that was heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

from metatune.errors import MetatuneError
from metatune.events import Event, Feed
from metatune.sender import AsyncSender, Sender


def watch(sender: Sender, study: str, after: int | None) -> Iterator[Event]:
    """Raises: NotFound, if there is no such study; ServerUnreachable, if it stays silent."""
    feed = Feed(study, after, sender.retry_seconds)
    while True:
        lost: MetatuneError | None = None
        try:
            with sender.stream(feed.request()) as lines:
                for line in lines:
                    event = feed.take(line)
                    if event is not None:
                        yield event
        except MetatuneError as fault:
            lost = fault
        time.sleep(feed.pause(lost))


async def async_watch(sender: AsyncSender, study: str, after: int | None) -> AsyncIterator[Event]:
    feed = Feed(study, after, sender.retry_seconds)
    while True:
        lost: MetatuneError | None = None
        try:
            async with sender.stream(feed.request()) as lines:
                async for line in lines:
                    event = feed.take(line)
                    if event is not None:
                        yield event
        except MetatuneError as fault:
            lost = fault
        await asyncio.sleep(feed.pause(lost))
