"""The loop behind `Study.optimize`, and how it shows where it stands."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from metatune.errors import Conflict, MetatuneError, NoResultYet, StudyDone, TrialRemoved
from metatune.trial import Result, Trial

if TYPE_CHECKING:
    from tqdm import tqdm

    from metatune.study import Study

logger = logging.getLogger("metatune")


class Interrupted(BaseException):
    """Another thread ended the loop."""


class Loop:
    """One call of `optimize`: threads that share a budget of trials."""

    def __init__(
        self,
        study: Study,
        objective: Callable[[Trial], Result | None],
        n_trials: int | None,
        n_jobs: int,
        progress: bool,
        max_failures: int,
        ask: Mapping[str, Any],
    ) -> None:
        self._study = study
        self._objective = objective
        self._n_left = n_trials
        self._n_jobs = n_jobs
        self._max_failures = max_failures
        self._ask = ask
        self._progress = Progress(study, n_trials) if progress else None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._n_failures_in_a_row = 0

    def run(self) -> None:
        with contextlib.closing(self._progress) if self._progress else contextlib.nullcontext():
            if self._n_jobs == 1:
                self._work()
                return
            with ThreadPoolExecutor(self._n_jobs, thread_name_prefix="metatune") as pool:
                workers = [pool.submit(self._work) for _ in range(self._n_jobs)]
                try:
                    for worker in workers:
                        worker.result()
                finally:
                    self._ended.set()  # the others finish the trial at hand and end

    def _work(self) -> None:
        try:
            while self._take_one():
                self._evaluate_one()
        except (StudyDone, Interrupted):
            return
        except BaseException:
            self._ended.set()
            raise

    def _take_one(self) -> bool:
        with self._lock:
            if self._ended.is_set() or self._n_left == 0:
                return False
            if self._n_left is not None:
                self._n_left -= 1
            return True

    def _evaluate_one(self) -> None:
        trial: Trial | None = None
        try:
            with self._study.trial(wait=self._wait, **self._ask) as trial:
                result = self._objective(trial)
                if result is not None:
                    trial.tell(result)
                elif trial.state == "running":
                    raise TypeError("the objective returned None and told nothing")
        except (Conflict, TrialRemoved) as lost:
            logger.warning("trial %s: the result is dropped: %s", trial and trial.number, lost)
        except MetatuneError:
            raise
        except Exception as fault:
            logger.warning("trial %s failed", trial and trial.number, exc_info=fault)
            self._count_failure(fault)
        else:
            if trial.state != "failed":
                self._n_failures_in_a_row = 0
        if self._progress and trial:
            self._progress.finished(trial)

    def _count_failure(self, fault: Exception) -> None:
        with self._lock:
            self._n_failures_in_a_row += 1
            if self._n_failures_in_a_row >= self._max_failures:
                raise fault

    def _wait(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise Interrupted


class Progress:
    """A bar on a terminal, a line for each trial elsewhere."""

    def __init__(self, study: Study, n_trials: int | None) -> None:
        self._n_finished = 0
        self._lock = threading.Lock()
        self._objectives = study.directions
        self._best: Trial | None = None
        if len(self._objectives) == 1:
            with contextlib.suppress(NoResultYet):
                self._best = study.best
        self._n_trials = n_trials
        self._bar = _bar(study.name, n_trials) if sys.stderr.isatty() else None

    def finished(self, trial: Trial) -> None:
        with self._lock:
            self._n_finished += 1
            if self._is_better(trial):
                self._best = trial
            best = f"best {self._shown(self._best)} (trial {self._best.number})" if self._best else ""
            if self._bar is not None:
                self._bar.set_postfix_str(best, refresh=False)
                self._bar.update()
                return
            of = f"/{self._n_trials}" if self._n_trials else ""
            print(
                f"{self._n_finished}{of}  trial {trial.number} {trial.state}  {self._shown(trial)}  {best}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    def _is_better(self, trial: Trial) -> bool:
        is_eligible = trial.state == "complete" and trial.document.get("feasible") is not False
        if len(self._objectives) > 1 or not is_eligible or not trial.values:
            return False
        if self._best is None or not self._best.values:
            return True
        [(name, direction)] = self._objectives.items()
        new, old = trial.values[name], self._best.values[name]
        return new > old if direction == "maximize" else new < old

    def _shown(self, trial: Trial) -> str:
        return " ".join(f"{value:.6g}" for value in (trial.values or {}).values())

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _bar(title: str, n_trials: int | None) -> tqdm[Any]:
    from tqdm import tqdm  # not before it is drawn

    # a terminal that does not know its size has none, and tqdm would draw nothing on it
    columns, lines = shutil.get_terminal_size()
    return tqdm(total=n_trials, unit=" trials", desc=title, ncols=columns, nrows=lines)
