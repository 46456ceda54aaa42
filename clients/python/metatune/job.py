"""What searches, learners and evaluations have in common: a job that the server's workers run, and how it stands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote

from metatune.errors import MetatuneError
from metatune.wire import Request

if TYPE_CHECKING:
    from metatune.connection import Connection

POLL_SECONDS = 1.0
UNFINISHED = ("queued", "running")

Self = TypeVar("Self", bound="Job")


class JobFailed(MetatuneError):
    """The job came to no result: its reason, in the server's words."""


def printed(info: Mapping[str, Any]) -> None:
    """One line on standard error, written over as the job goes on."""
    end = "\r" if info["state"] in UNFINISHED else "\n"
    sys.stderr.write(f"{info['name']}: {info['state']}, {info['progress']:4.0%}{end}")
    sys.stderr.flush()


def need_success(kind: str, info: Mapping[str, Any]) -> None:
    """Raises: JobFailed."""
    if info["state"] != "succeeded":
        raise JobFailed(f"{kind} {info['name']!r} is {info['state']}: {info['error'] or 'by somebody'}")


@dataclass(frozen=True)
class Job:
    """One job, of the kind that the class says."""

    _connection: Connection
    name: str

    _kind: ClassVar[str]
    _collection: ClassVar[str]

    def info(self) -> dict[str, Any]:
        """How it stands: state, progress, attempts, the last lines of its log, and the result once there is one."""
        return dict(self._ask("GET"))

    def wait(self: Self, progress: Callable[[Mapping[str, Any]], None] = printed) -> Self:
        """Returns when it is done.  Raises: JobFailed, if it failed or was cancelled."""
        while True:
            info = self.info()
            progress(info)
            if info["state"] not in UNFINISHED:
                break
            time.sleep(POLL_SECONDS)
        need_success(self._kind, info)
        return self

    def cancel(self) -> dict[str, Any]:
        """Stops it; what it found so far stays."""
        return dict(self._ask("POST", "cancel", json={}))

    def delete(self) -> None:
        self._ask("DELETE")

    def _ask(self, method: str, *rest: str, json: Any = None, **query: Any) -> Any:
        return self._connection.send(Request(method, self._path(*rest), json=json, query=query))

    def _path(self, *rest: str) -> str:
        return "/".join([self._collection, quote(self.name, safe=""), *rest])
