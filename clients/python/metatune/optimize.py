"""The loop behind `optimize`: threads, or tasks, that share a budget of trials.

`Budget` knows what both loops know: how many trials are left, and how many failed in a row.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from metatune.attended import Attended
from metatune.errors import Conflict, MetatuneError, NoResultYet, StudyDone, TrialRemoved
from metatune.progress import Progress
from metatune.record import LEASE_SECONDS, worker_named
from metatune.trial import AsyncTrial, Failed, Result, Trial, TrialRecord

if TYPE_CHECKING:
    from metatune.async_study import AsyncStudy
    from metatune.study import Study

logger = logging.getLogger("metatune")


class Interrupted(BaseException):
    """Another thread ended the loop."""


class Terminated(SystemExit):
    """SIGTERM, which preempted machines send: the program exits by itself, with that signal's code."""


class Budget:
    """How many trials are left, and how many failed in a row. Thread-safe."""

    def __init__(self, n_trials: int | None, max_failures: int) -> None:
        self._n_left = n_trials
        self._max_failures = max_failures
        self._n_failures_in_a_row = 0
        self._n_finished = 0
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def take_one(self) -> bool:
        with self._lock:
            if self.ended.is_set() or self._n_left == 0:
                return False
            if self._n_left is not None:
                self._n_left -= 1
            return True

    def failed(self, trial: TrialRecord | None, fault: Exception) -> None:
        """Raises: the fault, if it is one too many."""
        if isinstance(fault, Failed):  # said on purpose: where in our code makes nobody wiser
            logger.warning("trial %s failed: %s", trial and trial.number, str(fault).partition("\n")[0])
        else:
            logger.warning("trial %s failed", trial and trial.number, exc_info=fault)
        with self._lock:
            self._n_finished += 1
            self._n_failures_in_a_row += 1
            if self._n_failures_in_a_row >= self._max_failures:
                raise fault

    def count(self, trial: TrialRecord) -> None:
        with self._lock:
            self._n_finished += 1
            if trial.state != "failed":
                self._n_failures_in_a_row = 0

    def done(self, done: StudyDone) -> None:
        """The study has no more to give: the end of a run, but news to one that got nothing."""
        with self._lock:
            is_news = self._n_finished == 0
            self._n_finished += 1  # once is enough, however many jobs there are
        if is_news:
            logger.warning("%s", done)


