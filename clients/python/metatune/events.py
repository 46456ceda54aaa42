"""The events of a study as they happen: Server-Sent Events, read line by line, and where to go on after a break."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from metatune.errors import MetatuneError
from metatune.wire import Request, study_path

#: A server says something every 15 seconds.
SILENCE_SECONDS = 45.0
LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True)
class Event:
    """What happened: `trial.created`, `.started`, `.reported`, `.finished`, `.released`, `.expired`, `.removed`,
    `study.updated`; or `reset`: too much has happened since, read the study again.
    """

    type: str
    study: str
    number: int | None
    state: str | None
    revision: int


class Feed:
    """The stream of one study. Takes its lines, knows the last event, and how long to wait before the next attempt."""

    def __init__(self, study: str, after: int | None, retry_seconds: float) -> None:
        self._study = study
        self._last_id = None if after is None else str(after)
        self._retry_seconds = retry_seconds
        self._pause_seconds = 2.0
        self._n_lost = 0
        self._heard_at = time.monotonic()
        self._kind = "message"
        self._data: list[str] = []
        self._id: str | None = None

    def request(self) -> Request:
        """Goes on behind the last event that was heard."""
        self._kind, self._data, self._id = "message", [], None
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        return Request("GET", study_path(self._study, "events"), headers=headers, answer_seconds=SILENCE_SECONDS)

    def take(self, line: str) -> Event | None:
        """The event that this line completes, if it does."""
        self._heard_at = time.monotonic()
        self._n_lost = 0
        line = line.rstrip("\r\n")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isdecimal():
            self._pause_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Event | None:
        kind, data = self._kind, "\n".join(self._data)
        if self._id is not None:  # also of a block without data: it only says where we are
            self._last_id = self._id
        self._kind, self._data, self._id = "message", [], None
        if not data:
            return None
        said: dict[str, Any] = json.loads(data)
        return Event(kind, str(said["study"]), said.get("number"), said.get("state"), int(said["revision"]))

    def pause(self, lost: MetatuneError | None) -> float:
        """Seconds to wait before the next attempt, after the stream ended or was lost.

        Raises: the error, if it is no passing one, or if nothing was heard for as long as we keep trying.
        """
        if lost is not None:
            silent_seconds = time.monotonic() - self._heard_at
            if not lost.is_passing or silent_seconds > self._retry_seconds:
                raise lost
            self._n_lost += 1
            return max(
                lost.retry_after_seconds, min(self._pause_seconds * 2.0 ** (self._n_lost - 1), LONGEST_PAUSE_SECONDS)
            )
        return self._pause_seconds
