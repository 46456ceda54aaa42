"""Brings results to the server by way of the outbox: what is done about each answer, for both senders.

A step of a delivery is a generator that yields the requests to send and is sent back the answer or the error; the
synchronous client and the asynchronous one run the same generator.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from metatune.errors import (
    BadRequest,
    Conflict,
    Invalid,
    LeaseLost,
    MetatuneError,
    NotFound,
    ServerUnreachable,
    Unavailable,
)
from metatune.outbox import Letter, Outbox
from metatune.wire import Request

logger = logging.getLogger("metatune")

#: The server read it and said no for good.
FINAL = (NotFound, Conflict, Invalid, BadRequest)

#: Yields a request, receives its answer or what it raised.
Steps = Generator[Request, "Answer", Any]


@dataclass(frozen=True)
class Answer:
    value: Any = None
    error: MetatuneError | None = None


@dataclass(frozen=True)
class Delivered:
    """What became of results that waited."""

    delivered: int = 0
    refused: int = 0
    waiting: int = 0

    def and_then(self, later: Delivered) -> Delivered:
        return Delivered(self.delivered + later.delivered, self.refused + later.refused, later.waiting)


@dataclass(frozen=True)
class Kept:
    """The answer of a result that waits on disk for the server to come back."""

    letter: Letter
    why: MetatuneError


def delivering(outbox: Outbox, study_uid: str | None, request: Request) -> Steps:
    """Sends a result, and holds it until it was taken. Returns the answer, or Kept.

    Raises: Problem, if the server refuses it; ServerUnreachable, if it could neither be sent nor kept.
    """
    letter = outbox.keep(study_uid, request)
    try:
        answer = yield request
        if answer.error is None:
            outbox.drop(letter)
            return answer.value
        if isinstance(answer.error, FINAL):
            outbox.drop(letter)
            raise answer.error
    finally:
        outbox.leave(letter)
    if letter.file is None or not isinstance(answer.error, (ServerUnreachable, Unavailable)):
        raise answer.error
    logger.warning("%s; the result is kept in %s and delivered when the server is back", answer.error, letter.file)
    return Kept(letter, answer.error)


def delivering_what_waits(outbox: Outbox, study_uid: str | None) -> Steps:
    """Sends what other times left behind, oldest first, until the server is away again. Returns Delivered."""
    n_delivered = n_refused = n_waiting = 0
    for letter in outbox.waiting(study_uid):
        try:
            if n_waiting:  # the server is away: what is left is only counted
                n_waiting += 1
                continue
            if letter.is_too_old:
                outbox.put_aside(letter, "it is so old that the server may no longer know whether it took it")
                n_refused += 1
                continue
            answer = yield letter.request
            late = letter.without_lease()
            if isinstance(answer.error, LeaseLost) and late is not None:
                answer = yield late.request
            if answer.error is None:
                outbox.drop(letter)
                n_delivered += 1
            elif isinstance(answer.error, FINAL):
                outbox.put_aside(letter, answer.error)
                n_refused += 1
            else:
                n_waiting += 1
        finally:
            outbox.leave(letter)
    if n_delivered:
        logger.info("%d results that waited on disk were delivered", n_delivered)
    return Delivered(n_delivered, n_refused, n_waiting)
