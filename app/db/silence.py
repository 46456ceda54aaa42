"""PostgreSQL connections that do not wait without end; loaded only where there is PostgreSQL.

The kernel notices a cut cable, since nobody acknowledges what it sends. A database that hangs, or a proxy before it
that holds what it gets, acknowledges everything and says nothing: every call would hold its thread for good.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus


def impatient(seconds: float) -> type[psycopg.Connection[Any]]:
    """Connections that are given up, with an OperationalError, when a statement takes longer."""

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, seconds if timeout is None else timeout)
            except psycopg.OperationalError:
                if timeout is None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                    self.close()  # its statement is still under way, and whatever comes would answer that one
                raise

    return Impatient
