"""The next suggestion, computed as soon as a result was told and before anybody asks.

One thread of each API process; of a study only its newest state counts. It waits a moment first: a worker that tells
and asks at once would find its ask computed by the thread that answers it, and a stream of results needs no point after
each. After an ask nothing is prepared: the next thing that a busy study hears is a result, which makes such a point
worthless.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict

from app.db import studies
from app.db.session import Store
from app.db.studies import Address
from app.errors import StudyNotFound
from app.services.memory import Memory
from app.services.plan import Wish, foresee, is_modelled, line_of
from app.services.priors import is_open

logger = logging.getLogger("metatune.speculate")

#: Between a result and the computation, in which an ask may come; another result begins it anew.
PAUSE_SECONDS = 0.1
#: A study that nobody has asked for longer needs no suggestions ahead.
ASKED_WITHIN_SECONDS = 3600.0
#: Studies whose last ask is remembered.
STUDIES_KEPT = 1024
NEXT = Wish(count=1, worker=None, resume=False, fixed={}, once=None)


def speculate(store: Store, address: Address, memory: Memory) -> None:
    """Computes the next suggestion, if the next ask would get a new one from a model.  Raises: StudyNotFound."""
    with memory.histories.turn(address):
        with store.read(address.project_id) as session:
            here = studies.open_study(session, address)
            if here.has_overdue or not is_modelled(here) or is_open(here) or foresee(here, [NEXT]).in_line is None:
                return
            lending = memory.priors.look(here)
            news = memory.histories.news(here)
        history = memory.histories.grown(here, news)
    line_of(here, history, memory.lines, lending().prior).points(here.study.next_number, 1, speculated=True)


class Speculation:
    """The thread, and what it is told of asks and results."""

    def __init__(self, store: Store, memory: Memory) -> None:
        self.store = store
        self.memory = memory
        self._asked_at: OrderedDict[Address, float] = OrderedDict()
        self._due_at: OrderedDict[Address, float] = OrderedDict()  # rising
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="speculation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A point under way is finished first: nothing can interrupt it, and the longest takes a second or two."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def asked(self, address: Address) -> None:
        """Whoever asks now computes the point that was to be prepared."""
        with self._changed:
            self._due_at.pop(address, None)
            self._asked_at[address] = time.monotonic()
            self._asked_at.move_to_end(address)
            if len(self._asked_at) > STUDIES_KEPT:
                self._asked_at.popitem(last=False)

    def told(self, address: Address) -> None:
        with self._changed:
            now = time.monotonic()
            if now - self._asked_at.get(address, -ASKED_WITHIN_SECONDS) >= ASKED_WITHIN_SECONDS:
                return
            self._due_at[address] = now + PAUSE_SECONDS
            self._due_at.move_to_end(address)
            self._changed.notify()

    def _run(self) -> None:
        while (address := self._next()) is not None:
            try:
                speculate(self.store, address, self.memory)
            except StudyNotFound:
                continue
            except Exception:  # the ask itself will say what is wrong
                logger.warning("no suggestion could be prepared", exc_info=True, extra={"study": address.name})

    def _next(self) -> Address | None:
        """Waits for a study that is due; None: the process stops."""
        with self._changed:
            while not self._is_stopping:
                if not self._due_at:
                    self._changed.wait()
                    continue
                address, due_at = next(iter(self._due_at.items()))
                left = due_at - time.monotonic()
                if left <= 0:
                    del self._due_at[address]
                    return address
                self._changed.wait(left)
            return None
