"""Which studies' next points are not there yet, as far as one process knows: their asks begin with the computation.

An ask begins by looking, under the study's lock, whether what it needs is there. Where many workers keep a model busy
it never is, and the look costs a transaction. A process that is wrong about it loses time and nothing else.
"""

from __future__ import annotations

import threading

from cachetools import LRUCache

from app.db.studies import Address

#: Studies that are remembered.
STUDIES_KEPT = 1024


class Expected:
    """Threads may share it."""

    def __init__(self) -> None:
        self._askers: LRUCache[Address, int] = LRUCache(STUDIES_KEPT)
        self._lock = threading.Lock()

    def are_missing(self, address: Address) -> bool:
        return self.n_askers(address) > 0

    def n_askers(self, address: Address) -> int:
        """How many the study's last computations were for; 0, if its points are there, or may be."""
        with self._lock:
            return self._askers.get(address, 0)

    def note(self, address: Address, n_askers: int) -> None:
        """n_askers: for so many the study's last ask had to compute; 0, if points were prepared, or need no model.

        Of several the number falls by one at a time, so that one who came too late does not part the others.
        """
        with self._lock:
            if n_askers:
                self._askers[address] = max(n_askers, self._askers.get(address, 0) - 1)
            else:
                self._askers.pop(address, None)
