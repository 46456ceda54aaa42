"""Calls that arrive together are one piece of work: one thread, one transaction, one commit.

Decision: asks and tells of one study, and the look-ups of keys, are gathered while the piece before is under way.
Context: each of them locks the same row and waits for the same disk, so sixteen at once would take sixteen turns.
A call that finds nobody at work starts at once, so a single caller waits for nobody; waiting holds no thread. Those
that others are about to join may be held (see `Desk`).
Price: what is gathered shares its commit, so a database that fails fails for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context, copy_context
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Gather(Generic[Key, Item, Answer]):
    """One per process and kind of work. `work(key, items)` runs in a thread and answers every item, in order.

    hold: what items wait for before their piece of work begins; others may join them meanwhile.
    """

    def __init__(
        self,
        work: Callable[[Key, list[Item]], Sequence[Answer | Exception]],
        *,
        threads: int,
        at_once: int,
        hold: Callable[[Key], Awaitable[None]] | None = None,
    ) -> None:
        self.work = work
        self.hold = hold
        self.limiter = CapacityLimiter(threads)
        self.at_once = at_once
        self.lines: dict[Key, list[tuple[Item, asyncio.Future[Answer], Context]]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def submit(self, key: Key, item: Item) -> asyncio.Future[Answer]:
        """Resolves to the item's answer, or raises its exception, or that of the whole piece of work."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        line = self.lines.get(key)
        if line is not None:
            line.append((item, future, copy_context()))
            return future
        self.lines[key] = [(item, future, copy_context())]
        task = asyncio.create_task(self._serve(key))
        self.tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self.tasks.discard)
        return future

    def n_waiting(self, key: Key) -> int | None:
        """How many wait for their piece of work to begin; None, if nobody is served."""
        line = self.lines.get(key)
        return None if line is None else len(line)

    async def _serve(self, key: Key) -> None:
        """Works through the line, and whoever joins it meanwhile, until it is empty."""
        try:
            while self.lines[key]:
                if self.hold is not None:
                    await self.hold(key)
                line = self.lines[key]
                batch, self.lines[key] = line[: self.at_once], line[self.at_once :]
                await self._answer(key, batch)
        finally:
            for _, future, _ in self.lines.pop(key):
                future.cancel()

    async def _answer(self, key: Key, batch: list[tuple[Item, asyncio.Future[Answer], Context]]) -> None:
        try:
            items = [item for item, _, _ in batch]
            first = batch[0][2]  # whose request the log and the traces name, of all that share the work
            answers = await run_sync(first.run, self.work, key, items, limiter=self.limiter)
        except Exception as problem:  # of the whole piece: everybody hears it
            answers = [problem] * len(batch)
        for (_, future, _), answer in zip(batch, answers, strict=True):
            if future.done():  # the caller has left
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
                future.exception()  # looked at, should the caller leave before it does
            else:
                future.set_result(answer)
