"""Where asks and tells wait: those of one study that arrive together are answered together (see `app.api.gather`)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from app.api.gather import Gather
from app.db.session import Store
from app.db.studies import Address
from app.db.tables import Trial
from app.errors import AppError
from app.figures import ASK_SECONDS, ASKS_OPEN, HANDED_OUT, TELLS
from app.measurement import Result
from app.services.ask import Answer, AskCall, Asked, ask, hand_out
from app.services.due import Due
from app.services.memory import Memory
from app.services.speculate import Speculation
from app.services.tell import tell_many

#: Of a deadline, what is left for handing out the free point and for the way back, in seconds.
RESERVE_SECONDS = 0.1
#: Threads that hand out free points for asks whose deadline passed.
FALLBACK_THREADS = 4
#: Pieces of work on results at one time; one study has one at a time.
TELL_THREADS = 8
#: A moment without another ask, and with no result under way, is the end of a wave of them; both in seconds.
MOMENT_SECONDS, WAVE_SECONDS = 0.002, 0.03
ASKS_AT_ONCE = 64
TELLS_AT_ONCE = 256


class Desk:
    """One per process; `threads` computations of suggestions run at one time."""

    def __init__(
        self,
        store: Store,
        threads: int,
        memory: Memory,
        speculation: Speculation | None = None,
        learning: Due | None = None,
    ) -> None:
        self.learning = learning
        self.store = store
        self.memory = memory
        self.speculation = speculation
        self.asks: Gather[Address, AskCall, Answer | None] = Gather(
            lambda place, calls: ask(store, place, calls, memory),
            threads=threads,
            at_once=ASKS_AT_ONCE,
            hold=self._let_results_in,
        )
        self.tells: Gather[Address, Result, Trial] = Gather(self.tell_many, threads=TELL_THREADS, at_once=TELLS_AT_ONCE)
        self.fallbacks = CapacityLimiter(FALLBACK_THREADS)

    def tell_many(self, address: Address, results: list[Result]) -> list[Trial | AppError]:
        """In a thread.  Raises: what `app.services.tell` raises."""
        answers = tell_many(self.store, address, results)
        told = Counter(
            "refused" if isinstance(answer, AppError) else result.state
            for result, answer in zip(results, answers, strict=True)
        )
        for state, n in told.items():
            TELLS.labels(state).inc(n)
        if self.speculation is not None:
            self.speculation.told(place_of(address))
        if self.learning is not None:
            self.learning.put(place_of(address))
        return answers

    async def _let_results_in(self, address: Address) -> None:
        """Before points are computed for several askers: others tell and ask at this moment.

        What they tell makes better points, and a computation for all of them costs less than two for a part each. As
        many as the last time wait for no others, and one waits for nobody unless there were several.
        """
        n_before, n_asks = self.memory.expected.n_askers(address), self.asks.n_waiting(address) or 0
        if not n_before or max(n_before, n_asks) < 2:
            return
        began = due = time.monotonic()
        before: int | None = None
        while (now := time.monotonic()) < began + WAVE_SECONDS:
            n_asks = self.asks.n_waiting(address) or 0
            is_heard = now < due + MOMENT_SECONDS  # later, this loop itself was busy, and could hear nobody
            is_calm = n_asks >= n_before or (n_asks == before and is_heard)
            if is_calm and self.tells.n_waiting(address) is None:
                return
            before, due = n_asks, now + MOMENT_SECONDS
            await asyncio.sleep(MOMENT_SECONDS)

    async def tell(self, address: Address, result: Result) -> Trial:
        """Raises: what `app.services.tell` raises."""
        return await self.tells.submit(address, result)

    async def ask(self, address: Address, call: AskCall, deadline_seconds: float | None) -> Asked:
        """The answer of the computation, or at the deadline a free point; the computation goes on for the others.

        Raises: what `app.services.ask` raises.
        """
        started = time.perf_counter()
        with ASKS_OPEN.track_inprogress():
            asked = await self._answer(address, call, deadline_seconds)
        sources = [_source(trial) for trial in asked.trials]
        ASK_SECONDS.labels(sources[0] if sources else "none").observe(time.perf_counter() - started)
        for source, n in Counter(sources).items():
            HANDED_OUT.labels(source).inc(n)
        return asked

    async def _answer(self, address: Address, call: AskCall, deadline_seconds: float | None) -> Asked:
        place = place_of(address)  # a uid is checked per call, so that all stand in one line
        if self.speculation is not None:
            self.speculation.asked(place)
        computed = self.asks.submit(place, call)
        if deadline_seconds is not None:
            try:
                await asyncio.wait_for(asyncio.shield(computed), max(0.0, deadline_seconds - RESERVE_SECONDS))
            except TimeoutError:
                answer = await run_sync(self._hand_out, place, call, deadline_seconds, limiter=self.fallbacks)
                if answer is not None:
                    return _asked(answer)
        return _asked(await computed)

    def _hand_out(self, place: Address, call: AskCall, deadline_seconds: float) -> Answer | None:
        """None, if the computation was faster after all and has claimed the call."""
        why = f"the deadline of {deadline_seconds:g} s came before the model was ready"
        (answer,) = hand_out(self.store, place, [call], self.memory, why=why)
        return answer


def place_of(address: Address) -> Address:
    return Address(address.project_id, address.name)


def _source(trial: Trial) -> str:
    """Where its point came from, for those who watch the server."""
    if trial.attempt > 1:
        return "again"
    return "speculated" if trial.origin["speculated"] else str(trial.origin["source"])


def _asked(answer: Answer | None) -> Asked:
    if isinstance(answer, AppError):
        raise answer
    if answer is None:
        raise RuntimeError("a call was claimed by nobody")
    return answer
