"""`metatune-server serve`: holds the database, opens the socket, runs the processes, and stops them gently."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import IO

import uvicorn
from uvicorn.supervisors import Multiprocess

from app import log
from app.cli import is_loopback
from app.db import keys
from app.db.migrate import migrate
from app.db.session import Store
from app.errors import Invalid, NotAvailableYet, Unavailable
from app.settings import PREFIX, Settings

#: Seconds that requests under way may take to finish after SIGTERM.
DRAIN_SECONDS = 20


def serve(settings: Settings, *, roles: str, insecure: bool) -> None:
    """Returns when the server was told to stop.  Raises: AppError, with what to do."""
    if set(roles.split(",")) != {"api"}:
        raise NotAvailableYet(f"--roles takes: api; got {roles!r}. The worker role comes with jobs")
    log.configure(settings.log_level)
    store = Store(settings.database)
    holder = hold(store)
    migrate(store)
    store.check()
    refuse_the_open(settings, store, insecure)
    store.dispose()

    if settings.workers > 1:  # before the metrics are imported by the workers
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metatune-metrics-")
    for name, value in settings.model_dump().items():
        os.environ[PREFIX + name.upper()] = ",".join(value) if isinstance(value, tuple) else str(value)
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=65_536,
    )
    listener = listen(settings)
    host, port = listener.getsockname()[:2]
    print(
        f"metatune is at http://{f'[{host}]' if ':' in host else host}:{port}  (documentation: /docs)",
        file=sys.stderr,
        flush=True,
    )
    if settings.workers > 1:
        Multiprocess(config, target=Server(config).run, sockets=[listener]).run()
    else:
        Server(config).run(sockets=[listener])
    if holder is not None:
        holder.close()


class Server(uvicorn.Server):
    """Ends event streams as soon as it is told to stop, so that they do not hold up the drain."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = getattr(self.config.loaded_app, "app", self.config.loaded_app)
        while app is not None and not hasattr(app, "state"):
            app = getattr(app, "app", None)
        closing = getattr(getattr(app, "state", None), "closing", None)
        if closing is not None:
            closing.set()
        super().handle_exit(signal.SIGTERM if sig == signal.SIGINT and self.config.workers > 1 else sig, frame)


def listen(settings: Settings) -> socket.socket:
    """Raises: Unavailable, if the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as problem:
        raise Unavailable(
            f"cannot listen on {settings.host} port {settings.port}: {problem.strerror}; name another with --port"
        ) from problem
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def refuse_the_open(settings: Settings, store: Store, insecure: bool) -> None:
    """Raises: Invalid, for a server that strangers could reach while it asks nobody for a key."""
    if is_loopback(settings.host) or insecure or settings.auth == "required":
        return
    with store.read() as session:
        if keys.any_exists(session):
            return
    raise Invalid(
        f"--host {settings.host} is open to the network, and no key exists. Make one first: "
        "metatune-server keys create --project default --scope read --scope write --scope admin "
        "(or insist with --insecure)"
    )


def hold(store: Store) -> IO[str] | None:
    """Takes the SQLite file for this server alone; its own processes and the command line may use it too.

    Raises: Unavailable, naming the process that has it.
    """
    if not store.is_sqlite or store.url.database is None:
        return None
    path = Path(f"{store.url.database}.lock")
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
