"""Who serves an SQLite file: one server, which holds a lock on the file beside it for as long as it lives.

Decision: the lock is the operating system's (`flock`), not a process id in a file. Context: a server that is killed
cannot clean up. So a lock is never stale, and the text in the file only helps people. Price: it says nothing on network
file systems without locks, where SQLite must not be used anyway.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from app.db.session import Store
from app.errors import Unavailable


def hold(store: Store) -> IO[str] | None:
    """Takes the SQLite file for this server alone; its own processes and the command line may use it too.

    Raises: Unavailable, naming the process that has it.
    """
    if not store.is_sqlite or store.url.database is None:
        return None
    path = Path(f"{Path(store.url.database).resolve()}.lock")  # by whatever name or link it is called
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        handle.seek(0)
        holder = handle.read().strip() or "another process"
        handle.close()
        raise Unavailable(
            f"{store.url.database} is served already by {holder}. Stop that server, or use PostgreSQL for several"
        ) from problem
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    return handle
