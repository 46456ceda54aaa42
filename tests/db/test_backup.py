"""A copy of an SQLite file is whole, one file, never over another one, and never of a version that cannot be served."""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import select, text

from app.db.backup import backup, restore
from app.db.holder import hold
from app.db.migrate import HEAD, is_at_head, migrate
from app.db.session import EVERY_PROJECT, Store, database_now
from app.db.tables import Project
from app.errors import Invalid, Unavailable


@pytest.fixture
def here(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copy(migrated_sqlite, tmp_path / "here.db")
    store = Store(f"sqlite:///{tmp_path / 'here.db'}")
    yield store
    store.dispose()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Store]:
    """Where nothing is yet."""
    store = Store(f"sqlite:///{tmp_path / 'there.db'}")
    yield store
    store.dispose()


def add_project(store: Store, name: str) -> None:
    with store.write(EVERY_PROJECT) as session:
        session.add(Project(name=name, created_at=session.execute(select(database_now())).scalar_one()))


def projects(store: Store) -> list[str]:
    with store.read(EVERY_PROJECT) as session:
        return list(session.scalars(select(Project.name).order_by(Project.id)))


def test_a_copy_has_what_is_only_in_the_log_and_is_one_private_file(here: Store, there: Store, tmp_path: Path) -> None:
    add_project(here, "in the log")
    assert (tmp_path / "here.db-wal").stat().st_size > 0
    assert backup(here, tmp_path / "copy") == HEAD
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy"]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    assert restore(tmp_path / "copy", there) == HEAD
    assert projects(there) == ["default", "in the log"]
    there.check()


def test_a_copy_is_made_while_somebody_writes_and_holds_nothing_half_done(
    here: Store, there: Store, tmp_path: Path
) -> None:
    with hold(here) or nullcontext(), here.write(EVERY_PROJECT) as session:
        session.add(Project(name="half done", created_at=session.execute(select(database_now())).scalar_one()))
        session.flush()
        backup(here, tmp_path / "copy")
    restore(tmp_path / "copy", there)
    assert projects(there) == ["default"]


@pytest.mark.parametrize("there_already", ["copy", "copy-wal", "copy-journal", "copy.partial"])
def test_nothing_is_overwritten(here: Store, tmp_path: Path, there_already: str) -> None:
    (tmp_path / there_already).write_text("precious")
    with pytest.raises(Invalid, match="there"):
        backup(here, tmp_path / "copy")
    assert [path.read_text() for path in tmp_path.glob("copy*")] == ["precious"]


def test_restoring_is_refused_while_a_server_holds_the_place(here: Store, there: Store, tmp_path: Path) -> None:
    backup(here, tmp_path / "copy")
    with hold(there) or nullcontext(), pytest.raises(Unavailable, match="served already by process"):
        restore(tmp_path / "copy", there)
    assert not (tmp_path / "there.db").exists()


def test_a_place_with_a_database_or_what_is_left_of_one_is_no_place_to_restore_to(
    here: Store, there: Store, tmp_path: Path
) -> None:
    backup(here, tmp_path / "copy")
    with pytest.raises(Invalid, match=r"here\.db is there already"):
        restore(tmp_path / "copy", here)
    (tmp_path / "there.db-wal").write_text("of another database")
    with pytest.raises(Invalid, match=r"there\.db-wal is there already"):
        restore(tmp_path / "copy", there)


def test_a_file_has_one_holder_by_whatever_name(here: Store, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "here.db")
    with hold(here) or nullcontext(), pytest.raises(Unavailable, match="served already"):
        hold(Store(f"sqlite:///{tmp_path / 'link.db'}"))


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)


def test_what_is_damaged_foreign_or_newer_is_refused_and_leaves_nothing(
    here: Store, there: Store, tmp_path: Path
) -> None:
    copies = {name: tmp_path / name for name in ("damaged", "orphaned", "newer")}
    for copy in copies.values():
        backup(here, copy)
    spoil(copies["damaged"])
    for name, change in (
        ("orphaned", "INSERT INTO study_tags VALUES (7, 'of', 'nobody')"),
        ("newer", "UPDATE alembic_version SET version_num = '9999'"),
        ("foreign", "CREATE TABLE cats (name TEXT)"),
    ):
        with closing(sqlite3.connect(tmp_path / name)) as connection, connection:
            connection.execute(change)
    (tmp_path / "text").write_text("not a database at all, only a longer text")
    for name, error, said in (
        ("damaged", Invalid, "damaged|cannot copy"),
        ("orphaned", Invalid, "rows of study_tags without parents"),
        ("newer", Unavailable, "9999.*newer version"),
        ("foreign", Invalid, "holds no studies"),
        ("text", Invalid, "cannot copy"),
        ("nowhere", Invalid, "there is no file"),
    ):
        with pytest.raises(error, match=said):
            restore(tmp_path / name, there)
    assert [path.name for path in tmp_path.glob("there.db*")] == ["there.db.lock"]


def test_an_older_copy_is_restored_and_migrated_by_whoever_serves_it(here: Store, there: Store, tmp_path: Path) -> None:
    from tests.db.test_migrations import downgrade

    downgrade(here, "0003")
    backup(here, tmp_path / "copy")
    assert restore(tmp_path / "copy", there) == "0003"
    migrate(there)
    assert is_at_head(there)


def test_postgresql_is_backed_up_by_its_own_tools(postgresql_server: str, tmp_path: Path) -> None:
    store = Store(postgresql_server.format(name="postgres"))
    with pytest.raises(Invalid, match="pg_dump"):
        backup(store, tmp_path / "copy")
    with pytest.raises(Invalid, match="pg_restore"):
        restore(tmp_path / "copy", store)


def test_a_copy_that_finds_no_room_leaves_nothing_and_says_so(here: Store, tmp_path: Path) -> None:
    with here.write(EVERY_PROJECT) as session:
        session.execute(text("CREATE TABLE ballast AS SELECT randomblob(2000000) AS weight"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(Invalid, match="cannot copy"):
            backup(here, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.glob("copy*"))
