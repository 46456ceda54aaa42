"""Connections that do not come to the point are closed: the embedded server's own limits.

Uvicorn waits without end for a first byte, for the rest of the headers and for the rest of a body, and takes headers of
any length. Here a request has `header_seconds` for its headers, `body_seconds` for its body, `MAX_HEADER_BYTES`, and a
process has `max_connections`; what is refused is told why, as everything else, in a problem document.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.problems import MEDIA_TYPE, problem

#: Of a request's line and headers together. (What is whole within one packet is read; a packet is bounded too.)
MAX_HEADER_BYTES = 64 * 1024
#: What a caller is told to wait whom there was no room for.
RETRY_SECONDS = 5


class Bounded(HttpToolsProtocol):
    """Set up for the whole process by `app.serve.worker`."""

    header_seconds: ClassVar[float] = 10.0
    body_seconds: ClassVar[float] = 120.0
    max_connections: ClassVar[int] = 2000

    _deadline: asyncio.TimerHandle | None = None
    _is_in_headers = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()
        if len(self.connections) > self.max_connections:
            self._refuse(503, "too-many-connections", f"this process has {self.max_connections} connections; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and self._under_way is None:
            self._await_headers()  # also if these are only line ends, which no parser reports
        if self._is_in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._is_in_headers and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, "headers-too-large", f"a request's headers may have {MAX_HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._is_in_headers = False
        self._arm(self.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._disarm()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad-request", "this is not HTTP/1.1 that the server could read")

    @property
    def _under_way(self) -> RequestResponseCycle | None:
        """The request that is read or answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def _await_headers(self) -> None:
        self._is_in_headers, self._header_bytes = True, 0
        self._arm(self.header_seconds)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._expire, seconds)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self, seconds: float) -> None:
        self._deadline = None
        under_way = self._under_way
        if self._is_in_headers and under_way:  # the next request, sent ahead: its reading waits for this answer
            self._arm(seconds)
        elif under_way and under_way.response_started:
            self.transport.close()
        else:
            what = "headers" if self._is_in_headers else "body"
            self._refuse(408, "too-slow", f"a request's {what} must be here within {seconds:g} s")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answers without the application, and closes."""
        if self.transport.is_closing():
            return
        self._disarm()
        body = bytes(problem(status, code, detail).body)
        lines = [b"content-type: " + MEDIA_TYPE.encode(), b"content-length: %d" % len(body), b"connection: close"]
        if status == 503:
            lines.append(b"retry-after: %d" % RETRY_SECONDS)
        self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
