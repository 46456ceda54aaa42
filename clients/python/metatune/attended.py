"""Keeps a trial ours while a block works on it, and sees to it that it ends.

An ending without a result tells why: pruned, infeasible, failed, or, if interrupted, given back.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias

from metatune.errors import Conflict, MetatuneError, NotFound, ServerUnreachable, StudyReplaced, Unavailable
from metatune.trial import AsyncTrial, Failed, Infeasible, Pruned, Signal, Trial, TrialRecord

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("metatune")

BEATS_PER_LEASE = 4  # three in a row may be missed
FAREWELL_SECONDS = 5.0  # an interrupted program wants to end
MAX_REASON = 8000  # the end of a long traceback says most; a server keeps 10,000 characters

#: How a block ended that told no result itself, and what it has to say about that.
Ending: TypeAlias = tuple[Literal["failed", "infeasible", "pruned", "released", "nothing"], str | None]


def ending_of(fault: BaseException | None) -> Ending:
    if fault is None:
        return "failed", "the block ended without a result"
    if isinstance(fault, Pruned):
        return "pruned", str(fault) or None
    if isinstance(fault, Infeasible):
        return "infeasible", str(fault) or None
    if isinstance(fault, (Conflict, Unavailable, ServerUnreachable)):
        return "nothing", None  # the server knows, or does not hear
    if isinstance(fault, Failed):
        return "failed", str(fault)[-MAX_REASON:] or "it failed"
    if isinstance(fault, Exception):
        return "failed", traceback_of(fault)
    return "released", None


def traceback_of(fault: BaseException) -> str:
    """What went wrong in one line, and below it where; of a long one the end, where it happened."""
    import traceback

    first = f"{type(fault).__name__}: {fault}".strip()[:1000]
    text = "".join(traceback.format_exception(type(fault), fault, fault.__traceback__))
    room = MAX_REASON - len(first) - 2
    return f"{first}\n\n{text if len(text) <= room else '…' + text[1 - room :]}"


def still_ours(fault: MetatuneError, *, is_over: bool) -> Signal | None:
    """What a failed heartbeat means: a signal to stop, or None: the next beat is the retry."""
    if isinstance(fault, (NotFound, StudyReplaced)):
        return Signal(stop=True, reason=str(fault))
    if isinstance(fault, Conflict):  # told in the meantime, or another worker's: the next call says which
        return Signal(stop=not is_over, reason=str(fault))
    return None


def _note(trial: TrialRecord, passing: MetatuneError) -> None:
    logger.debug("heartbeat of trial %d: %s", trial.number, passing)


class Attended:
    """`with Attended(trial, lease_seconds):` for a synchronous client; the heartbeat is a thread."""

    def __init__(self, trial: Trial, lease_seconds: float) -> None:
        self.trial = trial
        self._pause_seconds = lease_seconds / BEATS_PER_LEASE
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"metatune-heartbeat-{trial.number}", daemon=True)

    def _beat(self) -> None:
        trial = self.trial
        while not self._done.wait(self._pause_seconds):
            try:
                trial._connection.call(trial._beating(), retry_seconds=0)
            except MetatuneError as fault:
                signal = still_ours(fault, is_over=self._done.is_set())
                if signal is not None:
                    trial.signal = signal
                    return
                _note(trial, fault)

    def __enter__(self) -> Trial:
        self._thread.start()
        return self.trial

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._done.set()
        self._thread.join(timeout=1.0)
        if self.trial.state == "running":
            self._end(fault)
        return isinstance(fault, (Pruned, Infeasible))

    def _end(self, fault: BaseException | None) -> None:
        how, reason = ending_of(fault)
        if how == "released":
            self.give_back()
        elif how != "nothing":
            with contextlib.suppress(MetatuneError) if how == "failed" and fault else contextlib.nullcontext():
                self.trial._deliver(self.trial._ending(how, reason))  # what went wrong in the block matters more

    def give_back(self) -> None:
        """Another worker may take it. Does not wait long: the program wants to end."""
        self._done.set()
        with contextlib.suppress(MetatuneError):
            self.trial._connection.call(self.trial._releasing(), retry_seconds=FAREWELL_SECONDS)


class AsyncAttended:
    """The same for asyncio; the heartbeat is a task."""

    def __init__(self, trial: AsyncTrial, lease_seconds: float) -> None:
        self.trial = trial
        self._pause_seconds = lease_seconds / BEATS_PER_LEASE
        self._task: asyncio.Task[None] | None = None

    async def _beat(self) -> None:
        import asyncio

        trial = self.trial
        while True:
            await asyncio.sleep(self._pause_seconds)
            try:
                await trial._connection.call(trial._beating(), retry_seconds=0)
            except MetatuneError as fault:
                signal = still_ours(fault, is_over=False)
                if signal is not None:
                    trial.signal = signal
                    return
                _note(trial, fault)

    async def __aenter__(self) -> AsyncTrial:
        import asyncio

        self._task = asyncio.create_task(self._beat(), name=f"metatune-heartbeat-{self.trial.number}")
        return self.trial

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        import asyncio

        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.trial.state == "running":
            await self._end(fault)
        return isinstance(fault, (Pruned, Infeasible))

    async def _end(self, fault: BaseException | None) -> None:
        how, reason = ending_of(fault)
        if how == "released":
            with contextlib.suppress(MetatuneError):
                await self.trial._connection.call(self.trial._releasing(), retry_seconds=FAREWELL_SECONDS)
        elif how != "nothing":
            with contextlib.suppress(MetatuneError) if how == "failed" and fault else contextlib.nullcontext():
                await self.trial._deliver(self.trial._ending(how, reason))
