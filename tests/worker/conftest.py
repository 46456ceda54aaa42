"""An engine in this process, on the test's database, and kinds of jobs that do nothing but what a test wants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.db import engine as tables
from app.db import jobs, keys
from app.db.jobs import Address
from app.db.session import Store
from app.db.tables import Job, JobPart
from app.lifecycle import UNFINISHED
from app.services import submit
from app.settings import Settings
from app.worker.engine import Engine
from app.worker.kinds import KINDS, Kind
from app.worker.watch import reconcile, recover

GIVE_UP_SECONDS = 280  # a busy machine is no failure


class Worker:
    """Submits jobs and waits for them; `kind` says what they do."""

    def __init__(self, store: Store, url: str) -> None:
        self.store = store
        self.settings = Settings(database=url, sweep_seconds=3600)
        self.engine = self.another()
        with store.read("every") as session:
            self.project_id = keys.project(session, "default").id

    def another(self) -> Engine:
        """As a process that starts has it."""
        return Engine(self.store, self.settings, address="http://127.0.0.1:1", version="test")

    def kind(self, run: Callable[..., Any], run_part: Callable[..., Any] | None = None) -> None:
        KINDS["test"] = Kind("test", run, run_part)

    def address(self, name: str) -> Address:
        return Address(self.project_id, "test", name)

    def submit(self, name: str = "one", queue: str = tables.LIGHT, **body: Any) -> Job:
        return submit.submit(self.store, self.address(name), body, queue, None).job

    def look(self, name: str = "one") -> Job:
        with self.store.read(self.project_id) as session:
            return jobs.get(session, self.address(name)).job

    def parts(self, name: str = "one") -> list[JobPart]:
        with self.store.read(self.project_id) as session:
            return list(jobs.parts(session, jobs.get(session, self.address(name)).job.id))

    def until(self, holds: Callable[[], Any], *, watched: bool = False) -> None:
        """Waits for what another thread brings about; `watched`: and does what a worker's watch would."""
        give_up_at = time.monotonic() + GIVE_UP_SECONDS
        while not holds():
            assert time.monotonic() < give_up_at, "it does not come"
            if watched:
                recover(self.engine)
                reconcile(self.engine)
            time.sleep(0.05)

    def finished(self, name: str = "one", **options: Any) -> Job:
        self.until(lambda: self.look(name).state not in UNFINISHED, **options)
        return self.look(name)


@pytest.fixture
def idle(store: Store, database_url: str) -> Iterator[Worker]:
    """A worker whose engine does not run yet."""
    yield Worker(store, database_url)
    KINDS.pop("test", None)


@pytest.fixture
def worker(idle: Worker) -> Iterator[Worker]:
    idle.engine.start()
    yield idle
    idle.engine.stop()
