"""Connections that do not come to the point: raw sockets against the embedded server."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.test_cli import serving

#: Short, for the tests; none of them asserts how long something took.
SECONDS = 1.0
MOST = 12
ASK = b"POST /v1/studies/x/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('connections') / 'test.db'}"
    limits = {"header_seconds": SECONDS, "body_seconds": SECONDS, "max_connections": MOST, "max_body_bytes": 10_000}
    with serving("--database", database, **limits) as (_, address):
        yield address


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((str(parts.hostname), int(str(parts.port))), timeout=60)


def rest(connection: socket.socket) -> bytes:
    """Everything until the server closes; a server that never does is a timeout."""
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:  # it closed while we were still sending
        pass
    return said


def refusal(said: bytes, status: int, code: str) -> None:
    head, _, body = said.rpartition(b"\r\n\r\n")
    last = head[head.rindex(b"HTTP/1.1 ") :]
    assert last.startswith(b"HTTP/1.1 %d " % status), said
    assert b"content-type: application/problem+json" in last.lower()
    assert json.loads(body)["code"] == code


def alive(address: str) -> None:
    assert httpx2.get(f"{address}/healthz", timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", "too-slow"),
        (b"\r\n\r\n", "too-slow"),
        (b"GET /healthz HTTP/1.1\r\nHost: loc", "too-slow"),
        (ASK + b"Content-Length: 100\r\n\r\n{", "too-slow"),
        (ASK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "too-slow"),
    ],
    ids=["nothing", "empty lines", "half a header", "half a body", "half a chunked body"],
)
def test_a_request_that_stops_half_way_is_told_so_and_closed(address: str, sent: bytes, code: str) -> None:
    with connect(address) as connection:
        connection.sendall(sent)
        refusal(rest(connection), 408, code)
    alive(address)


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n", ASK + b"Transfer-Encoding: chunked\r\n\r\n"],
    ids=["headers", "a chunked body"],
)
def test_drops_that_keep_coming_do_not_put_the_end_off(address: str, sent: bytes) -> None:
    drop = b"x-drop: 1\r\n" if sent.startswith(b"GET") else b"1\r\n \r\n"
    with connect(address) as connection:
        connection.sendall(sent)
        stop = threading.Event()

        def dripping() -> None:
            while not stop.wait(SECONDS / 20):
                try:
                    connection.sendall(drop)
                except OSError:
                    return

        thread = threading.Thread(target=dripping)
        thread.start()
        try:
            said = rest(connection)
        finally:
            stop.set()
            thread.join()
    assert said == b"" or b"408" in said  # nothing, where a reset overtook it
    alive(address)


def test_after_an_answer_line_ends_alone_do_not_keep_a_connection(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"\r\n")
        refusal(rest(connection), 408, "too-slow")


def test_a_chunked_body_without_end_is_413_long_before_it_is_held(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(ASK + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        said = b""
        for _ in range(100_000):
            try:
                connection.sendall(chunk)
            except OSError:
                break
            connection.setblocking(False)
            with suppress(BlockingIOError, ConnectionResetError):
                said += connection.recv(65536)
            connection.setblocking(True)
            if b'"too-large"' in said:
                break
        assert b"413" in said
        assert b'"too-large"' in said
    alive(address)


def test_a_length_that_lies_is_found_out(address: str) -> None:
    with connect(address) as connection:  # more than it says: the rest is no request
        connection.sendall(ASK + b"Content-Length: 2\r\n\r\n{}" + b"{" * 100)
        refusal(rest(connection), 400, "bad-request")
    for lie in (
        b"Content-Length: -1\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    ):
        with connect(address) as connection:
            connection.sendall(ASK + lie + b"\r\n{}")
            refusal(rest(connection), 400, "bad-request")
    with connect(address) as connection:
        connection.sendall(ASK + b"Content-Length: 99999999999999\r\n\r\n{")
        assert b"413" in connection.recv(65536)
    alive(address)


def test_headers_without_end_are_431(address: str) -> None:
    with connect(address) as connection:
        said = b""
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nx-long: ")
            for _ in range(1000):
                connection.sendall(b"a" * 10_000)
        except OSError:
            pass
        said = rest(connection)
    assert said == b"" or b"431" in said
    alive(address)


def test_what_is_no_http_is_a_problem_document_too(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        refusal(rest(connection), 400, "bad-request")


def test_connections_beyond_the_most_are_told_to_come_back_and_others_are_served(address: str) -> None:
    with ExitStack() as stack:
        held = []
        for _ in range(MOST):  # asked on, so that none is given up meanwhile
            connection = stack.enter_context(connect(address))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held.append(connection.recv(65536))
        refused = stack.enter_context(connect(address))
        said = rest(refused)
        refusal(said, 503, "too-many-connections")
        assert b"retry-after: " in said.lower()
        assert all(b"200 OK" in answer for answer in held)
    alive_again(address)


def alive_again(address: str) -> None:
    for _ in range(100):
        try:
            if httpx2.get(f"{address}/healthz", timeout=60).status_code == 200:
                return
        except httpx2.HTTPError:
            continue
    raise AssertionError("no room again")


def test_connections_cut_by_their_peer_leave_room_for_others(address: str) -> None:
    for _ in range(5 * MOST):
        connection = connect(address)
        connection.sendall(ASK + b"Content-Length: 100\r\n\r\n{")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a goodbye
        connection.close()
        alive_again(address)


def test_several_requests_sent_ahead_are_answered_in_order(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        said = b""
        while said.count(b'{"status":"ok"}') < 20:
            part = connection.recv(65536)
            assert part, said
            said += part


def test_cut_bodies_are_not_counted_as_our_mistakes(tmp_path: Path) -> None:
    with serving("--database", f"sqlite:///{tmp_path / 'cut.db'}", body_seconds=SECONDS) as (_, address):
        with connect(address) as connection:
            connection.sendall(ASK + b"Content-Length: 100\r\n\r\n{")
            refusal(rest(connection), 408, "too-slow")
        figures: Any = httpx2.get(f"{address}/metrics", timeout=60).text
        assert 'status="5' not in figures
