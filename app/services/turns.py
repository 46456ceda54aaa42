"""Whose turn it is in the interpreter: a computation must not hold up a tell, and otherwise long turns are cheaper."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds that a thread may keep the interpreter while another waits, with and without a computation under way.
SHORT_TURN, LONG_TURN = 0.0005, 0.005

_lock = threading.Lock()
_computing = 0


@contextmanager
def short_turns() -> Iterator[None]:
    """For the time of a computation; several at once end with the last."""
    global _computing
    with _lock:
        _computing += 1
        sys.setswitchinterval(SHORT_TURN)
    try:
        yield
    finally:
        with _lock:
            _computing -= 1
            if _computing == 0:
                sys.setswitchinterval(LONG_TURN)
