"""Copies of an SQLite database while it is served, and back again.

Decision: SQLite's own online backup, in one step. Context: a server writes on while it is copied, and `cp` of a file
with a write-ahead log beside it is no copy. One step is one snapshot: everything committed before it began is in the
copy, nothing of what came later, and in WAL mode it makes no writer wait. The copy is one file, without a log beside
it. Price: the log of the original grows until the copy is done. PostgreSQL has `pg_dump`, see docs/operations.md.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path

from app.db.holder import hold
from app.db.migrate import HEAD, is_known
from app.db.session import LOCK_WAIT_SECONDS, Store
from app.errors import Invalid, Unavailable

#: What SQLite keeps beside a database; one that is left from another database would be taken for part of this one.
BESIDE = ("-wal", "-shm", "-journal")


def backup(store: Store, target: Path) -> str:
    """Copies the store's file, which may be in use, to `target`; returns the copy's revision.

    Raises: Invalid, Unavailable.
    """
    return _copy(_file_of(store), target)


def restore(source: Path, store: Store) -> str:
    """Copies a backup to where the store's file will be; returns its revision.

    Raises: Invalid, if something is there already or the backup is none of ours; Unavailable, if a server is at the
    file or the backup is a newer version's.
    """
    target = _file_of(store)
    with hold(store) or nullcontext():
        return _copy(source, target)


def _file_of(store: Store) -> Path:
    if not store.is_sqlite:
        raise Invalid("backup and restore copy SQLite files; for PostgreSQL use pg_dump and pg_restore")
    return Path(str(store.url.database))


def _copy(source: Path, target: Path) -> str:
    taken = [path for path in (target, *(Path(f"{target}{end}") for end in BESIDE)) if path.exists()]
    if taken:
        raise Invalid(f"{taken[0]} is there already and is not overwritten; name another file, or move it away")
    partial = Path(f"{target}.partial")  # nobody takes half a copy for a whole one
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # it holds every study and key's hash
    except FileExistsError as problem:
        raise Invalid(f"{partial} is there: a copy is under way, or was cut off; if so, remove it") from problem
    except OSError as problem:
        raise Invalid(f"cannot write {partial}: {problem.strerror}") from problem
    try:
        revision = _fill(source, partial)
        partial.rename(target)
    except BaseException:
        for end in ("", *BESIDE):
            Path(f"{partial}{end}").unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, outlives a power cut
    finally:
        os.close(folder)
    return revision


def _fill(source: Path, partial: Path) -> str:
    """Copies, and looks whether the copy is whole and one that this version can serve."""
    try:
        with closing(_open(source)) as here, closing(sqlite3.connect(partial)) as copy:
            here.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            damage = [text for (text,) in copy.execute("PRAGMA integrity_check") if text != "ok"]
            damage += [f"rows of {row[0]} without parents" for row in copy.execute("PRAGMA foreign_key_check")]
            tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            stamps = copy.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
            revision = next((str(stamp) for (stamp,) in stamps), None)
    except sqlite3.Error as problem:
        raise Invalid(f"cannot copy {source}: {problem}") from problem
    if damage:
        raise Invalid(f"{source} is damaged: {damage[0]}")
    if revision is None or "studies" not in tables:
        raise Invalid(f"{source} holds no studies; it was not made by metatune-server")
    if not is_known(revision):
        raise Unavailable(f"{source} is at revision {revision}, beyond {HEAD}; use the newer version that made it")
    return revision


def _open(source: Path) -> sqlite3.Connection:
    """Raises: Invalid, instead of making the file."""
    if not source.is_file():
        raise Invalid(f"there is no file {source}")
    return sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCK_WAIT_SECONDS)
