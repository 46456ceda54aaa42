"""The durable engine: DBOS, started and stopped, and the two workflows that it runs for us."""

from __future__ import annotations

import logging
import threading
from importlib.util import find_spec
from pathlib import Path

from dbos import DBOS, DBOSPortableJSONSerializer

from app.db import engine as tables
from app.db import workers
from app.db.session import EVERY_PROJECT, Store
from app.errors import AppError, Invalid
from app.settings import Settings
from app.worker.kinds import KINDS
from app.worker.unit import Cancelled, Done, Leaving, Superseded, Unit, begin, patiently

logger = logging.getLogger("metatune.jobs")

#: Dispatches of one entry, recoveries included, after which the engine itself gives up: never before we do.
ENGINES_OWN_LIMIT = 1_000_000
#: Jobs that mostly wait, in one process.
LIGHT_SLOTS = 32
#: Seconds between two looks into a queue.
POLL_SECONDS = 0.2


class Engine:
    """DBOS in this process; there is one at a time, since DBOS keeps itself in a global."""

    def __init__(self, store: Store, settings: Settings, *, address: str, version: str) -> None:
        self.store = store
        self.settings = settings
        self.address = address
        self.version = version
        self.worker_id = ""
        self.leaving = threading.Event()
        self._units: dict[int, Unit] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        global _engine
        with self.store.write(EVERY_PROJECT) as session:
            self.worker_id = workers.enter(
                session,
                address=self.address,
                capacity=self.settings.job_slots,
                has_gpu=has_gpu(),
                version=self.version,
            )
        _engine = self
        dbos = DBOS(
            config={
                "name": tables.APPLICATION,
                "system_database_url": tables.address_of(self.store),
                "dbos_system_schema": tables.SCHEMA,
                "application_version": tables.VERSION,
                "executor_id": self.worker_id,
                "serializer": DBOSPortableJSONSerializer(),
                "run_migrations": False,
                "use_listen_notify": False,
                "sys_db_pool_size": 5,
                "log_level": "WARNING",
            }
        )
        # Queues of this process alone: those that DBOS keeps in its tables have one size for all workers.
        for name, slots in ((tables.LIGHT, LIGHT_SLOTS), (tables.HEAVY, self.settings.job_slots)):
            dbos._registry.internal_queue_map.pop(name, None)
            dbos._registry._register_internal_queue(name, worker_concurrency=slots, polling_interval_sec=POLL_SECONDS)
        DBOS.launch()

    def stop(self) -> None:
        """Leaves what runs here to other workers, or to the next start.

        The process must end now: threads that compute are not waited for, and write nothing any more.
        """
        self.leaving.set()
        with self._lock:
            units = list(self._units.values())
        for unit in units:
            unit.give_back()
        DBOS.destroy()
        with self.store.write(EVERY_PROJECT) as session:
            workers.leave(session, self.worker_id)

    def run(self, uid: str, number: int | None) -> None:
        unit = patiently(
            lambda: begin(self.store, self.worker_id, uid, number, self.settings.max_artefact_bytes, self.leaving),
            self.leaving,
        )
        if unit is None:
            return
        with self._lock:
            self._units[id(unit)] = unit
        try:
            self._attempt(unit)
        except Cancelled:
            logger.info("a job was cancelled", extra={"job": uid, "part": number})
        except Superseded:
            logger.warning("another worker has taken over", extra={"job": uid, "part": number})
        finally:
            with self._lock:
                self._units.pop(id(unit), None)

    def _attempt(self, unit: Unit) -> None:
        try:
            done = _work(unit)
        except (Cancelled, Superseded, Leaving):
            raise
        except MemoryError:
            unit.fail("out of memory")
        except AppError as error:
            unit.fail(error.detail)
        except Exception as error:  # whatever a user's data leads to ends this job, not the worker
            logger.exception("a job failed", extra={"job": unit.uid, "part": unit.number})
            unit.fail(f"{type(error).__name__}: {error}")
        else:
            unit.finish(done)


def _work(unit: Unit) -> Done:
    kind = KINDS.get(unit.kind)
    if kind is None:
        raise Invalid(f"this worker does not know jobs of kind {unit.kind!r}; it may be older than the server")
    if unit.number is None:
        return kind.run(unit)
    assert kind.run_part is not None  # noqa: S101  (only `run` makes parts)
    return Done(kind.run_part(unit))


class _Left(BaseException):
    """Not an Exception, which the engine would keep as the job's end: the entry stays as it is, for another worker."""


_engine: Engine | None = None


def _run(uid: str, number: int | None = None) -> str:
    assert _engine is not None  # noqa: S101  (set before DBOS is launched)
    try:
        _engine.run(uid, number)
    except Leaving:
        raise _Left from None
    return "done"


@DBOS.workflow(name=tables.JOB, max_recovery_attempts=ENGINES_OWN_LIMIT)
def run_job(uid: str) -> str:
    return _run(uid)


@DBOS.workflow(name=tables.PART, max_recovery_attempts=ENGINES_OWN_LIMIT)
def run_part(uid: str, number: int) -> str:
    return _run(uid, number)


def has_gpu() -> bool:
    """One that JAX would use, told without importing it."""
    return Path("/dev/nvidia0").exists() and any(
        find_spec(plugin) for plugin in ("jax_cuda12_plugin", "jax_cuda13_plugin")
    )
