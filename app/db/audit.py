"""The audit log: who created, changed, corrected or deleted what by hand.

An entry is written in the transaction of the effect, so that there is never one without the other. What the loop does
(ask, tell, report, heartbeat, release) is not here: every trial shows its worker and its times, and a log that grew
with every result would drown what somebody decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import AuditEntry

#: Who does something without a key.
OPEN_MODE: Final = "open"
COMMAND_LINE: Final = "command line"
SERVER: Final = "server"


def record(
    session: Session, project_id: int, *, by: str, action: str, target: str, at: datetime, **details: Any
) -> None:
    """`target` is the address below /v1; `details` what JSON can say."""
    session.add(AuditEntry(project_id=project_id, at=at, by=by, action=action, target=target, details=details))


def page(session: Session, project_id: int, *, by: str | None, before: int | None, limit: int) -> Sequence[AuditEntry]:
    """The newest first."""
    query = select(AuditEntry).where(AuditEntry.project_id == project_id)
    if by is not None:
        query = query.where(AuditEntry.by == by)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)).all()
