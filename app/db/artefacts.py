"""Artefacts: datasets, tables, checkpoints and models, as chunked rows of the database.

Decision: in the database, not in files or an object store. Context: any worker on any machine must find them, a backup
must hold them, and they must lie inside the wall between projects. Rows give all of that with nothing else to run.
Price: the database grows by them; so they have a limit (METATUNE_MAX_ARTEFACT_BYTES), and whoever needs more keeps
files elsewhere.

An artefact is written, in several transactions, before the row that names it; its hash is set with the last chunk. It
is deleted with its owner, in the same transaction. What was written and never named is swept up after a while.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from app.db.session import EVERY_PROJECT, Store, Whose, database_now
from app.db.tables import Artefact, ArtefactChunk, Base
from app.errors import Damaged, TooLarge

CHUNK_BYTES = 2**20
#: Chunks written in one transaction: on SQLite nobody else writes meanwhile.
CHUNKS_AT_ONCE = 4
#: What nobody names after this time was left by an upload or a worker that died.
NAMED_WITHIN = timedelta(hours=6)


def write(store: Store, project_id: int, content: Iterable[bytes], *, most: int) -> str:
    """Stores the pieces as one artefact; the caller names it in a row of its own, or it is swept up.

    Raises: TooLarge, beyond `most` bytes; what was written of it is removed.
    """
    artefact_id = secrets.token_hex(16)
    digest, size = hashlib.sha256(), 0
    with store.write(project_id) as session:
        now = session.execute(select(database_now())).scalar_one()
        session.add(Artefact(id=artefact_id, project_id=project_id, size=0, sha256=None, created_at=now))
    try:
        rows: list[dict[str, object]] = []
        for position, chunk in enumerate(_chunks(content)):
            size += len(chunk)
            if size > most:
                raise TooLarge(
                    f"an artefact may have {most} bytes; keep it elsewhere, or raise METATUNE_MAX_ARTEFACT_BYTES"
                )
            digest.update(chunk)
            rows.append({"artefact_id": artefact_id, "position": position, "content": chunk})
            if len(rows) == CHUNKS_AT_ONCE:
                _write_chunks(store, project_id, rows)
                rows = []
        _write_chunks(store, project_id, rows)
        with store.write(project_id) as session:
            session.execute(
                update(Artefact).where(Artefact.id == artefact_id).values(size=size, sha256=digest.hexdigest())
            )
    except BaseException:
        with store.write(project_id) as session:
            remove(session, artefact_id)
        raise
    return artefact_id


def _write_chunks(store: Store, project_id: int, rows: list[dict[str, object]]) -> None:
    if rows:
        with store.write(project_id) as session:
            session.execute(insert(ArtefactChunk), rows)


def _chunks(content: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of the size that is stored."""
    rest = bytearray()
    for piece in content:
        rest += piece
        while len(rest) >= CHUNK_BYTES:
            yield bytes(rest[:CHUNK_BYTES])
            del rest[:CHUNK_BYTES]
    if rest:
        yield bytes(rest)


def read(store: Store, project_id: Whose, artefact_id: str) -> bytes:
    """The whole content.  Raises: Damaged, if it is not what was written."""
    return b"".join(pieces(store, project_id, artefact_id))


def pieces(store: Store, project_id: Whose, artefact_id: str) -> Iterator[bytes]:
    """The content chunk by chunk, in transactions of their own.  Raises: Damaged, at the end, as `read`."""
    with store.read(project_id) as session:
        wanted = session.execute(select(Artefact.sha256).where(Artefact.id == artefact_id)).scalar_one_or_none()
    digest, position = hashlib.sha256(), 0
    while wanted is not None:
        with store.read(project_id) as session:
            found = session.scalars(
                select(ArtefactChunk.content)
                .where(ArtefactChunk.artefact_id == artefact_id, ArtefactChunk.position >= position)
                .order_by(ArtefactChunk.position)
                .limit(CHUNKS_AT_ONCE)
            ).all()
        if not found:
            break
        position += len(found)
        for chunk in found:
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != wanted:
        raise Damaged(f"artefact {artefact_id} is not there as it was written; restore a backup, or make it again")


def remove(session: Session, *artefact_ids: str | None) -> None:
    """With what named them, in its transaction; the chunks go with the artefacts."""
    named = [one for one in artefact_ids if one is not None]
    if named:
        session.flush()  # whoever named them does so no more
        session.execute(delete(Artefact).where(Artefact.id.in_(named)))


def sweep(store: Store) -> int:
    """Removes what nobody names; returns how many."""
    with store.write(EVERY_PROJECT) as session:
        now = session.execute(select(database_now())).scalar_one()
        left = delete(Artefact).where(Artefact.created_at < now - NAMED_WITHIN, ~_is_named())
        return int(session.connection().execute(left).rowcount)


def give_up(session: Session, artefact_id: str) -> None:
    """Removes it unless somebody names it: a commit whose answer was lost may have done so."""
    session.execute(delete(Artefact).where(Artefact.id == artefact_id, ~_is_named()))


def _is_named() -> ColumnElement[bool]:
    """By whatever column of whatever table refers to artefacts, but their own chunks."""
    columns = [
        column
        for table in Base.metadata.sorted_tables
        if table.name != ArtefactChunk.__tablename__
        for column in table.columns
        if any(key.column.table.name == Artefact.__tablename__ for key in column.foreign_keys)
    ]
    return or_(*(exists().where(column == Artefact.id) for column in columns))
