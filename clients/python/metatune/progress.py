"""How `optimize` shows where it stands: a bar on a terminal, a line for each trial elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from typing import TextIO

from metatune.trial import TrialRecord

logger = logging.getLogger("metatune")

BAR = 24
#: Back to the beginning of the line, and nothing left on it.
CLEARED = "\r\x1b[K"


class Progress:
    """Thread-safe.

    directions: by objective name.  best: what the study had found before.
    """

    def __init__(self, title: str, n_trials: int | None, directions: dict[str, str], best: TrialRecord | None) -> None:
        self._title = title
        self._n_trials = n_trials
        self._objectives = directions
        self._best = best
        self._n_finished = 0
        self._started_at = time.monotonic()
        self._lock = threading.Lock()
        self._out: TextIO = sys.stderr
        self._is_drawn = sys.stderr.isatty()
        if self._is_drawn:
            self._draw()
            logger.addFilter(self._make_room)

    def write(self, line: str) -> None:
        """A line of somebody else's, above the bar."""
        with self._lock:
            if not self._is_drawn:
                print(line, file=self._out, flush=True)
                return
            print(f"{CLEARED}{line}", file=self._out)
            self._draw()

    def _make_room(self, record: object) -> bool:
        """The log is about to write a line where the bar stands; the next trial draws it again."""
        with self._lock:
            print(CLEARED, end="", file=self._out, flush=True)
        return True

    def finished(self, trial: TrialRecord) -> None:
        with self._lock:
            self._n_finished += 1
            if self._is_better(trial):
                self._best = trial
            if self._is_drawn:
                self._draw()
                return
            of = f"/{self._n_trials}" if self._n_trials else ""
            line = f"{self._n_finished}{of}  trial {trial.number} {trial.state}  {_shown(trial)}  {self._best_so_far()}"
            print(line.rstrip(), file=self._out, flush=True)

    def close(self) -> None:
        if self._is_drawn:
            logger.removeFilter(self._make_room)
            with self._lock:
                self._draw()
                print(file=self._out, flush=True)

    def _draw(self) -> None:
        seconds = time.monotonic() - self._started_at
        if self._n_trials:
            share = self._n_finished / self._n_trials
            left = f"<{_clock(seconds / share - seconds)}" if self._n_finished else ""
            bar = ("█" * round(share * BAR)).ljust(BAR, "░")
            count = f"{self._n_finished}/{self._n_trials} [{_clock(seconds)}{left}]"
            line = f"{self._title} {bar} {count} {self._best_so_far()}"
        else:
            line = f"{self._title} {self._n_finished} trials [{_clock(seconds)}] {self._best_so_far()}"
        columns = shutil.get_terminal_size().columns
        print(f"\r{line[: columns - 1]}\x1b[K", end="", file=self._out, flush=True)

    def _best_so_far(self) -> str:
        return f"best {_shown(self._best)} (trial {self._best.number})" if self._best else ""

    def _is_better(self, trial: TrialRecord) -> bool:
        is_eligible = trial.state == "complete" and trial.document.get("feasible") is not False
        if len(self._objectives) > 1 or not is_eligible or not trial.values:
            return False
        if self._best is None or not self._best.values:
            return True
        [(name, direction)] = self._objectives.items()
        new, old = trial.values[name], self._best.values[name]
        return new > old if direction == "maximize" else new < old


def _shown(trial: TrialRecord) -> str:
    return " ".join(f"{value:.6g}" for value in (trial.values or {}).values())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
