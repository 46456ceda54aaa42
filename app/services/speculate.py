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

from cachetools import LRUCache

from app.db import studies
from app.db.session import Store
from app.db.studies import Address
from app.services.due import Due
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
    memory.expected.note(address, 0)


class Speculation:
    """The thread, and what it is told of asks and results."""

    def __init__(self, store: Store, memory: Memory) -> None:
        self.due = Due(
            "speculation",
            PAUSE_SECONDS,
            lambda address: speculate(store, address, memory),
            logger,
            "no suggestion could be prepared; the ask itself will say why",
        )
        self._asked_at: LRUCache[Address, float] = LRUCache(STUDIES_KEPT)
        self._lock = threading.Lock()

    def start(self) -> None:
        self.due.start()

    def stop(self) -> None:
        self.due.stop()

    def asked(self, address: Address) -> None:
        """Whoever asks now computes the point that was to be prepared."""
        with self._lock:
            self._asked_at[address] = time.monotonic()
        self.due.drop(address)

    def told(self, address: Address) -> None:
        with self._lock:
            asked_at = self._asked_at.get(address)
        if asked_at is not None and time.monotonic() - asked_at < ASKED_WITHIN_SECONDS:
            self.due.put(address)
