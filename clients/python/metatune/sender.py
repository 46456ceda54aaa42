"""Sends requests over httpx and keeps trying while the server restarts.

A request that can be sent twice without harm is sent again after a failed connection and after 429, 502, 503
and 504: when Retry-After says so, otherwise after a pause that doubles each time and is drawn at random, so
that a hundred workers do not come back in step. What is done about an answer, or about none, is said once, for both
senders; only the sending and the waiting are theirs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import tenacity

from metatune.errors import MetatuneError, ServerUnreachable, problem_in
from metatune.wire import Call, Request, T

logger = logging.getLogger("metatune")

CONNECT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.25
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 15.0
SPREAD = tenacity.wait_random_exponential(
    multiplier=FIRST_PAUSE_SECONDS, min=SHORTEST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS
)
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def headers_with(key: str | None) -> dict[str, str]:
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    return {"Accept": "application/json", "User-Agent": "metatune-python", **authorization}


def patience(request: Request, seconds: float) -> dict[str, Any]:
    """How tenacity is to treat this request: what is tried again, when, how long, and what the log says of it."""

    def pause(state: tenacity.RetryCallState) -> float:
        return max(_fault_of(state).retry_after_seconds, SPREAD(state))

    def note(state: tenacity.RetryCallState) -> None:
        logger.log(
            logging.WARNING if state.attempt_number in (2, 6) else logging.DEBUG,
            "%s %s: %s; trying again for %.0f s",
            request.method,
            request.path,
            _fault_of(state),
            seconds - (state.seconds_since_start or 0.0),
        )

    return {
        "retry": tenacity.retry_if_exception(lambda fault: isinstance(fault, MetatuneError) and fault.is_passing),
        "wait": pause,
        "stop": tenacity.stop_before_delay(seconds),
        "before_sleep": note,
        "reraise": True,
    }


def _fault_of(state: tenacity.RetryCallState) -> MetatuneError:
    fault = state.outcome.exception() if state.outcome else None
    if not isinstance(fault, MetatuneError):
        raise TypeError(f"only our own errors are tried again, not {fault!r}")
    return fault


def arguments_of(request: Request) -> dict[str, Any]:
    content = request.content
    headers = dict(request.headers)
    if content is not None:
        headers["Content-Type"] = "application/json"
    body = {"data": request.form, "files": request.files} if request.files else {"content": content}
    return {
        **body,
        "method": request.method,
        "url": request.path,
        "params": request.query,
        "headers": headers,
        "timeout": httpx.Timeout(request.answer_seconds, connect=CONNECT_SECONDS),
    }


def read(request: Request, response: httpx.Response) -> Any:
    """The answer.  Raises: Problem, if the server says no."""
    if response.is_success:
        if request.is_bytes:
            return response.content
        if request.is_text:
            return response.text
        return response.json() if response.content else None
    problem = problem_in(response)
    problem.is_passing = problem.is_passing and request.retryable
    raise problem


@contextlib.contextmanager
def no_answer_from(url: str, request: Request) -> Iterator[None]:
    """Turns httpx's faults into ours."""
    try:
        yield
    except HOPELESS as fault:
        hopeless = ServerUnreachable(f"cannot send to {url}: {fault}")
        hopeless.is_passing = False
        raise hopeless from fault
    except httpx.TransportError as fault:
        away = ServerUnreachable(
            f"no answer from {url} ({str(fault) or type(fault).__name__}); is the server running there? "
            "METATUNE_URL or url=... says where it is, `metatune doctor` looks"
        )
        away.is_passing = request.retryable or isinstance(fault, NEVER_SENT)
        raise away from fault


class Sender:
    """Thread-safe; one pool of connections for all threads."""

    def __init__(
        self, url: str, key: str | None, retry_seconds: float, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.retry_seconds = retry_seconds
        self._http = httpx.Client(base_url=self.url, headers=headers_with(key), transport=transport)

    def send(self, request: Request, *, retry_seconds: float | None = None) -> Any:
        """The answer's JSON.

        Raises: Problem, if the server says no; ServerUnreachable, if it says nothing for `retry_seconds`.
        """
        seconds = self.retry_seconds if retry_seconds is None else retry_seconds
        for attempt in tenacity.Retrying(**patience(request, seconds)):
            with attempt, no_answer_from(self.url, request):
                return read(request, self._http.request(**arguments_of(request)))

    def call(self, call: Call[T], *, retry_seconds: float | None = None) -> T:
        return call.read(self.send(call.request, retry_seconds=retry_seconds))

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[Iterator[str]]:
        """The lines of an answer that does not end.  Raises: as send, at once."""
        with (
            no_answer_from(self.url, request),
            self._http.stream(**arguments_of(request)) as response,
        ):
            if not response.is_success:
                response.read()
                read(request, response)
            yield response.iter_lines()

    def close(self) -> None:
        self._http.close()


class AsyncSender:
    """The same for one event loop."""

    def __init__(
        self, url: str, key: str | None, retry_seconds: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.retry_seconds = retry_seconds
        self._http = httpx.AsyncClient(base_url=self.url, headers=headers_with(key), transport=transport)

    async def send(self, request: Request, *, retry_seconds: float | None = None) -> Any:
        seconds = self.retry_seconds if retry_seconds is None else retry_seconds
        async for attempt in tenacity.AsyncRetrying(**patience(request, seconds)):
            with attempt, no_answer_from(self.url, request):
                return read(request, await self._http.request(**arguments_of(request)))

    async def call(self, call: Call[T], *, retry_seconds: float | None = None) -> T:
        return call.read(await self.send(call.request, retry_seconds=retry_seconds))

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[str]]:
        with no_answer_from(self.url, request):
            async with self._http.stream(**arguments_of(request)) as response:
                if not response.is_success:
                    await response.aread()
                    read(request, response)
                yield response.aiter_lines()

    async def close(self) -> None:
        await self._http.aclose()
