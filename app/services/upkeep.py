"""What must happen though nobody asks: leases expire for those who watch, keys show their use, and old things go."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from sqlalchemy import delete, func, select

from app.db import artefacts, idempotency
from app.db.keys import Uses
from app.db.reclaim import reclaim
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Event
from app.services.edit_study import purge_deleted

logger = logging.getLogger("metatune.upkeep")

EVENTS_KEPT = 10_000
EVENTS_KEPT_FOR = timedelta(hours=24)
#: Sweeps of leases between two looks at what is old.
SWEEPS_PER_CLEANING = 60


class Upkeep:
    """A thread of each API process; several do no harm, every step is one transaction."""

    def __init__(self, store: Store, seconds: float, uses: Uses) -> None:
        self.store = store
        self.seconds = seconds
        self.uses = uses
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        sweeps = 0
        while not self._stop.wait(self.seconds):
            try:
                reclaim(self.store)
                self.uses.write(self.store)
                if sweeps % SWEEPS_PER_CLEANING == 0:
                    clean(self.store)
                sweeps += 1
            except Exception:  # the next round may find the database again
                logger.warning("upkeep failed; it will try again", exc_info=True)


def clean(store: Store) -> None:
    """Drops events beyond the last 10,000 of a study or older than a day, and what is old, purged, or nobody's."""
    with store.write(EVERY_PROJECT) as session:
        now = session.execute(select(database_now())).scalar_one()
        session.execute(delete(Event).where(Event.created_at < now - EVENTS_KEPT_FOR))
        long = session.execute(
            select(Event.study_id, func.max(Event.revision)).group_by(Event.study_id).having(func.count() > EVENTS_KEPT)
        ).all()
        for study_id, last in long:
            session.execute(delete(Event).where(Event.study_id == study_id, Event.revision <= last - EVENTS_KEPT))
    with store.write(EVERY_PROJECT) as session:
        idempotency.forget_old(session)
    artefacts.sweep(store)
    purge_deleted(store)
