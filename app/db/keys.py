"""Keys and the projects they belong to.

A key reads `mt_<id>_<secret>`: the id finds the row, a hash of the secret is compared in constant time. Every call
looks its key up, and no process remembers one: from the moment it is revoked a key is good for nothing on any replica.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from sqlalchemy import Connection, and_, bindparam, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.db import audit
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import ApiKey, Project
from app.errors import Invalid, KeyNotFound, NameTaken, ProjectNotFound

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
DEFAULT_PROJECT: Final = "default"
#: Between two times at which a process writes down which keys were used.
USES_SECONDS = 60.0
_KEY = re.compile(r"mt_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Caller:
    """Who calls: a key with its project and scopes; in open mode no key, project `default` and every scope."""

    project_id: int
    project: str
    scopes: frozenset[str]
    key_id: str | None = None
    is_instance: bool = False
    expires_at: datetime | None = None

    @property
    def by(self) -> str:
        """In the audit log."""
        return self.key_id or audit.OPEN_MODE


# --- projects ---------------------------------------------------------------------------------------------------


def make_project(session: Session, name: str, *, by: str) -> Project:
    """Raises: NameTaken; Invalid, for a name that is none."""
    if _PROJECT.fullmatch(name) is None:
        raise Invalid(
            f"a project's name is 1 to 128 of A-Z a-z 0-9 . _ -, starting with a letter or digit, got {name[:200]!r}"
        )
    if session.scalars(select(Project).where(Project.name == name)).first() is not None:
        raise NameTaken(f"project {name!r} is there already")
    made = Project(name=name, created_at=session.execute(select(database_now())).scalar_one())
    session.add(made)
    session.flush()
    audit.record(session, made.id, by=by, action="project.created", target=f"projects/{name}", at=made.created_at)
    return made


def project(session: Session, name: str) -> Project:
    """Raises: ProjectNotFound."""
    found = session.scalars(select(Project).where(Project.name == name)).one_or_none()
    if found is None:
        raise ProjectNotFound(f"there is no project {name!r}; metatune-server projects list shows them")
    return found


def projects(
    session: Session, *, only: int | None = None, after: int = 0, limit: int | None = None
) -> Sequence[Project]:
    """In the order they were made; `only` one of them, or all."""
    query = select(Project).where(Project.id > after).order_by(Project.id).limit(limit)
    return session.scalars(query if only is None else query.where(Project.id == only)).all()


# --- keys -------------------------------------------------------------------------------------------------------


def create(
    session: Session,
    project_id: int,
    scopes: Iterable[str],
    *,
    by: str,
    name: str = "",
    is_instance: bool = False,
    lasts: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key; the text is the whole key, which nobody can tell again."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    now: datetime = session.execute(select(database_now())).scalar_one()
    row = ApiKey(
        id=key_id,
        project_id=project_id,
        secret_hash=_hash(secret),
        scopes=sorted(set(scopes)),
        name=name,
        is_instance=is_instance,
        created_at=now,
        expires_at=None if lasts is None else now + lasts,
    )
    session.add(row)
    session.flush()
    expires_at = None if row.expires_at is None else row.expires_at.isoformat()
    said = {"name": name, "scopes": row.scopes, "instance": is_instance, "expires_at": expires_at}
    audit.record(session, project_id, by=by, action="key.created", target=f"keys/{key_id}", at=now, **said)
    return row, f"mt_{key_id}_{secret}"


def page(
    session: Session, *, project_id: int | None = None, after: str | None = None, limit: int | None = None
) -> Sequence[tuple[ApiKey, str]]:
    """Keys with their projects' names, in the order they were made, `after` that one; of one project or of all."""
    query = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id)
    if project_id is not None:
        query = query.where(ApiKey.project_id == project_id)
    if after is not None:
        last = aliased(ApiKey)
        then = select(last.created_at).where(last.id == after).scalar_subquery()
        query = query.where(or_(ApiKey.created_at > then, and_(ApiKey.created_at == then, ApiKey.id > after)))
    return [(row, name) for row, name in session.execute(query.order_by(ApiKey.created_at, ApiKey.id).limit(limit))]


def get(session: Session, key_id: str, *, project_id: int | None = None) -> tuple[ApiKey, str]:
    """The key and its project's name; of one project or of any.  Raises: KeyNotFound."""
    query = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id).where(ApiKey.id == key_id)
    if project_id is not None:
        query = query.where(ApiKey.project_id == project_id)
    found = session.execute(query).one_or_none()
    if found is None:
        raise KeyNotFound(f"there is no key {key_id!r}; its id is the part between the two _ of the key")
    return found[0], found[1]


def revoke(session: Session, row: ApiKey, *, by: str) -> bool:
    """False: it was revoked already."""
    if row.revoked_at is not None:
        return False
    now: datetime = session.execute(select(database_now())).scalar_one()
    row.revoked_at = now
    audit.record(session, row.project_id, by=by, action="key.revoked", target=f"keys/{row.id}", at=now, name=row.name)
    return True


def any_exists(session: Session) -> bool:
    return session.execute(select(ApiKey.id).limit(1)).first() is not None


# --- who calls --------------------------------------------------------------------------------------------------


_BY_ID = (
    select(
        ApiKey.id,
        ApiKey.secret_hash,
        ApiKey.scopes,
        ApiKey.is_instance,
        ApiKey.expires_at,
        ApiKey.revoked_at,
        ApiKey.project_id,
        Project.name,
        database_now().label("now"),
    )
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
    if row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= row.now):
        return None
    return Caller(row.project_id, row.name, frozenset(row.scopes), row.id, row.is_instance, row.expires_at)


def open_caller(connection: Connection) -> Caller | None:
    """Who everybody is while no key was ever made; None as soon as one exists, revoked or not."""
    found = connection.execute(_DEFAULT_WHILE_NO_KEY).scalar_one_or_none()
    return None if found is None else Caller(found, DEFAULT_PROJECT, frozenset(SCOPES))


class Uses:
    """Which keys were used since it was last written down: no request waits for that, and a write tells of many."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._lock = threading.Lock()
        self._written_at = time.monotonic()

    def note(self, key_id: str) -> None:
        with self._lock:
            self._used.add(key_id)

    def write(self, store: Store, *, every_seconds: float = USES_SECONDS) -> None:
        """Unless there is nothing new, or it was done a moment ago."""
        if time.monotonic() - self._written_at < every_seconds:
            return
        with self._lock:
            used, self._used = self._used, set()
        self._written_at = time.monotonic()
        if used:
            with store.write(EVERY_PROJECT) as session:
                session.execute(update(ApiKey).where(ApiKey.id.in_(used)).values(last_used_at=database_now()))


def _hash(secret: str) -> bytes:
    """The secret is 32 random bytes, so a plain hash cannot be searched; no slow one is needed."""
    return hashlib.sha256(secret.encode()).digest()
