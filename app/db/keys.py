"""Keys and the projects they belong to.

A key reads `mt_<id>_<secret>`: the id finds the row, a hash of the secret is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sqlalchemy import Connection, bindparam, exists, select
from sqlalchemy.orm import Session

from app.db.session import database_now
from app.db.tables import ApiKey, Project

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
DEFAULT_PROJECT: Final = "default"
_KEY = re.compile(r"mt_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Caller:
    """Who calls: a key's project and scopes; in open mode project `default` and every scope."""

    project_id: int
    project: str
    scopes: frozenset[str]


def project_id(session: Session, name: str) -> int:
    """The project's row, made when it is missing."""
    found = session.scalars(select(Project).where(Project.name == name)).one_or_none()
    if found is None:
        found = Project(name=name, created_at=session.execute(select(database_now())).scalar_one())
        session.add(found)
        session.flush()
    return found.id


def create(session: Session, project: str, scopes: Sequence[Scope]) -> str:
    """Makes a key and returns it in full, for the only time."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    session.add(
        ApiKey(
            id=key_id,
            project_id=project_id(session, project),
            secret_hash=_hash(secret),
            scopes=sorted(set(scopes)),
            created_at=session.execute(select(database_now())).scalar_one(),
        )
    )
    return f"mt_{key_id}_{secret}"


def any_exists(session: Session) -> bool:
    return session.execute(select(ApiKey.id).limit(1)).first() is not None


_BY_ID = (
    select(ApiKey.secret_hash, ApiKey.scopes, Project.id, Project.name)
    .join(Project, Project.id == ApiKey.project_id)
    .where(ApiKey.id == bindparam("key_id"))
)
_DEFAULT_WHILE_NO_KEY = select(Project.id).where(Project.name == DEFAULT_PROJECT, ~exists(select(ApiKey.id)))


def find(connection: Connection, key: str) -> Caller | None:
    """The caller whom the key lets in, or None."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    row = connection.execute(_BY_ID, {"key_id": match[1]}).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_hash, _hash(match[2])):
        return None
    return Caller(row.id, row.name, frozenset(row.scopes))


def open_caller(connection: Connection) -> Caller | None:
    """Who everybody is while no key was ever made; None as soon as one exists."""
    found = connection.execute(_DEFAULT_WHILE_NO_KEY).scalar_one_or_none()
    return None if found is None else Caller(found, DEFAULT_PROJECT, frozenset(SCOPES))


def _hash(secret: str) -> bytes:
    """The secret is 32 random bytes, so a plain hash cannot be searched; no slow one is needed."""
    return hashlib.sha256(secret.encode()).digest()
