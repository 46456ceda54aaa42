"""Points whose askers could not wait: the fit went on, and the next asker in a hurry gets what it found."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cachetools import LRUCache

from app.db.studies import OpenStudy
from app.search.suggest import Suggestion

#: Studies for which points are kept; a point is some hundred bytes.
STUDIES_KEPT = 256


class Spare:
    """Kept by one process, for what it is worth: nothing is lost when they are. Threads may share it."""

    def __init__(self) -> None:
        self._points: LRUCache[tuple[str, int], list[Suggestion]] = LRUCache(STUDIES_KEPT)
        self._lock = threading.Lock()

    def keep(self, here: OpenStudy, points: Sequence[Suggestion]) -> None:
        """In place of older ones: newer points have seen more results."""
        with self._lock:
            self._points[_place(here)] = list(points)

    def take(self, here: OpenStudy) -> Suggestion | None:
        """The next point, for the study's present space."""
        with self._lock:
            points = self._points.get(_place(here))
            return points.pop(0) if points else None


def _place(here: OpenStudy) -> tuple[str, int]:
    return here.study.uid, here.study.space_version
