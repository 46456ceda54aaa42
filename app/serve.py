"""`metatune-server serve`: holds the database, opens the socket, runs the processes, and stops them gently."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from app import log, tracing
from app.cli import is_loopback
from app.connections import Bounded
from app.db import keys
from app.db.holder import hold
from app.db.migrate import migrate
from app.db.session import EVERY_PROJECT, Store
from app.errors import Invalid, NotAvailableYet, Unavailable
from app.main import create_app
from app.settings import PREFIX, Settings

#: Seconds that requests under way may take to finish after SIGTERM.
DRAIN_SECONDS = 20
#: Objects made, less those gone, between two looks of the garbage collector; Python's 700 is for small programs.
GARBAGE_THRESHOLD = 20_000
_SUPERVISOR = "METATUNE_SUPERVISOR_PID"


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
    if settings.traces:
        tracing.check()  # here, where somebody reads it
    store.dispose()

    if settings.workers > 1:  # before the metrics are imported by the workers
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metatune-metrics-")
    for name, value in settings.model_dump().items():
        os.environ[PREFIX + name.upper()] = ",".join(value) if isinstance(value, tuple) else str(value)
    config = uvicorn.Config(
        "app.serve:worker",
        factory=True,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=75,
        http=Bounded,
    )
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)  # many systems start programs with few of them
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    listener = listen(settings)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"metatune is at {address}  (documentation: {address}/docs)", file=sys.stderr, flush=True)
    if settings.workers > 1:
        os.environ[_SUPERVISOR] = str(os.getpid())
        Multiprocess(config, sockets=[listener]).run()
    else:
        uvicorn.Server(config).run(sockets=[listener])
    if holder is not None:
        holder.close()


def worker() -> FastAPI:
    """What each process runs. With several, one whose supervisor was killed leaves too, and frees address and file."""
    settings = Settings.from_environment()
    log.configure(settings.log_level)
    Bounded.header_seconds, Bounded.body_seconds = settings.header_seconds, settings.body_seconds
    Bounded.max_connections = settings.max_connections
    gc.freeze()  # what was imported stays: the collector need not look at it, nor as often at the rest
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)
    supervisor = os.environ.get(_SUPERVISOR)
    if supervisor is not None:
        threading.Thread(target=_leave_with, args=(int(supervisor),), daemon=True).start()
    return create_app(settings)


def _leave_with(supervisor: int) -> None:
    while os.getppid() == supervisor:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


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
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # a peer that takes nothing for so long is gone; connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def refuse_the_open(settings: Settings, store: Store, insecure: bool) -> None:
    """Raises: Invalid, for a server that strangers could reach while it asks nobody for a key."""
    if is_loopback(settings.host) or insecure or settings.auth == "required":
        return
    with store.read(EVERY_PROJECT) as session:
        if keys.any_exists(session):
            return
    raise Invalid(
        f"--host {settings.host} is open to the network, and no key exists. Make one first: "
        "metatune-server keys create --project default --scope read --scope write --scope admin "
        "(or insist with --insecure)"
    )
