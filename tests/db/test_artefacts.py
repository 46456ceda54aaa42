"""Artefacts: what is read is what was written, nothing half, and nothing that nobody names."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import func, select, update

from app.db import artefacts, jobs
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Artefact, ArtefactChunk
from app.errors import Damaged, TooLarge

MOST = 20 * artefacts.CHUNK_BYTES


def count(store: Store) -> tuple[int, int]:
    with store.read(EVERY_PROJECT) as session:
        return tuple(session.execute(select(func.count()).select_from(one)).scalar_one() for one in TABLES)  # type: ignore[return-value]


TABLES = (Artefact, ArtefactChunk)


@pytest.mark.parametrize("size", [0, 1, artefacts.CHUNK_BYTES, 5 * artefacts.CHUNK_BYTES + 1])
def test_what_is_read_is_what_was_written_however_it_came(store: Store, size: int) -> None:
    content = bytes(itertools.islice(itertools.cycle(range(251)), size))
    pieces = [content[:10], content[10 : size // 2 + 10], content[size // 2 + 10 :]]
    artefact_id = artefacts.write(store, 1, pieces, most=MOST)
    assert artefacts.read(store, 1, artefact_id) == content
    assert count(store) == (1, -(-size // artefacts.CHUNK_BYTES))


def test_nothing_is_left_of_one_that_is_too_large_or_cut_off(store: Store) -> None:
    with pytest.raises(TooLarge, match="METATUNE_MAX_ARTEFACT_BYTES"):
        artefacts.write(store, 1, itertools.repeat(b"x" * artefacts.CHUNK_BYTES), most=6 * artefacts.CHUNK_BYTES)

    def cut_off() -> itertools.chain[bytes]:
        return itertools.chain([b"x" * 9 * artefacts.CHUNK_BYTES], (bytes(1 // 0) for _ in range(1)))

    with pytest.raises(ZeroDivisionError):
        artefacts.write(store, 1, cut_off(), most=MOST)
    assert count(store) == (0, 0)


def test_what_was_changed_lost_or_never_finished_is_not_taken_for_whole(store: Store) -> None:
    ids = [artefacts.write(store, 1, [b"a" * 2 * artefacts.CHUNK_BYTES], most=MOST) for _ in range(3)]
    with store.write(1) as session:
        session.execute(update(ArtefactChunk).where(ArtefactChunk.artefact_id == ids[0]).values(content=b"b"))
        session.delete(session.get_one(ArtefactChunk, (ids[1], 1)))
        session.get_one(Artefact, ids[2]).sha256 = None
    for artefact_id in ids:
        with pytest.raises(Damaged):
            artefacts.read(store, 1, artefact_id)


def test_the_sweep_takes_what_nobody_names_and_only_after_a_while(store: Store) -> None:
    named, lost, new = (artefacts.write(store, 1, [b"x"], most=MOST) for _ in range(3))
    with store.write(1) as session:
        jobs.insert(session, jobs.Address(1, "test", "one"), {}, "light").job.model_id = named
        for artefact_id in (named, lost):
            row = session.get_one(Artefact, artefact_id)
            row.created_at -= 2 * artefacts.NAMED_WITHIN
    assert artefacts.sweep(store) == 1
    with store.read(1) as session:
        assert set(session.scalars(select(Artefact.id))) == {named, new}
    assert count(store) == (2, 2)


def test_one_that_is_named_cannot_be_removed_before_the_name(store: Store) -> None:
    from sqlalchemy.exc import IntegrityError

    artefact_id = artefacts.write(store, 1, [b"x"], most=MOST)
    with store.write(1) as session:
        jobs.insert(session, jobs.Address(1, "test", "one"), {}, "light").job.model_id = artefact_id
    with pytest.raises(IntegrityError), store.write(1) as session:
        artefacts.remove(session, artefact_id)
    assert count(store) == (1, 1)
