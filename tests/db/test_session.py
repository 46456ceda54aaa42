"""The store keeps its promises of durability and isolation, or refuses to start."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Project
from app.errors import Invalid, Unavailable


def test_a_migrated_database_passes_the_check(store: Store) -> None:
    store.check()


@pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "journal_mode=DELETE", "busy_timeout=0"])
def test_a_sqlite_that_could_lose_or_refuse_is_refused(tmp_path: Path, pragma: str) -> None:
    store = Store(f"sqlite:///{tmp_path / 'weak.db'}")
    event.listen(store.engine, "connect", lambda connection, _: connection.execute(f"PRAGMA {pragma}"))
    with pytest.raises(Unavailable, match="WAL, synchronous FULL and a busy timeout"):
        store.check()
    store.dispose()


def test_a_postgresql_that_commits_asynchronously_is_refused(postgresql_server: str) -> None:
    store = Store(postgresql_server.format(name="postgres") + "&options=-c%20synchronous_commit%3Doff")
    with pytest.raises(Unavailable, match="synchronous_commit = off"):
        store.check()
    store.dispose()


def test_a_write_that_raises_leaves_nothing(store: Store) -> None:
    def fail_half_way() -> None:
        with store.write(EVERY_PROJECT) as session:
            session.add(Project(name="half", created_at=session.execute(select(database_now())).scalar_one()))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with store.read(EVERY_PROJECT) as session:
        assert session.scalars(select(Project.name)).all() == ["default"]


def test_a_read_is_one_snapshot_though_others_write(store: Store) -> None:
    with store.read(EVERY_PROJECT) as session:
        before = session.execute(text("SELECT count(*) FROM projects")).scalar_one()

        def write() -> None:
            with store.write(EVERY_PROJECT) as other:
                other.add(Project(name="new", created_at=other.execute(select(database_now())).scalar_one()))

        writer = threading.Thread(target=write)
        writer.start()
        writer.join()
        assert session.execute(text("SELECT count(*) FROM projects")).scalar_one() == before
    with store.read(EVERY_PROJECT) as session:
        assert session.execute(text("SELECT count(*) FROM projects")).scalar_one() == before + 1


def test_only_sqlite_files_and_postgresql_are_served() -> None:
    for url, problem in (("mysql://here/x", "not 'mysql'"), ("sqlite://", "needs a file"), ("nonsense", "cannot read")):
        with pytest.raises(Invalid, match=problem):
            Store(url)
