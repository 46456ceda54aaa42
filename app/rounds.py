"""What must happen again and again though nobody asks: one thread, and a pause between two rounds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable


class Rounds:
    def __init__(
        self, name: str, seconds: float, each: Callable[[], None], seldom: Callable[[], None], every: int
    ) -> None:
        """each: done in every round.  seldom: after it, in the first round and every so many from there."""
        self.seconds = seconds
        self.each = each
        self.seldom = seldom
        self.every = every
        self._logger = logging.getLogger(f"metatune.{name}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        rounds = 0
        while not self._stop.wait(self.seconds):
            try:
                self.each()
                if rounds % self.every == 0:
                    self.seldom()
                rounds += 1
            except Exception:  # the next round may find the database again
                self._logger.warning("a round failed; the next will try again", exc_info=True)
