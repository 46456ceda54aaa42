"""Which studies' next points are not there yet, as far as one process knows: their asks begin with the computation.

An ask begins by looking, under the study's lock, whether what it needs is there. Where many workers keep a model busy
it never is, and the look costs a transaction. A process that is wrong about it loses time and nothing else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from app.db.studies import Address

#: Studies that are remembered.
STUDIES_KEPT = 1024


class Expected:
    """Threads may share it."""

    def __init__(self) -> None:
        self._missing: OrderedDict[Address, None] = OrderedDict()
        self._lock = threading.Lock()

    def are_missing(self, address: Address) -> bool:
        with self._lock:
            return address in self._missing

    def note(self, address: Address, *, missing: bool) -> None:
        """missing: the study's last ask had to compute its points; else some were prepared, or need no model."""
        with self._lock:
            if missing:
                self._missing[address] = None
                self._missing.move_to_end(address)
            else:
                self._missing.pop(address, None)
            while len(self._missing) > STUDIES_KEPT:
                self._missing.popitem(last=False)
