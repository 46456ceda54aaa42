"""For what comes true in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Generous: what recovers does so within a second or two.
PATIENCE = 60.0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
