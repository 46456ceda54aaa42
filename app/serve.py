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
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from app import log, tracing
from app.api.operations import VERSION
from app.cli import is_loopback
from app.connections import Bounded
from app.db import engine, keys
from app.db.holder import hold
from app.db.migrate import migrate
from app.db.session import EVERY_PROJECT, Store
from app.errors import Invalid, Unavailable
from app.host import SUPERVISOR, Host
from app.main import create_app
from app.settings import PREFIX, Settings

#: Seconds that requests under way may take to finish after SIGTERM.
DRAIN_SECONDS = 20
#: Objects made, less those gone, between two looks of the garbage collector; Python's 700 is for small programs.
GARBAGE_THRESHOLD = 20_000
_SUPERVISOR = "METATUNE_SUPERVISOR_PID"
ROLES = frozenset({"api", "worker"})
#: How uvicorn serves, in every role.
HTTP: dict[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": DRAIN_SECONDS,
    "timeout_keep_alive": 75,
    "http": Bounded,
}


def roles_of(text: str | None) -> frozenset[str]:
    """Both, unless told; where the engine of jobs is not installed (the slim process), the API alone.

    Raises: Invalid.
    """
    if text is None:
        return ROLES if engine.is_installed() else frozenset({"api"})
    roles = frozenset(part.strip() for part in text.replace("both", "api,worker").split(","))
    if not roles or roles - ROLES:
        raise Invalid(f"--roles takes api, worker, or both; got {text!r}")
    if "worker" in roles and not engine.is_installed():
        raise Invalid("the worker role needs: pip install 'metatune-server[worker]'")
    return roles


def serve(settings: Settings, *, roles: str | None, insecure: bool) -> None:
    """Returns when the server was told to stop.  Raises: AppError, with what to do."""
    wanted = roles_of(roles)
    log.configure(settings.log_level)
    if wanted == {"worker"}:
        serve_worker(settings, insecure)
        return
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
    config = uvicorn.Config("app.serve:worker", factory=True, workers=settings.workers, **HTTP)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)  # many systems start programs with few of them
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    listener = listen(settings)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"metatune is at {address}  (documentation: {address}/docs)", file=sys.stderr, flush=True)
    jobs_host = Host(settings) if "worker" in wanted else None
    if jobs_host is not None:
        jobs_host.start()
    try:
        if settings.workers > 1:
            os.environ[_SUPERVISOR] = str(os.getpid())
            Multiprocess(config, sockets=[listener]).run()
        else:
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        if jobs_host is not None:
            jobs_host.stop()
    if holder is not None:
        holder.close()


def serve_worker(settings: Settings, insecure: bool) -> None:
    """Hosts jobs, and answers what only a worker can, until it is told to stop.  Raises: AppError."""
    from app.worker.engine import Engine  # here: it takes a second, which an API process does without
    from app.worker.watch import watch

    # What JAX has compiled is kept on disk: every new shape would wait for seconds, after every start again.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "metatune" / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    store = Store(settings.database)
    migrate(store)
    store.check()
    refuse_the_open(settings, store, insecure)
    listener = listen(settings)
    address = settings.worker_address or address_of(listener, settings)
    jobs_engine = Engine(store, settings, address=address, version=VERSION)
    rounds = watch(jobs_engine)
    jobs_engine.start()
    rounds.start()
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None:
        threading.Thread(target=_leave_with, args=(int(supervisor),), daemon=True).start()
    print(f"metatune hosts jobs, and listens at {address}", file=sys.stderr, flush=True)
    config = uvicorn.Config(create_app(settings, is_worker=True), **HTTP)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        rounds.stop()
        jobs_engine.stop()
        store.dispose()
        sys.stderr.flush()
        os._exit(0)  # trainings under way are not waited for: they go on elsewhere, or at the next start


def address_of(listener: socket.socket, settings: Settings) -> str:
    """Where others reach it: by this machine's name, if it listens to all of them."""
    name, port = listener.getsockname()[:2]
    if name in ("0.0.0.0", "::"):  # noqa: S104  (asked for by --host)
        name = socket.gethostname()
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


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
    return create_app(settings, at_once=False)


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
