"""A metatune server as a process of its own, for whatever wants to talk to a real one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx

READY_SECONDS = 60.0


class Server:
    """Serves a SQLite file in `folder`, or the database it is told.

    `with` stops it, `kill()` is a power cut, `start()` starts it (again). `command` is another program than
    `metatune-server` that takes the same arguments; `settings` are those of `app.settings`, by name.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        database: str | None = None,
        workers: int = 1,
        command: Sequence[str] = (),
        roles: str | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.database = database or f"sqlite:///{folder / 'metatune.db'}"
        self.workers = workers
        self.roles = ["--roles", roles] if roles else []
        self.settings = {f"METATUNE_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        self.command = list(command) or [str(Path(sys.executable).parent / "metatune-server")]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"server-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns once the server answers. Raises: RuntimeError with its log, if it does not."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Starts it, and does not wait."""
        command = [*self.command, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--database", self.database, "--workers", str(self.workers), *self.roles]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METATUNE_")}
        environment |= self.settings
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Raises: RuntimeError with its log, if it ends or takes too long."""
        assert self._process is not None
        give_up_at = time.monotonic() + READY_SECONDS
        with httpx.Client(base_url=self.url, timeout=5.0, verify=False) as probe:
            while not _is_ready(probe):
                if self._process.poll() is not None or time.monotonic() > give_up_at:
                    self.kill()
                    raise RuntimeError(f"the server did not start; it said:\n{self.log.read_text()[-4000:]}")
                time.sleep(0.05)

    def kill(self) -> None:
        """Ends it and its children with SIGKILL, as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Asks it to end, and waits for that."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()

    def leave_running(self) -> None:
        """From here on nobody waits for it."""
        if self._process is not None:
            self._process.returncode = 0  # or Popen would warn that its child is still running
            self._process = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _is_ready(probe: httpx.Client) -> bool:
    try:
        return probe.get("/readyz").is_success
    except httpx.TransportError:
        return False


def free_port(first: int = 0) -> int:
    """The first free port from `first` on; any, if 0."""
    for port in range(first, first + 100 if first else 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            bound: int = probe.getsockname()[1]
            return bound
    raise RuntimeError(f"no free port from {first} to {first + 99}")
