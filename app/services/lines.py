"""Points of consecutive numbers, computed one after the other on one state of a study's log.

A suggestion is a function of the log, so a point that was computed before it was asked for is the point that would be
computed now, if the log is still the same; and if all that changed is that the points before it were handed out, it is
so too, for each was computed with those before it as pending. Whoever needs a point first computes it; whoever needs
it meanwhile waits for that. See docs/decisions/histories-that-grow.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cachetools import LRUCache

from app.db.studies import OpenStudy
from app.search.suggest import Suggestion
from app.services.turns import short_turns

#: Studies for which a line is kept; with a Gaussian process of 300 trials it is some megabytes.
LINES_KEPT = 16


@dataclass(frozen=True)
class State:
    """What the points of a study's next numbers depend on; all else of its definition never changes."""

    study_id: int
    space_version: int
    next_number: int
    n_changes: int
    knowledge_version: int | None = None

    @classmethod
    def of(cls, here: OpenStudy) -> State:
        study = here.study
        return cls(study.id, study.space_version, study.next_number, study.n_changes, study.knowledge_version)


#: Of a line that nobody is to find again.
NOWHERE = State(0, 0, 0, 0)


@dataclass(frozen=True)
class Computed:
    """speculated: before anybody had asked for it."""

    suggestion: Suggestion
    speculated: bool


class Line:
    """`state` is where the study stands, or will once the points before are handed out."""

    def __init__(self, state: State, points: Iterator[Suggestion]) -> None:
        self.state = state
        self._first = state.next_number
        self._points = points
        self._computed: list[Computed] = []
        self._is_at_end = False
        self._fault: Exception | None = None
        self._lock = threading.Lock()

    def ready(self, number: int, count: int) -> list[Computed] | None:
        """The points from a number on, if that many are there already, or all that there are."""
        start = number - self._first
        if len(self._computed) < start + count and not self._is_at_end:
            return None
        return self._computed[start : start + count]

    def points(self, number: int, count: int, *, speculated: bool = False) -> list[Computed]:
        """The points from a number on, fewer if the space has no more."""
        stop = number - self._first + count
        with self._lock, short_turns():
            while len(self._computed) < stop and not self._is_at_end:
                if self._fault is not None:  # whoever waited hears it as well
                    raise self._fault
                try:
                    point = next(self._points, None)
                except Exception as fault:
                    self._fault, self.state = fault, NOWHERE
                    raise
                if point is None:
                    self._is_at_end = True
                else:
                    self._computed.append(Computed(point, speculated))
        return self._computed[number - self._first : stop]


class Lines:
    """The latest line of each study, kept by one process. Threads may share it."""

    def __init__(self) -> None:
        self._lines: LRUCache[int, Line] = LRUCache(LINES_KEPT)
        self._lock = threading.Lock()

    def at(self, state: State) -> Line | None:
        with self._lock:
            line = self._lines.get(state.study_id)
            return line if line is not None and line.state == state else None

    def begin(self, state: State, points: Callable[[], Iterator[Suggestion]]) -> Line:
        """The line that goes on from this state; a new one, if there is none."""
        with self._lock:
            line = self._lines.get(state.study_id)
            if line is None or line.state != state:
                line = self._lines[state.study_id] = Line(state, points())
            return line

    def follow(self, line: Line, state: State) -> None:
        """All that changed is that points of the line were handed out."""
        with self._lock:
            line.state = state