def jobs_of(n_jobs: int, resume: bool, ask: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each job asks with. A job that resumes must not take up what its neighbour is doing: it has its own name."""
    if n_jobs < 1:
        raise ValueError(f"n_jobs is at least 1, got {n_jobs}")
    worker = worker_named(ask.get("worker"), resume)
    return [{**ask, "worker": worker if n_jobs == 1 else f"{worker}/{job}"} for job in range(n_jobs)]


class Loop:
    """One call of `Study.optimize`."""

    def __init__(
        self,
        study: Study,
        objective: Callable[[Trial], Result | None],
        n_trials: int | None,
        n_jobs: int,
        progress: bool,
        max_failures: int,
        resume: bool,
        ask: Mapping[str, Any],
    ) -> None:
        self._study = study
        self._objective = objective
        self._jobs = jobs_of(n_jobs, resume, ask)
        self._resume = resume
        self.budget = Budget(n_trials, max_failures)
        self._progress = Progress(study.name, n_trials, study.directions, self._best()) if progress else None
        self._under_way: dict[int, Attended] = {}
        self._fault: BaseException | None = None
        #: We were told to end: threads that still ask for a trial are not waited for.
        self.is_abandoned = False

    def write(self, line: str) -> None:
        """A line on standard error, which the bar makes room for."""
        if self._progress:
            self._progress.write(line)
        else:
            print(line, file=sys.stderr, flush=True)

    @property
    def is_under_way(self) -> bool:
        return bool(self._under_way)

    def run(self) -> None:
        """Raises: what ended the loop, if it was no end of the study or the budget."""
        with contextlib.closing(self._progress) if self._progress else contextlib.nullcontext(), sigterm_raises():
            if len(self._jobs) == 1:
                self._work(self._jobs[0])
                return
            threads = [threading.Thread(target=self._work_aside, args=(job,), daemon=True) for job in self._jobs]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    while thread.is_alive() and (self.is_under_way or not self.is_abandoned):
                        thread.join(0.2)  # not without an end: a signal is heard in between
            except BaseException:  # Ctrl-C: threads cannot be interrupted, so their trials are given back for them
                self.budget.ended.set()
                self.give_back()
                raise
        if self._fault is not None:
            raise self._fault

    def give_back(self) -> None:
        """Releases what is under way, for other workers."""
        for attended in list(self._under_way.values()):
            attended.give_back()

    def _work_aside(self, job: Mapping[str, Any]) -> None:
        try:
            self._work(job)
        except BaseException as fault:
            self._fault = self._fault or fault

    def _work(self, job: Mapping[str, Any]) -> None:
        resume = self._resume
        try:
            while self.budget.take_one():
                self._evaluate_one({**job, "resume": resume})
                resume = False
        except StudyDone as done:
            self.budget.done(done)
        except Interrupted:
            return
        except BaseException:
            self.budget.ended.set()
            raise

    def _evaluate_one(self, ask: Mapping[str, Any]) -> None:
        trial: Trial | None = None
        try:
            with self._attended(**ask) as trial:
                result = self._objective(trial)
                if result is not None:
                    trial.tell_or_offer(result)
                elif trial.state == "running":
                    raise TypeError("the objective returned None and told nothing")
        except (Conflict, TrialRemoved) as lost:
            logger.warning("trial %s: the result is dropped: %s", trial and trial.number, lost)
        except MetatuneError:
            raise
        except Exception as fault:
            self.budget.failed(trial, fault)
        else:
            self.budget.count(trial)
        if self._progress and trial:
            self._progress.finished(trial)

    @contextlib.contextmanager
    def _attended(self, lease_seconds: float = LEASE_SECONDS, **ask: Any) -> Iterator[Trial]:
        while not (asked := self._study.ask(lease_seconds=lease_seconds, **ask)):
            if asked.done:
                raise StudyDone(self._study.name, asked.reason)
            self._study._note_wait(asked)
            if self.budget.ended.wait(asked.pause_seconds):
                raise Interrupted
        attended = Attended(asked[0], lease_seconds)
        self._under_way[asked[0].number] = attended
        try:
            with attended as trial:
                yield trial
        finally:
            del self._under_way[asked[0].number]

    def _best(self) -> Trial | None:
        if len(self._study.directions) == 1:
            with contextlib.suppress(NoResultYet):
                return self._study.best
        return None


class AsyncLoop:
    """One call of `AsyncStudy.optimize`."""

    def __init__(
        self,
        study: AsyncStudy,
        objective: Callable[[AsyncTrial], Awaitable[Result | None] | Result | None],
        n_trials: int | None,
        n_jobs: int,
        progress: bool,
        max_failures: int,
        resume: bool,
        ask: Mapping[str, Any],
    ) -> None:
        self._study = study
        self._objective = objective
        self._jobs = jobs_of(n_jobs, resume, ask)
        self._resume = resume
        self._n_trials = n_trials
        self._is_shown = progress
        self.budget = Budget(n_trials, max_failures)
        self._progress: Progress | None = None

    async def run(self) -> None:
        import asyncio

        if self._is_shown:
            self._progress = Progress(self._study.name, self._n_trials, self._study.directions, await self._best())
        tasks = [asyncio.create_task(self._work(job)) for job in self._jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:  # one that failed, or our own cancellation: the others give back what they have, undisturbed
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            if self._progress:
                self._progress.close()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError):
                raise end

    async def _work(self, job: Mapping[str, Any]) -> None:
        resume = self._resume
        try:
            while self.budget.take_one():
                await self._evaluate_one({**job, "resume": resume})
                resume = False
        except StudyDone as done:
            self.budget.done(done)
        except BaseException:
            self.budget.ended.set()
            raise

    async def _evaluate_one(self, ask: Mapping[str, Any]) -> None:
        trial: AsyncTrial | None = None
        try:
            async with self._study.trial(**ask) as trial:
                result = await self._evaluated(trial)
                if result is not None:
                    await trial.tell_or_offer(result)
                elif trial.state == "running":
                    raise TypeError("the objective returned None and told nothing")
        except (Conflict, TrialRemoved) as lost:
            logger.warning("trial %s: the result is dropped: %s", trial and trial.number, lost)
        except MetatuneError:
            raise
        except Exception as fault:
            self.budget.failed(trial, fault)
        else:
            self.budget.count(trial)
        if self._progress and trial:
            self._progress.finished(trial)

    async def _evaluated(self, trial: AsyncTrial) -> Result | None:
        import asyncio

        objective: Callable[[AsyncTrial], Any] = self._objective
        # what is no coroutine function may take its time: the heartbeat goes on meanwhile
        is_quick = inspect.iscoroutinefunction(objective)
        answer: Any = objective(trial) if is_quick else await asyncio.to_thread(objective, trial)
        result: Result | None = await answer if inspect.isawaitable(answer) else answer
        return result

    async def _best(self) -> AsyncTrial | None:
        if len(self._study.directions) == 1:
            with contextlib.suppress(NoResultYet):
                return await self._study.best
        return None


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM becomes an exception, so that what is under way is given back; unless the program has its own way."""
    is_ours_to_set = (
        sys.platform != "win32"
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not is_ours_to_set:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
