"""Studies that something is to be done for, a moment after what was last heard of each.

One thread of each API process; another word of a study begins its moment anew, so that a stream of results is answered
once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from app.db.studies import Address
from app.errors import StudyNotFound


class Due:
    def __init__(
        self, name: str, seconds: float, work: Callable[[Address], None], logger: logging.Logger, failure: str
    ) -> None:
        """seconds: between a word and the work.  failure: what is logged when the work fails; the thread goes on."""
        self.seconds = seconds
        self.work = work
        self.logger = logger
        self.failure = failure
        self._due_at: OrderedDict[Address, float] = OrderedDict()  # rising
        self._changed = threading.Condition()
        self._is_idle = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Work under way is finished first: nothing can interrupt it, and the longest takes a second or two."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def put(self, address: Address) -> None:
        with self._changed:
            self._due_at[address] = time.monotonic() + self.seconds
            self._due_at.move_to_end(address)
            if self._is_idle:  # else the thread wakes by itself, for something that was due before
                self._changed.notify()

    def drop(self, address: Address) -> None:
        with self._changed:
            self._due_at.pop(address, None)

    def __contains__(self, address: Address) -> bool:
        with self._changed:
            return address in self._due_at

    def _run(self) -> None:
        while (address := self._next()) is not None:
            try:
                self.work(address)
            except StudyNotFound:
                continue
            except Exception:
                self.logger.warning(self.failure, exc_info=True, extra={"study": address.name})

    def _next(self) -> Address | None:
        """Waits for a study that is due; None: the process stops."""
        with self._changed:
            while not self._is_stopping:
                if not self._due_at:
                    self._is_idle = True
                    self._changed.wait()
                    self._is_idle = False
                    continue
                address, due_at = next(iter(self._due_at.items()))
                left = due_at - time.monotonic()
                if left <= 0:
                    del self._due_at[address]
                    return address
                self._changed.wait(left)
            return None
