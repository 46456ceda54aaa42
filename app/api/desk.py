"""Where asks wait: those of one study that arrive together are answered by one computation.

Waiting holds no thread, so that any number of askers leaves tells their threads. A call whose deadline passes is
answered by a free point at once; the computation finds it claimed and goes on for the others.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from app.db.session import Store
from app.db.studies import Address
from app.errors import AppError
from app.services.ask import AskCall, Asked, ask, hand_out

#: Of a deadline, what is left for handing out the free point and for the way back, in seconds.
RESERVE_SECONDS = 0.1


@dataclass
class Waiting:
    call: AskCall
    answer: asyncio.Future[Asked]


class AskDesk:
    """One per process; `threads` computations run at one time."""

    def __init__(self, store: Store, threads: int) -> None:
        self.store = store
        self.limiter = CapacityLimiter(threads)
        self.fallback_limiter = CapacityLimiter(4)
        self.lines: dict[Address, list[Waiting]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def ask(self, address: Address, call: AskCall, deadline_seconds: float | None) -> Asked:
        """Raises: what `app.services.ask` raises."""
        place = Address(address.project_id, address.name)
        waiting = Waiting(call, asyncio.get_running_loop().create_future())
        line = self.lines.get(place)
        if line is None:  # nobody computes for this study: begin; whoever comes meanwhile stands in line
            self.lines[place] = [waiting]
            task = asyncio.create_task(self._serve(place))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            line.append(waiting)
        if deadline_seconds is None:
            return await waiting.answer
        try:
            return await asyncio.wait_for(asyncio.shield(waiting.answer), max(0.0, deadline_seconds - RESERVE_SECONDS))
        except TimeoutError:
            why = f"the deadline of {deadline_seconds:g} s came before the model was ready"
            (answer,) = await run_sync(
                lambda: hand_out(self.store, place, [call], plan=None, why=why), limiter=self.fallback_limiter
            )
            if answer is None:  # the computation was faster after all
                return await waiting.answer
            if isinstance(answer, AppError):
                raise answer from None
            return answer

    async def _serve(self, place: Address) -> None:
        """Answers the line, and whoever joined it meanwhile, until nobody is left."""
        try:
            while self.lines[place]:
                batch, self.lines[place] = self.lines[place], []
                await self._answer(place, batch)
        finally:
            del self.lines[place]

    async def _answer(self, place: Address, batch: list[Waiting]) -> None:
        try:
            answers = await run_sync(
                lambda: ask(self.store, place, [waiting.call for waiting in batch]), limiter=self.limiter
            )
        except BaseException as problem:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(problem)
                    waiting.answer.exception()  # seen, also if the caller has left
            if not isinstance(problem, Exception):
                raise
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done() or answer is None:
                continue
            if isinstance(answer, AppError):
                waiting.answer.set_exception(answer)
                waiting.answer.exception()
            else:
                waiting.answer.set_result(answer)
