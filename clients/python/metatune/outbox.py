"""Results on their way to the server, kept on disk until it has acknowledged them.

A result is a small file, written before it is sent and removed once it was taken. So it outlives a server that is away,
a network that is cut, and this process too: whoever opens the study next on this machine delivers it first. Delivered
twice, because somebody did not hear the answer, it still counts once: a tell names its trial and is recognised by its
values, and what makes something carries the Idempotency-Key of the first attempt. Whoever is delivering a file has it
locked, and others leave it alone; the lock ends with its process.

What the server will never take (the trial was finished differently, the study is gone) is put aside in `refused/`, for
a person to look at; nothing is deleted unheard.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metatune.wire import Request, plain

logger = logging.getLogger("metatune")

#: The server remembers an Idempotency-Key for 24 hours; later the same call would take effect again.
KEY_LASTS_SECONDS = 23 * 3600.0


@dataclass(frozen=True)
class Letter:
    """One result to deliver, and the file that holds it (None: it could not be written)."""

    study_uid: str
    request: Request
    kept_at: float
    file: Path | None
    #: The open file that holds the lock, until `leave`.
    descriptors: list[int] = field(default_factory=list, compare=False)

    @property
    def is_too_old(self) -> bool:
        """Could it take effect a second time?"""
        return "Idempotency-Key" in self.request.headers and time.time() > self.kept_at + KEY_LASTS_SECONDS

    def without_lease(self) -> Letter | None:
        """The same as a late word, for a trial in other hands: only a value is worth that, not a failure."""
        body = dict(self.request.json)
        if "lease" not in body or "state" in body:
            return None
        del body["lease"]
        request = Request(self.request.method, self.request.path, json=body)
        return Letter(self.study_uid, request, self.kept_at, self.file)


def default_folder() -> Path:
    """METATUNE_OUTBOX, else `metatune/outbox` where this system keeps the state of programs."""
    named = os.environ.get("METATUNE_OUTBOX")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(state) if state else Path.home() / ".local" / "state") / "metatune" / "outbox"


class Outbox:
    """The letters for one server. Any number of processes may share the folder."""

    def __init__(self, folder: Path | None, url: str) -> None:
        import hashlib

        address = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.folder = None if folder is None else folder / address
        self._is_warned = False

    def keep(self, study_uid: str | None, request: Request) -> Letter:
        """On disk when it returns. Where that cannot be, the log says so, and the result is only sent."""
        now = time.time()
        if self.folder is None or study_uid is None:
            return Letter(study_uid or "", request, now, None)
        file = self.folder / study_uid / f"{int(now * 1e6):016d}-{os.urandom(4).hex()}.json"
        text = json.dumps(
            {
                "study_uid": study_uid,
                "method": request.method,
                "path": request.path,
                "json": plain(request.json),
                "headers": dict(request.headers),
                "kept_at": now,
            }
        )
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = _write(file, text)
        except OSError as fault:
            if not self._is_warned:
                logger.warning(
                    "results cannot be kept in %s (%s): one that the server does not take at once is lost with this "
                    "process; set METATUNE_OUTBOX to a folder that can be written",
                    self.folder,
                    fault,
                )
                self._is_warned = True
            return Letter(study_uid, request, now, None)
        return Letter(study_uid, request, now, file, [descriptor])

    def waiting(self, study_uid: str | None) -> Iterator[Letter]:
        """Those that nobody else is delivering, oldest first, each ours until `leave`.

        A file that is no letter is left where it is, and the log says so.
        """
        if self.folder is None or study_uid is None:
            return
        try:
            files = sorted((self.folder / study_uid).glob("*.json"))
        except OSError:
            return
        for file in files:
            letter = _read(file)
            if letter is not None:
                yield letter

    def leave(self, letter: Letter) -> None:
        """From here on others may deliver it, if it is still there."""
        while letter.descriptors:
            os.close(letter.descriptors.pop())

    def count(self) -> int:
        """Of all studies."""
        return 0 if self.folder is None else sum(1 for _ in self.folder.glob("*/*.json"))

    def drop(self, letter: Letter) -> None:
        """It was taken."""
        if letter.file is not None:
            letter.file.unlink(missing_ok=True)

    def put_aside(self, letter: Letter, why: object) -> None:
        """It will never be taken."""
        if letter.file is None:
            return
        aside = letter.file.parent / "refused" / letter.file.name
        try:
            aside.parent.mkdir(mode=0o700, exist_ok=True)
            letter.file.replace(aside)
        except FileNotFoundError:  # another process was faster
            return
        logger.warning("a result that waited was refused, and now lies in %s: %s", aside, why)


def _write(file: Path, text: str) -> int:
    """Whole or not at all, and there after a power cut. Returns the open file, locked."""
    partial = file.with_suffix(".partial")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _lock(descriptor)
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
        partial.replace(file)
        if os.name == "posix":
            folder = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _read(file: Path) -> Letter | None:
    """The letter, locked; None, if somebody else has it or it is none."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:  # delivered in the meantime
        return None
    try:
        if _lock(descriptor) and file.exists():
            with os.fdopen(os.dup(descriptor)) as opened:
                kept: dict[str, Any] = json.load(opened)
            request = Request(kept["method"], kept["path"], json=kept["json"], headers=kept["headers"])
            return Letter(str(kept["study_uid"]), request, float(kept["kept_at"]), file, [descriptor])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        logger.warning("%s cannot be read as a result that waits: %s", file, fault)
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    """Is it ours now? Where files cannot be locked it always is: a result that is told twice still counts once."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
