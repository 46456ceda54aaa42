"""The processes that host jobs: who is alive, where it listens, and how much it takes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.session import database_now
from app.db.tables import Worker


def enter(session: Session, *, address: str, capacity: int, has_gpu: bool, version: str) -> str:
    """Writes the row of this process; returns its id, random for each start."""
    now = session.execute(select(database_now())).scalar_one()
    worker = Worker(
        id=secrets.token_hex(16),
        address=address,
        machine=machine(),
        process=process_of(os.getpid()),
        capacity=capacity,
        has_gpu=has_gpu,
        version=version,
        started_at=now,
        seen_at=now,
    )
    session.add(worker)
    return worker.id


def beat(session: Session, worker_id: str) -> bool:
    """Says that this one lives; False: others took it for dead, and have its work."""
    now = session.execute(select(database_now())).scalar_one()
    renewed = session.connection().execute(update(Worker).where(Worker.id == worker_id).values(seen_at=now))
    return bool(renewed.rowcount)


def leave(session: Session, *worker_ids: str) -> None:
    session.execute(delete(Worker).where(Worker.id.in_(worker_ids)))


def alive(session: Session, seconds: float) -> Sequence[Worker]:
    """Those heard of lately, the newest word first; not those of this machine whose process is gone."""
    now = session.execute(select(database_now())).scalar_one()
    found = session.scalars(
        select(Worker).where(Worker.seen_at > now - timedelta(seconds=seconds)).order_by(Worker.seen_at.desc())
    )
    here = machine()
    return [one for one in found if here is None or one.machine != here or is_running(one.process)]


def dead(session: Session, seconds: float) -> list[str]:
    living = {one.id for one in alive(session, seconds)}
    return [worker_id for worker_id in session.scalars(select(Worker.id)) if worker_id not in living]


def machine() -> str | None:
    """This machine since its start, and the namespace in which process ids mean what they mean here; None: unknown.

    A host's name would not do: two containers may have the same, and each would take the other's processes for gone.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def process_of(process_id: int) -> str | None:
    """The process, not only its number, which another one may get; None: there is none, or that cannot be told."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    is_gone = fields[0] in "ZX"
    return None if is_gone else f"{process_id}:{fields[19]}"


def is_running(process: str | None) -> bool:
    return process is not None and process_of(int(process.partition(":")[0])) == process
