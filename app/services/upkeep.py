"""What must happen though nobody asks: leases expire for those who watch, keys show their use, and old things go."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select

from app.db import artefacts, idempotency
from app.db.keys import Uses
from app.db.reclaim import reclaim
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Event
from app.rounds import Rounds
from app.services.edit_study import purge_deleted

EVENTS_KEPT = 10_000
EVENTS_KEPT_FOR = timedelta(hours=24)
#: Sweeps of leases between two looks at what is old.
SWEEPS_PER_CLEANING = 60


def upkeep(store: Store, seconds: float, uses: Uses) -> Rounds:
    """Of each API process; several do no harm, every step is one transaction."""

    def sweep() -> None:
        reclaim(store)
        uses.write(store)

    return Rounds("upkeep", seconds, sweep, lambda: clean(store), SWEEPS_PER_CLEANING)


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
