"""A study opened for reading, with the leases that ran out counted as they are now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import select

from app.db import studies, trials
from app.db.session import EVERY_PROJECT, Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Study
from app.errors import StudyNotFound


@contextmanager
def reading(store: Store, address: Address) -> Iterator[OpenStudy]:
    """Raises: StudyNotFound, StudyReplaced."""
    reclaim(store)
    with store.read(address.project_id) as session:
        yield studies.open_study(session, address)


def reclaim(store: Store) -> None:
    """Lets every lease that ran out expire. Most times a look at an index, and nothing else."""
    with store.read(EVERY_PROJECT) as session:
        overdue = trials.expired_studies(session)
        places = (
            session.execute(
                select(Study.project_id, Study.name).where(Study.id.in_(overdue), Study.deleted_at.is_(None))
            ).all()
            if overdue
            else []
        )
    for project_id, name in places:
        # not found: deleted meanwhile, so nobody waits for its trials
        with store.write(project_id) as session, suppress(StudyNotFound):
            trials.reclaim_expired(studies.open_study(session, Address(project_id, name), lock=True))
