"""A disk that forgets what it was not told to keep: what a power cut does to SQLite, which killing a process does not.

A killed process leaves its writes in the system's memory, and the next one reads them there. So a SIGKILL never shows
whether a commit was brought to disk. Here SQLite's own door to its files is replaced: every write and truncation is
noted, old and new, beside the file, until the file is synced. `cut` then makes the file what it was when it was last
synced, with some sectors of the later writes, in whatever order: a disk promises no more than that.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Behind the name of a file: what was written to it since it was synced.
NOTES = ".unsynced"
SECTOR = 512
#: Offset, how many bytes were there and are there now, and how long the file was.  A truncation has an offset of −1.
_NOTE = struct.Struct("<qqqq")

_OPEN_MAIN_DB, _OPEN_WAL = 0x100, 0x80000
_Open = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,  # the name; SQLite keeps this very address
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_int),
)
_Move = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
#: sqlite3_io_methods, of which we take the place of three.
_N_METHODS, _WRITE, _TRUNCATE, _SYNC = 19, 3, 4, 5


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, as far as we look."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("path_bytes", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", _Open),
    )


class _Notes:
    """Of one file, however many connections have it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.file = os.open(f"{path}{NOTES}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, offset: int, new: bytes) -> None:
        with self.path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(offset)
            old = file.read(len(new))
        os.write(self.file, _NOTE.pack(offset, len(old), len(new), length) + old + new)

    def truncate(self, to: int) -> None:
        with self.path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(to)
            old = file.read()
        os.write(self.file, _NOTE.pack(-1, len(old), 0, length) + old)

    def forget(self) -> None:
        os.ftruncate(self.file, 0)


_kept: list[Any] = []  # callbacks and tables that SQLite points to


def watch() -> None:
    """From here on this process notes what it writes.  Raises: AttributeError, if its SQLite cannot be reached."""
    import _sqlite3

    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None).contents
    open_really = _Open(ctypes.cast(vfs.open, ctypes.c_void_p).value or 0)
    notes: dict[str, _Notes] = {}
    of_file: dict[int, _Notes] = {}
    tables: dict[int, Any] = {}

    def table_beside(original: int) -> Any:
        """SQLite's functions for a file, with ours in the place of three."""
        methods = (ctypes.c_void_p * _N_METHODS).from_address(original)
        write, truncate, sync = _Move(methods[_WRITE]), _Truncate(methods[_TRUNCATE]), _Sync(methods[_SYNC])

        def noted_write(file: int, data: int, count: int, offset: int) -> int:
            with of_file[file].lock:
                of_file[file].write(offset, ctypes.string_at(data, count))
                done: int = write(file, data, count, offset)
            return done

        def noted_truncate(file: int, to: int) -> int:
            with of_file[file].lock:
                of_file[file].truncate(to)
                done: int = truncate(file, to)
            return done

        def noted_sync(file: int, flags: int) -> int:
            with of_file[file].lock:
                done: int = sync(file, flags)
                if done == 0:
                    of_file[file].forget()
            return done

        ours = (ctypes.c_void_p * _N_METHODS)(*methods)
        replaced = {_WRITE: _Move(noted_write), _TRUNCATE: _Truncate(noted_truncate), _SYNC: _Sync(noted_sync)}
        for place, function in replaced.items():
            ours[place] = ctypes.cast(function, ctypes.c_void_p).value
        _kept.append(replaced)
        return ours

    def noted_open(vfs: int, name: int | None, file: Any, flags: int, out: Any) -> int:
        done: int = open_really(vfs, name, file, flags, out)
        if done == 0 and name is not None and flags & (_OPEN_MAIN_DB | _OPEN_WAL):
            path, original = os.fsdecode(ctypes.string_at(name)), file[0]
            address = ctypes.addressof(file.contents)
            of_file[address] = notes.setdefault(path, _Notes(Path(path)))
            file[0] = ctypes.addressof(tables.setdefault(original, table_beside(original)))
        return done

    vfs.open = _Open(noted_open)
    _kept.extend([vfs.open, open_really, tables])


def wait_for_unsynced(database: Path, seconds: float = 1.0) -> None:
    """Until a write is under way, so that a cut meets one; or not at all, when nobody writes."""
    notes = [Path(f"{path}{NOTES}") for path in (database, f"{database}-wal")]
    end = time.monotonic() + seconds
    while time.monotonic() < end and not any(path.exists() and path.stat().st_size for path in notes):
        time.sleep(0.0005)


def cut(database: Path, rng: random.Random) -> int:
    """The power fails; the server must be dead already. Returns how many writes had not been synced."""
    lost = 0
    for path in (database, Path(f"{database}-wal")):
        noted = Path(f"{path}{NOTES}")
        if noted.exists() and path.exists():
            notes = list(_read(noted.read_bytes()))
            lost += len(notes)
            _forget(path, notes, share=rng.choice((0.0, 0.5)), rng=rng)
        noted.unlink(missing_ok=True)
    Path(f"{database}-shm").unlink(missing_ok=True)  # it was never more than memory
    return lost


def _read(noted: bytes) -> Iterator[tuple[int, bytes, bytes, int]]:
    at = 0
    while len(noted) - at >= _NOTE.size:
        offset, n_old, n_new, length = _NOTE.unpack_from(noted, at)
        at += _NOTE.size
        yield offset, noted[at : at + n_old], noted[at + n_old : at + n_old + n_new], length
        at += n_old + n_new


def _forget(path: Path, notes: list[tuple[int, bytes, bytes, int]], *, share: float, rng: random.Random) -> None:
    """Back to what was synced, and then a share of the later sectors after all."""
    with path.open("r+b") as file:
        for offset, old, _, length in reversed(notes):
            file.truncate(length)  # it becomes longer or shorter
            file.seek(length - len(old) if offset < 0 else offset)
            file.write(old)
        for offset, _, new, _ in notes:
            for start in range(0, len(new), SECTOR):
                if rng.random() < share:
                    file.seek(offset + start)
                    file.write(new[start : start + SECTOR])
