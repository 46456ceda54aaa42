"""`Idempotency-Key`: the first answer to a POST, kept as a reference to what it made.

The reference is written in the transaction of the effect, so there is never one without the other. Two calls with one
key at once: both take the same lock, or the second runs into the primary key; it then finds the first one's reference.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.session import database_now
from app.db.tables import IdempotencyKey
from app.errors import IdempotencyKeyReused

KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class Once:
    """A call that must take effect once: whose, under which key, and what it says."""

    project_id: int
    key: str
    method: str
    path: str
    body: Any

    @property
    def key_hash(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        said = json.dumps([self.method, self.path, self.body], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(said.encode()).hexdigest()


def remembered(session: Session, once: Once | None) -> dict[str, Any] | None:
    """What this call did before, if it did.  Raises: IdempotencyKeyReused, if the key said something else."""
    row = _row(session, once)
    if row is None or once is None:
        return None
    if row.fingerprint != once.fingerprint:
        raise IdempotencyKeyReused("this Idempotency-Key was used for another call; make a new key for every new call")
    return row.reference


def is_known(session: Session, once: Once | None) -> bool:
    """Was this key used before, for whatever?"""
    return _row(session, once) is not None


def _row(session: Session, once: Once | None) -> IdempotencyKey | None:
    """Also one that was written in this very transaction: calls that were gathered may carry the same key."""
    if once is None:
        return None
    place = (once.project_id, once.key_hash)
    written: dict[tuple[int, str], IdempotencyKey] = session.info.get("idempotency_keys", {})
    return written.get(place) or session.get(IdempotencyKey, place)


def remember(session: Session, once: Once | None, reference: dict[str, Any], now: datetime) -> None:
    if once is not None:
        row = IdempotencyKey(
            project_id=once.project_id,
            key_hash=once.key_hash,
            fingerprint=once.fingerprint,
            reference=reference,
            created_at=now,
        )
        session.add(row)
        session.info.setdefault("idempotency_keys", {})[once.project_id, once.key_hash] = row


def forget_old(session: Session) -> None:
    now: datetime = session.execute(select(database_now())).scalar_one()
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - KEPT))
