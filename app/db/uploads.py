"""Files that callers gave names: datasets, and tables of evaluated architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import artefacts, audit
from app.db.session import Store, database_now
from app.db.tables import Artefact, Upload
from app.errors import DatasetDiffers, DatasetNotFound


def find(session: Session, project_id: int, kind: str, name: str) -> Upload | None:
    query = select(Upload).where(Upload.project_id == project_id, Upload.kind == kind, Upload.name == name)
    return session.scalars(query).one_or_none()


def get(session: Session, project_id: int, kind: str, name: str) -> Upload:
    """Raises: DatasetNotFound."""
    found = find(session, project_id, kind, name)
    if found is None:
        raise DatasetNotFound(f"there is no {kind} {name!r}")
    return found


def keep(
    store: Store,
    project_id: int,
    kind: str,
    name: str,
    content: bytes,
    summary: Mapping[str, Any],
    *,
    most: int,
    by: str = audit.SERVER,
) -> tuple[Upload, bool]:
    """Writes the content, then the row that names it; whether it is new. The same again is the one that is there.

    Raises: DatasetDiffers, if the name is taken by another content; TooLarge.
    """
    artefact_id = artefacts.write(store, project_id, [content], most=most)
    try:
        with store.write(project_id) as session:
            there = find(session, project_id, kind, name)
            if there is None:
                now = session.execute(select(database_now())).scalar_one()
                made = Upload(
                    project_id=project_id,
                    kind=kind,
                    name=name,
                    summary=dict(summary),
                    artefact_id=artefact_id,
                    created_at=now,
                )
                session.add(made)
                audit.record(session, project_id, by=by, action=f"{kind}.uploaded", target=f"{kind}/{name}", at=now)
                return made, True
            is_same = _hash(session, there.artefact_id) == _hash(session, artefact_id)
            artefacts.remove(session, artefact_id)
    except BaseException:  # such as another upload under this name that was faster
        with store.write(project_id) as session:
            artefacts.give_up(session, artefact_id)
        raise
    if not is_same:
        raise DatasetDiffers(f"{kind} {name!r} is there with another content; take another name, or delete it first")
    return there, False


def _hash(session: Session, artefact_id: str) -> str | None:
    return session.execute(select(Artefact.sha256).where(Artefact.id == artefact_id)).scalar_one_or_none()


def page(session: Session, project_id: int, kind: str, *, after: str | None, limit: int) -> Sequence[Upload]:
    """By name."""
    name: Any = Upload.name.collate("C") if session.get_bind().dialect.name == "postgresql" else Upload.name
    query = select(Upload).where(Upload.project_id == project_id, Upload.kind == kind)
    if after is not None:
        query = query.where(name > after)
    return session.scalars(query.order_by(name).limit(limit)).all()


def remove(session: Session, upload: Upload, *, by: str = audit.SERVER) -> None:
    """With its content."""
    now = session.execute(select(database_now())).scalar_one()
    target = f"{upload.kind}/{upload.name}"
    audit.record(session, upload.project_id, by=by, action=f"{upload.kind}.deleted", target=target, at=now)
    artefact_id = upload.artefact_id
    session.delete(upload)
    artefacts.remove(session, artefact_id)
