"""What surrounds every request: its id, its line in the log, its figures, and whether a browser may send it."""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import tracing
from app.api.body import FORM_BYTES, UPLOADS
from app.api.problems import BadBody, problem

logger = logging.getLogger("metatune.access")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

REQUESTS = Counter("metatune_http_requests_total", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "metatune_http_request_seconds",
    "Seconds until the answer had left",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


class Observed:
    """Gives the request an id and, when it is answered, a line in the log and its place in the metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        given = header(scope, b"x-request-id")
        own = given if given and _ID.fullmatch(given) else secrets.token_hex(8)
        request_id.set(own)
        scope.setdefault("state", {})["request_id"] = own
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in HEADERS if header[0] not in names),
                    (b"x-request-id", own.encode()),
                ]
            await send(message)

        with tracing.request(header(scope, b"traceparent")) as span:
            try:
                await self.app(scope, receive, sending)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "unmatched")  # a template: never what a caller typed
                method = scope["method"] if scope["method"] in METHODS else "OTHER"
                if span is not None:
                    tracing.answered(span, method=method, route=route, status=status, request_id=own)
                REQUESTS.labels(method, route, str(status)).inc()
                SECONDS.labels(method, route).observe(seconds)
                logger.info(
                    "request",
                    extra={"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 2)},
                )


class Guarded:
    """Open mode is safe from browsers: `Host` must be a known name, and what comes from a foreign page is refused.

    A page says its `Origin` with what writes. With what it merely loads (an image, a script) it does not, and from
    whether that loads it learns which studies there are; `Sec-Fetch-Site` gives it away. A link may lead here.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = header(scope, b"host") or ""
            if not self._is_known(_hostname(host)):
                refusal = problem(
                    403,
                    "unknown-host",
                    f"this server does not answer as {host[:100]!r}; name it in METATUNE_HOSTS if it should",
                )
                await refusal(scope, receive, send)
                return
            origin = header(scope, b"origin")
            if origin is not None and urlsplit_netloc(origin) != host.lower():
                refusal = problem(403, "foreign-origin", f"requests from pages of {origin[:100]!r} are refused")
                await refusal(scope, receive, send)
                return
            site, mode = header(scope, b"sec-fetch-site"), header(scope, b"sec-fetch-mode")
            is_link = mode == "navigate" and scope["method"] in ("GET", "HEAD")
            if site not in (None, "none", "same-origin") and not is_link:
                refusal = problem(403, "foreign-origin", "what pages of other sites load from here is refused")
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_known(self, name: str) -> bool:
        return name in self.hosts or name == "localhost" or _is_loopback(name)


class Limited:
    """Refuses bodies beyond the limit, announced or not. (The framework would answer in plain text.)

    A file may have more; it is kept on disk while it comes.
    """

    def __init__(self, app: ASGIApp, most: int, most_of_file: int) -> None:
        self.app = app
        self.most = most
        self.most_of_file = most_of_file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_file = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in UPLOADS
        most = max(self.most, self.most_of_file + FORM_BYTES) if is_file else self.most
        announced = header(scope, b"content-length") if scope["type"] == "http" else None
        if announced is not None and announced.isdecimal() and int(announced[:20]) > most:
            await problem(413, "too-large", _too_large(most))(scope, receive, send)
            return
        read = 0

        async def receiving() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise BadBody(413, "too-large", _too_large(most))
            return message

        await self.app(scope, receiving, send)


def _too_large(most: int) -> str:
    return f"a body may have {most} bytes; send less at a time"


@lru_cache(maxsize=64)
def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=64)
def _hostname(host: str) -> str:
    """Of a `Host` header, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def urlsplit_netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
