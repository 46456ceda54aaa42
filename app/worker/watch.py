"""What the engine leaves to its paid service: who is alive, whose work must be taken up, what the rows should say.

Every worker does all of it, and several do no harm: each step looks again under a lock, or is the same done twice.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dbos import DBOS

from app.db import jobs, workers
from app.db.jobs import Unfinished
from app.db.session import EVERY_PROJECT
from app.lifecycle import UNFINISHED
from app.rounds import Rounds
from app.worker import unit as units
from app.worker.engine import Engine

logger = logging.getLogger("metatune.jobs")

BEAT_SECONDS = 2.0
#: Beats between two looks at what the engine keeps too long.
BEATS_PER_CLEANING = 300
#: Times that the engine may lose an entry before its job is given up.
MAX_LOST = 10
#: What the engine says of an entry that it has yet to bring to an end.
AT_WORK = ("ENQUEUED", "PENDING", "DELAYED")
ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


def declared_dead() -> None:
    """Others have this process's work: it must not go on with it."""
    logger.error("this worker was taken for dead, and leaves; raise METATUNE_WORKER_SECONDS if it was only slow")
    os._exit(75)


def watch(engine: Engine, on_death: Callable[[], None] = declared_dead) -> Rounds:
    def look() -> None:
        beat(engine, on_death)
        recover(engine)
        reconcile(engine)

    return Rounds("watch", BEAT_SECONDS, look, lambda: clean(engine), BEATS_PER_CLEANING)


def beat(engine: Engine, on_death: Callable[[], None]) -> None:
    with engine.store.write(EVERY_PROJECT) as session:
        lives = workers.beat(session, engine.worker_id)
    if not lives:
        on_death()


def recover(engine: Engine) -> None:
    """Puts back into the queue what dead workers had, then strikes them off."""
    with engine.store.read(EVERY_PROJECT) as session:
        gone = workers.dead(session, engine.settings.worker_seconds)
        living = {one.id for one in workers.alive(session, engine.settings.worker_seconds)} | {engine.worker_id}
    pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
    left = sorted({one.executor_id for one in pending if one.executor_id} - living)
    if left:
        logger.warning("taking up the work of workers that are gone", extra={"workers": left})
        DBOS._recover_pending_workflows(left)
    if gone:
        with engine.store.write(EVERY_PROJECT) as session:
            workers.leave(session, *(one for one in gone if one != engine.worker_id))


def reconcile(engine: Engine) -> None:
    """What the rows call unfinished must be in the engine's hands; where it is not, it is given there, or ended."""
    open_units = jobs.unfinished(engine.store)  # first: an entry is there as soon as its row is
    if not open_units:
        return
    entries = [one.entry for one in open_units]
    said = {
        one.workflow_id: one
        for start in range(0, len(entries), 500)
        for one in DBOS.list_workflows(workflow_ids=entries[start : start + 500], load_input=False, load_output=False)
    }
    for one in open_units:
        status = said.get(one.entry)
        if status is None or status.status not in AT_WORK:
            _repair(engine, one, None if status is None else status.status)


def _repair(engine: Engine, one: Unfinished, status: str | None) -> None:
    with engine.store.write(one.project_id) as session:
        here = jobs.by_uid(session, one.uid, lock=True)
        part = None if here is None or one.number is None else jobs.part(session, here.job.id, one.number, lock=True)
        row = part if one.number is not None else None if here is None else here.job
        if here is None or row is None or here.job.state not in UNFINISHED or row.state not in UNFINISHED:
            return  # it came to its end meanwhile
        if jobs.entry_of(here.job, part) != one.entry:
            return  # somebody else has repaired it
        if status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            units.end(here, row, "the engine gave it up: it was dispatched too often")
        elif status == "CANCELLED" and part is None:
            jobs.cancel_parts(here)
            here.move("cancelled")
        elif row.dispatches - row.attempts >= MAX_LOST:
            units.end(here, row, f"the engine lost it {MAX_LOST} times before it began")
        else:
            logger.warning("giving a job to the engine again", extra={"job": one.uid, "part": one.number})
            jobs.dispatch(engine.store, session, here.job, part)


def clean(engine: Engine) -> None:
    """Deletes what the engine keeps of work that ended some days ago; what came out of it is in our rows."""
    before = datetime.now(UTC) - timedelta(days=engine.settings.engine_days)
    old = DBOS.list_workflows(
        status=list(ENDED), completed_before=before.isoformat(), limit=1000, load_input=False, load_output=False
    )
    if old:
        DBOS.delete_workflows([one.workflow_id for one in old])
