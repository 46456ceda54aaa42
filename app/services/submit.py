"""Jobs as callers see them: submit, cancel, delete."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import IntegrityError

from app.db import engine, idempotency, jobs
from app.db.idempotency import Once
from app.db.jobs import Address, OpenJob
from app.db.session import Store
from app.db.tables import Job
from app.definition import differences
from app.errors import JobDiffers
from app.lifecycle import UNFINISHED


@dataclass(frozen=True)
class Submitted:
    job: Job
    created: bool


def new_name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def nothing(here: OpenJob) -> None:
    """Most jobs need no more than their row."""


def submit(
    store: Store,
    address: Address,
    body: Mapping[str, Any],
    queue: str,
    once: Once | None,
    beside: Callable[[OpenJob], None] = nothing,
) -> Submitted:
    """Writes the job and its entry in the queue, or finds the one that is there with the same body.

    `beside`: what a new job needs in the same transaction.
    Raises: JobDiffers, if the name is taken by another.
    """
    try:
        return _submit(store, address, body, queue, once, beside)
    except IntegrityError:  # another call made it between our look and our insert
        return _submit(store, address, body, queue, once, beside)


def _submit(
    store: Store,
    address: Address,
    body: Mapping[str, Any],
    queue: str,
    once: Once | None,
    beside: Callable[[OpenJob], None],
) -> Submitted:
    with store.write(address.project_id) as session:
        before = idempotency.remembered(session, once)
        if before is not None:
            there = Address(address.project_id, address.kind, before["name"])
            return Submitted(jobs.get(session, there).job, before["created"])
        here = jobs.find(session, address, lock=True)
        created = here is None
        if here is None:
            here = jobs.insert(session, address, body, queue)
            here.audit("submitted")
            beside(here)
            if engine.is_installed():  # else a worker makes the entry, see app.db.engine
                jobs.dispatch(store, session, here.job)
        elif found := differences(here.job.body, dict(body)):
            raise JobDiffers(
                f"{address.kind} {address.name!r} is there and was asked for differently; take another name",
                differs=found[:100],
            )
        idempotency.remember(session, once, {"name": here.job.name, "created": created}, here.now)
        return Submitted(here.job, created)


def cancel(store: Store, address: Address) -> Job:
    """From now on; what runs of it stops within an epoch. A finished job stays as it is.  Raises: JobNotFound."""
    with store.write(address.project_id) as session:
        here = jobs.get(session, address, lock=True)
        if here.job.state in UNFINISHED:
            jobs.cancel_parts(here)
            here.move("cancelled")
            here.audit("cancelled")
        return here.job


def remove(store: Store, address: Address) -> None:
    """Raises: JobNotFound, JobInUse."""
    with store.write(address.project_id) as session:
        jobs.remove(jobs.get(session, address, lock=True))
