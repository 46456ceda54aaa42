"""Sends requests over httpx and keeps trying while the server restarts.

A request that can be sent twice without harm is sent again after a failed connection and after 429, 502, 503
and 504: when Retry-After says so, otherwise after a pause that doubles each time and is drawn at random, so
that a hundred workers do not come back in step.
"""

from __future__ import annotations

import datetime
import email.utils
import logging
import random
import time
from itertools import count
from typing import Any

import httpx

from metatune.errors import MetatuneError, ServerUnreachable, problem_in
from metatune.wire import Request

logger = logging.getLogger("metatune")

CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 15.0
PASSING = frozenset({429, 502, 503, 504})
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Sender:
    """Thread-safe; one pool of connections for all threads."""

    def __init__(
        self, url: str, key: str | None, retry_seconds: float, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Accept": "application/json", "User-Agent": "metatune-python"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self.url = url.rstrip("/")
        self.retry_seconds = retry_seconds
        self._http = httpx.Client(base_url=self.url, headers=headers, transport=transport)

    def send(self, request: Request, *, retry_seconds: float | None = None) -> Any:
        """The answer's JSON.

        Raises: Problem, if the server says no; ServerUnreachable, if it says nothing for `retry_seconds`.
        """
        give_up_at = time.monotonic() + (self.retry_seconds if retry_seconds is None else retry_seconds)
        for attempt in count():
            problem: MetatuneError
            pause = backoff_seconds(attempt)
            may_repeat = request.retryable
            try:
                response = self._attempt(request)
            except HOPELESS as fault:
                raise ServerUnreachable(f"cannot send to {self.url}: {fault}") from fault
            except httpx.TransportError as fault:
                problem = ServerUnreachable(
                    f"no answer from {self.url} ({str(fault) or type(fault).__name__}); is the server running there?"
                )
                problem.__cause__ = fault
                may_repeat = may_repeat or isinstance(fault, NEVER_SENT)
            else:
                if response.is_success:
                    return response.json() if response.content else None
                problem = problem_in(response)
                if response.status_code not in PASSING:
                    raise problem
                pause = max(retry_after_seconds(response), pause)
            if not may_repeat or time.monotonic() + pause > give_up_at:
                raise problem
            logger.log(
                logging.WARNING if attempt in (1, 5) else logging.DEBUG,
                "%s %s: %s; trying again for %.0f s",
                request.method,
                request.path,
                problem,
                give_up_at - time.monotonic(),
            )
            time.sleep(pause)
        raise AssertionError("count() never ends")

    def _attempt(self, request: Request) -> httpx.Response:
        content = request.content
        headers = dict(request.headers)
        if content is not None:
            headers["Content-Type"] = "application/json"
        return self._http.request(
            request.method,
            request.path,
            content=content,
            params=request.query,
            headers=headers,
            timeout=httpx.Timeout(request.answer_seconds, connect=CONNECT_SECONDS),
        )

    def close(self) -> None:
        self._http.close()


def backoff_seconds(attempt: int) -> float:
    """Doubling from a quarter second to fifteen, of which at least half is waited."""
    longest: float = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311  (spreads workers out; no secret)


def retry_after_seconds(response: httpx.Response) -> float:
    """The header's wish, given in seconds or as a date; 0 without one."""
    wish = response.headers.get("Retry-After", "").strip()
    if not wish:
        return 0.0
    try:
        return max(0.0, float(wish))
    except ValueError:
        pass
    try:
        at = email.utils.parsedate_to_datetime(wish)
    except ValueError:
        return 0.0
    now = datetime.datetime.now(datetime.timezone.utc)
    return max(0.0, (at.replace(tzinfo=at.tzinfo or datetime.timezone.utc) - now).total_seconds())
