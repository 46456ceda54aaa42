"""Keys that callers make for others, and take back: up to their own scopes, for their own project, no longer lived."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.db import idempotency, keys
from app.db.idempotency import Once
from app.db.keys import Caller
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import ApiKey
from app.errors import Forbidden


@dataclass(frozen=True)
class Issued:
    key: ApiKey
    project: str
    #: The whole key; none when the call came again, since only a hash of it was kept.
    text: str | None


def issue(
    store: Store,
    caller: Caller,
    scopes: Collection[str],
    *,
    name: str,
    project: str | None,
    lasts: timedelta | None,
    once: Once | None,
) -> Issued:
    """Raises: Forbidden, for more than the caller has; ProjectNotFound."""
    if caller.key_id is None:
        raise Forbidden(
            "the first key is made on the command line, and it ends the open mode: "
            "metatune-server keys create --scope read --scope write --scope admin"
        )
    _check_scopes(caller, scopes)
    if project not in (None, caller.project) and not caller.is_instance:
        raise Forbidden(
            f"a key of project {caller.project!r} makes keys for that project only; "
            "one made with --instance makes them for any"
        )
    try:
        return _issue(store, caller, scopes, name, project or caller.project, lasts, once)
    except IntegrityError:  # the same call was made by another at this moment
        return _issue(store, caller, scopes, name, project or caller.project, lasts, once)


def _issue(
    store: Store,
    caller: Caller,
    scopes: Collection[str],
    name: str,
    project: str,
    lasts: timedelta | None,
    once: Once | None,
) -> Issued:
    with store.write(EVERY_PROJECT) as session:
        before = idempotency.remembered(session, once)
        if before is not None:
            return Issued(*keys.get(session, before["id"]), text=None)
        lasts = _within(caller, lasts, session.execute(select(database_now())).scalar_one())
        owner = keys.project(session, project)
        row, text = keys.create(session, owner.id, scopes, by=caller.by, name=name, lasts=lasts)
        idempotency.remember(session, once, {"id": row.id}, row.created_at)
        return Issued(row, owner.name, text)


def revoke(store: Store, caller: Caller, key_id: str) -> None:
    """At once and for good; again changes nothing.  Raises: KeyNotFound, Forbidden."""
    with store.write(EVERY_PROJECT) as session:
        row, _ = keys.get(session, key_id, project_id=None if caller.is_instance else caller.project_id)
        _check_scopes(caller, row.scopes)
        if row.is_instance and not caller.is_instance:
            raise Forbidden(f"{key_id} is a key of the instance; only another one revokes it, or the command line")
        keys.revoke(session, row, by=caller.by)


def _check_scopes(caller: Caller, scopes: Collection[str]) -> None:
    beyond = sorted(set(scopes) - caller.scopes)
    if beyond:
        raise Forbidden(
            f"this key has {', '.join(sorted(caller.scopes))}; it makes and revokes no keys with {', '.join(beyond)}"
        )


def _within(caller: Caller, lasts: timedelta | None, now: datetime) -> timedelta | None:
    """A key that runs out must not live on in one that it made."""
    if caller.expires_at is None:
        return lasts
    left = caller.expires_at - now
    if lasts is not None and lasts > left:
        raise Forbidden(
            f"this key expires in {left.total_seconds():.0f} seconds, and makes no key that outlives it",
        )
    return left if lasts is None else lasts
