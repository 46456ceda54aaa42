"""Calls that arrive together are one piece of work: one thread, one transaction, one commit.

Decision: asks and tells of one study, and the look-ups of keys, are gathered while the piece before is under way.
Context: each of them locks the same row and waits for the same disk, so sixteen at once would take sixteen turns.
A call that finds nobody at work starts at once, so a single caller waits for nobody; waiting holds no thread.
Price: what is gathered shares its commit, so a database that fails fails for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gather(Generic[Key, Item, Answer]):
    """One per process and kind of work. `work(key, items)` runs in a thread and answers every item, in order."""

    def __init__(
        self, work: Callable[[Key, list[Item]], Sequence[Answer | Exception]], *, threads: int, at_once: int
    ) -> None:
        self.work = work
        self.limiter = CapacityLimiter(threads)
        self.at_once = at_once
        self.lines: dict[Key, list[tuple[Item, asyncio.Future[Answer]]]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def submit(self, key: Key, item: Item) -> asyncio.Future[Answer]:
        """Resolves to the item's answer, or raises its exception, or that of the whole piece of work."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        line = self.lines.get(key)
        if line is not None:
            line.append((item, future))
            return future
        self.lines[key] = [(item, future)]
        task = asyncio.create_task(self._serve(key))
        self.tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self.tasks.discard)
        return future

    async def _serve(self, key: Key) -> None:
        """Works through the line, and whoever joins it meanwhile, until it is empty."""
        try:
            while self.lines[key]:
                line = self.lines[key]
                batch, self.lines[key] = line[: self.at_once], line[self.at_once :]
                await self._answer(key, batch)
        finally:
            for _, future in self.lines.pop(key):
                future.cancel()

    async def _answer(self, key: Key, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await run_sync(self.work, key, [item for item, _ in batch], limiter=self.limiter)
        except Exception as problem:  # of the whole piece: everybody hears it
            answers = [problem] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # the caller has left
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
                future.exception()  # looked at, should the caller leave before it does
            else:
                future.set_result(answer)
