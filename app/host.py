"""The worker that `serve` supervises when it has both roles: a process of its own, started with the first job.

Decision: no worker process while the database holds no job. Context: most servers only tune, and a worker costs memory,
a second of computing at every start, and a write every two seconds. From the first job on it stays, since what a job
made is asked for later. Price: the first job waits two or three seconds longer.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from app.db import jobs
from app.db.session import Store
from app.settings import Settings

logger = logging.getLogger("metatune.jobs")

#: Says to the worker whose end is also its own.
SUPERVISOR = "METATUNE_WORKERS_SUPERVISOR_PID"
#: Between two looks whether there is a job, or the worker is gone.
LOOK_SECONDS = 0.5
#: A worker that died is started again at once, one that dies at its start ever later.
STEADY_SECONDS = 10.0
MAX_PAUSE_SECONDS = 30.0
STOP_SECONDS = 15


class Host:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="host", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=STOP_SECONDS + 5)

    def _run(self) -> None:
        store = Store(self.settings.database, pool_size=1)
        while not _has_jobs(store):
            if self._stop.wait(LOOK_SECONDS):
                return
        store.dispose()
        pause = LOOK_SECONDS
        while not self._stop.is_set():
            started_at = time.monotonic()
            process = self._spawn()
            while process.poll() is None:
                if self._stop.wait(LOOK_SECONDS):
                    _end(process)
                    return
            logger.warning("the worker process ended; it is started again", extra={"status": process.returncode})
            is_steady = time.monotonic() - started_at > STEADY_SECONDS
            pause = LOOK_SECONDS if is_steady else min(MAX_PAUSE_SECONDS, 2 * pause)
            self._stop.wait(pause)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "app", "serve", "--roles", "worker", "--host", "127.0.0.1", "--port", "0"]
        environment = {**os.environ, SUPERVISOR: str(os.getpid())}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)  # its figures are its own
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603  (ours)


def _has_jobs(store: Store) -> bool:
    try:
        return jobs.any_exists(store)
    except SQLAlchemyError:
        return False  # asked again soon


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
