"""Bodies, headers and connections that no generator makes: the server answers with a clean problem, and goes on."""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.server import Server

pytestmark = pytest.mark.slow

UNIT = {"type": "float", "low": 0, "high": 1}
JSON = {"Content-Type": "application/json"}
MIB = 2**20
#: What a body of 30 MB, or many of them one after the other, may leave behind in the server, in bytes.
GROWTH = 256 * MIB


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("nasties")
    database = None
    if request.param == "postgresql":
        database = request.getfixturevalue("migrated_postgresql")()
    with Server(folder, database=database) as server:
        with httpx.Client(base_url=server.url) as http:
            http.put("/v1/studies/s", json={"space": {"x": UNIT}, "algorithm": "random"}).raise_for_status()
            http.post("/v1/studies/s/ask", json={"count": 200}).raise_for_status()
        yield server
        assert "unexpected error" not in server.log.read_text()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """A client; when the test is over the server is still there, well, and the same process."""
    before = server.pid
    with httpx.Client(base_url=server.url, timeout=60.0) as client:
        yield client
        assert client.get("/readyz").status_code == 200
    assert server.pid == before


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json", response.text[:500]
    body: dict[str, Any] = response.json()
    assert set(body) >= {"type", "title", "status", "detail", "code"}
    assert body["status"] == response.status_code
    return body


def refused(response: httpx.Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text[:500]
    problem(response)


ROUTES = [
    ("PUT", "/v1/studies/other"),
    ("POST", "/v1/studies"),
    ("PATCH", "/v1/studies/s"),
    ("PATCH", "/v1/studies/s/space"),
    ("POST", "/v1/studies/import"),
    ("POST", "/v1/studies/s/copy"),
    ("POST", "/v1/studies/s/ask"),
    ("POST", "/v1/studies/s/tell"),
    ("POST", "/v1/studies/s/trials"),
    ("POST", "/v1/studies/s/trials/1/tell"),
    ("POST", "/v1/studies/s/trials/1/report"),
    ("POST", "/v1/studies/s/trials/1/heartbeat"),
    ("POST", "/v1/studies/s/trials/1/release"),
    ("POST", "/v1/studies/s/trials/1/stop"),
    ("POST", "/v1/studies/s/trials/1/retry"),
    ("PATCH", "/v1/studies/s/trials/1"),
]

UNREADABLE = {
    "nothing but a brace": b"{",
    "two values": b"{} {}",
    "single quotes": b"{'value': 1}",
    "a trailing comma": b'{"value": 1,}',
    "bad UTF-8": b'{"value": "\xff\xfe"}',
    "an overlong NUL": b'{"value": "\xc0\x80"}',
    "UTF-16": '{"value": 1}'.encode("utf-16"),
    "UTF-32": '{"value": 1}'.encode("utf-32"),
    "a raw control character": b'{"value": "\x01"}',
    "a bare NUL": b"\x00",
    "a broken escape": b'{"value": "\\u12"}',
}
UNFIT = {
    "an array": b"[]",
    "a number": b"1",
    "a text": b'"x"',
    "NaN alone": b"NaN",
    "NUL in a string": b'{"value": "\\u0000"}',
    "NUL in a name": b'{"\\u0000": 1}',
    "a lone surrogate": b'{"value": "\\ud800"}',
    "a lone surrogate in a name": b'{"\\udfff": 1}',
    "a pair the wrong way round": b'{"value": "\\udc00\\ud800"}',
    "deep arrays": b'{"value": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "very deep arrays": b"[" * 500_000 + b"]" * 500_000,
    "very deep objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "just too deep": b'{"value": ' + b"[" * 70 + b"]" * 70 + b"}",
    "many unknown names": json.dumps({f"name{k}": k for k in range(50_000)}).encode(),
    "a huge integer where none fits": b'{"study_uid": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{method} {path}" for method, path in ROUTES])
def test_bodies_that_no_call_takes_are_refused_cleanly(http: httpx.Client, method: str, path: str) -> None:
    for name, body in UNREADABLE.items():
        response = http.request(method, path, content=body, headers=JSON)
        assert (name, response.status_code) == (name, 400), response.text[:300]
        problem(response)
    for name, body in UNFIT.items():
        response = http.request(method, path, content=body, headers=JSON)
        assert (name, response.status_code) == (name, 422), response.text[:300]
        problem(response)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=[f"{method} {path}" for method, path in ROUTES])
def test_another_content_type_is_refused_with_what_curl_needs(http: httpx.Client, method: str, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense", "application/json5"):
        response = http.request(method, path, content=b"{}", headers={"Content-Type": kind})
        refused(response, 415)
        assert "-H 'Content-Type: application/json'" in problem(response)["detail"]
    refused(http.request(method, path, content=b"{}"), 415)
    refused(
        http.request(method, path, content=b"--x--", headers={"Content-Type": "multipart/form-data"}), 400, 415, 422
    )


HUGE = ["1e400", "-1e400", "9" * 5000, "-" + "9" * 5000, str(10**400), "NaN", "Infinity", "-Infinity"]
HUGE += ['"nan"', '"inf"', '"-inf"', '"NaN"', "1e-400", "-0.0", "1E+309", "0." + "1" * 5000]


def test_numbers_of_any_size_are_a_result_or_a_failure(http: httpx.Client) -> None:
    for number, value in enumerate(HUGE, start=1):
        response = http.post(f"/v1/studies/s/trials/{number}/tell", content=f'{{"value": {value}}}', headers=JSON)
        assert response.status_code == 200, (value[:40], response.text[:300])
        told = response.json()
        is_finite = value in ("1e-400", "-0.0") or value.startswith("0.")
        assert told["state"] == ("complete" if is_finite else "failed"), value[:40]
        again = http.post(f"/v1/studies/s/trials/{number}/tell", content=f'{{"value": {value}}}', headers=JSON)
        assert again.status_code == 200
    assert http.get("/v1/studies/s/best").status_code == 200


@pytest.mark.parametrize("value", HUGE, ids=lambda value: value[:12])
def test_numbers_that_must_be_finite_are_refused_everywhere(http: httpx.Client, value: str) -> None:
    if value in ("1e-400", "-0.0") or value.startswith("0."):
        return
    bodies = [
        ("PUT", "/v1/studies/new", '{"space": {"x": {"type": "float", "low": 0, "high": %s}}}'),
        ("PUT", "/v1/studies/new", '{"space": {"x": {"type": "int", "low": %s, "high": 5}}}'),
        ("PUT", "/v1/studies/new", '{"space": {"x": {"type": "ordinal", "values": [1, %s]}}}'),
        ("PUT", "/v1/studies/new", '{"space": {"x": {"type": "float", "low": 0, "high": 1}}, "seed": %s}'),
        ("PUT", "/v1/studies/new", '{"space": {"x": {"type": "float", "low": 0, "high": 1, "step": %s}}}'),
        ("PUT", "/v1/studies/new", '{"space": {"x": {"type": "float", "low": 0, "high": 1}}, "stop": {"target": %s}}'),
        ("PATCH", "/v1/studies/s", '{"metafeatures": {"n": %s}}'),
        ("PATCH", "/v1/studies/s", '{"stop": {"max_seconds": %s}}'),
        ("POST", "/v1/studies/s/ask", '{"count": %s}'),
        ("POST", "/v1/studies/s/ask", '{"lease_seconds": %s}'),
        ("POST", "/v1/studies/s/ask", '{"deadline_seconds": %s}'),
        ("POST", "/v1/studies/s/ask", '{"fixed": {"x": %s}}'),
        ("POST", "/v1/studies/s/trials", '{"params": {"x": %s}}'),
        ("POST", "/v1/studies/s/trials", '{"params": {"x": %s}, "value": 1, "outside": "keep"}'),
        ("POST", "/v1/studies/s/trials/100/tell", '{"value": 1, "noise": %s}'),
        ("POST", "/v1/studies/s/trials/100/tell", '{"value": 1, "cost": %s}'),
        ("POST", "/v1/studies/s/trials/100/report", '{"value": 1, "step": %s}'),
    ]
    for method, path, body in bodies:
        if value.startswith('"') and "outside" in body:
            continue  # a text, which a parameter outside the space may be
        response = http.request(method, path, content=body % value, headers=JSON)
        assert response.status_code == 422, (path, body, response.text[:300])
        problem(response)


def test_metadata_keeps_what_json_can_say(http: httpx.Client) -> None:
    metadata = '{"nan": NaN, "inf": [Infinity, -Infinity, 1e400], "long": %s, "small": 12, "é": "\\ud83d\\ude00"}' % (
        "9" * 5000
    )
    response = http.post(
        "/v1/studies/s/trials/120/tell", content=f'{{"value": 1, "metadata": {metadata}}}', headers=JSON
    )
    assert response.status_code == 200
    kept = http.get("/v1/studies/s/trials/120").json()["metadata"]
    assert kept == {"nan": "nan", "inf": ["inf", "-inf", "inf"], "long": "inf", "small": 12, "é": "😀"}


def test_the_last_of_two_equal_names_counts(http: httpx.Client) -> None:
    response = http.post("/v1/studies/s/trials/121/tell", content=b'{"value": 1, "value": 2}', headers=JSON)
    assert response.status_code == 200
    assert response.json()["values"] == {"value": 2.0}


def test_wide_bodies_are_answered(http: httpx.Client) -> None:
    wide = {"params": {"x": 0.5}, "value": 1.0, "metadata": {f"k{k}": k for k in range(200_000)}}
    refused(http.post("/v1/studies/s/trials", json=wide), 422)
    many = {f"p{k}": UNIT for k in range(50_000)}
    refused(http.put("/v1/studies/wide", json={"space": many}), 422)
    refused(http.post("/v1/studies/s/ask", json={"fixed": {f"p{k}": 1 for k in range(100_000)}}), 422)
    refused(http.post("/v1/studies/s/tell", json={"results": [{"number": 1, "value": 1}] * 1001}), 422)
    refused(http.post("/v1/studies/s/trials", json={"trials": [{"params": {"x": 0.5}}] * 10_001}), 422)


def chunks(size: int) -> Iterator[bytes]:
    yield b'{"value": "'
    for _ in range(size // MIB):
        yield b"a" * MIB
    yield b'"}'


@pytest.mark.parametrize("path", ["/v1/studies/s/ask", "/v1/studies/s/trials/1/tell", "/v1/studies/import"])
def test_bodies_of_thirty_megabytes_are_refused_and_leave_nothing_behind(
    server: Server, http: httpx.Client, path: str
) -> None:
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    for _ in range(3):
        for content in (b"".join(chunks(30 * MIB)), chunks(30 * MIB)):  # with a length, and in chunks without one
            try:
                refused(http.post(path, content=content, headers=JSON), 413)
            except httpx.WriteError:  # the server had answered and hung up before all was sent
                continue
    assert process.memory_info().rss - before < GROWTH


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e",
        "..%2f..%2fetc",
        "a%2fb",
        "a%5cb",
        "a%00b",
        "%ff",
        "%ED%A0%80",
        "a%20b",
        "a" * 129,
        "-a",
        "%2e",
        "a%0a",
        "é",
    ],
)
def test_strange_names_in_a_path_are_no_study(http: httpx.Client, name: str) -> None:
    for method, tail in (("GET", ""), ("PUT", ""), ("POST", "/ask"), ("GET", "/trials/1"), ("POST", "/copy")):
        body = {"space": {"x": UNIT}} if method == "PUT" else {"name": "copied"} if tail == "/copy" else {}
        response = http.request(method, f"/v1/studies/{name}{tail}", json=body if method != "GET" else None)
        refused(response, 404, 405, 422)


@pytest.mark.parametrize(
    "query",
    [
        "prefix=%00", "prefix=%F4%8F%BF%BF", "prefix=%ED%9F%BF", "tag.a=%00", "tag.%00=1", "state=%00", "limit=1e3",
        "limit=" + "9" * 5000, "after=%00", "after=" + "A" * 1024, "after=WyJcdWQ4MDAiXQ", "after=WyJcdTAwMDAiXQ",
        "after=W251bGxd", "after=WzFd", "after=WzFlNDAwXQ", "after=Ww", "study_uid=%00", "limit=1&limit=2",
    ],
)  # fmt: skip
def test_strange_queries_are_answered(http: httpx.Client, query: str) -> None:
    for path in ("/v1/studies", "/v1/studies/s", "/v1/studies/s/trials", "/v1/studies/s/trials?order_by=value"):
        response = http.get(f"{path}{'&' if '?' in path else '?'}{query}")
        assert response.status_code in (200, 409, 422), response.text[:300]
        if response.status_code != 200:
            problem(response)


@pytest.mark.parametrize("after", [[10**300], [-(2**80)], [1.5], [float("nan"), 1], [1e308, 10**40], [None, 2**70]])
def test_cursors_that_nobody_gave_out_are_answered(http: httpx.Client, after: list[Any]) -> None:
    import base64

    text = base64.urlsafe_b64encode(json.dumps(after).encode()).decode().rstrip("=")
    for order in ("number", "value", "-value"):
        response = http.get("/v1/studies/s/trials", params={"after": text, "order_by": order})
        assert response.status_code in (200, 422), response.text[:300]


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
def test_times_at_the_ends_of_the_calendar_are_kept_or_refused(http: httpx.Client, time: str) -> None:
    body = {"params": {"x": random.Random(time).random()}, "value": 1, "finished_at": time}
    response = http.post("/v1/studies/s/trials", json=body)
    assert response.status_code in (201, 422), response.text[:300]
    if response.status_code == 201:
        assert response.json()["finished_at"][:4] == time[:4]


def test_strange_headers_are_answered(http: httpx.Client) -> None:
    for headers in (
        {"Idempotency-Key": "k" * 256},
        {"Idempotency-Key": b"\xff\x80"},
        {"Idempotency-Key": b"a\tb"},
        {"Authorization": "Bearer " + "x" * 8000},
        {"Authorization": b"Bearer \xff"},
        {"Accept": "x" * 8000},
        {"Accept": "image/png"},
        {"X-Request-Id": b"\xff" * 100},
        {"If-Match": "x" * 5000},
        {"Content-Encoding": "gzip"},
        {"Expect": "100-continue"},
    ):
        response = http.post("/v1/studies/s/ask", content=b'{"count": 1}', headers={**JSON, **headers})
        assert response.status_code in (200, 400, 401, 406, 415, 422), (headers, response.text[:300])
        if response.status_code != 200 and response.headers.get("content-type", "").startswith("application"):
            problem(response)
    for name, value in (("Host", "evil.example"), ("Host", "[::1"), ("Host", ""), ("Origin", "http://evil.example")):
        refused(http.get("/v1/studies", headers={name: value}), 403)


def say(server: Server, *parts: bytes) -> bytes:
    """What the server answers to raw bytes, as far as it answers."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection, suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
        with suppress(OSError):  # the server may have hung up already
            connection.shutdown(socket.SHUT_WR)
        return connection.recv(65_536)
    return b""


def test_what_is_no_http_is_answered_with_400_or_not_at_all(server: Server, http: httpx.Client) -> None:
    head = b"POST /v1/studies/s/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Huge: " + b"a" * 2_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Many: 1\r\n" * 20_000 + b"\r\n",
        head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        head + b"Content-Length: -1\r\n\r\n{}",
        head + b"Content-Length: 99999999999999999999\r\n\r\n{}",
        head + b"Content-Length: 100\r\n\r\n{}",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
        head + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ):
        answer = say(server, sent)
        assert b" 500 " not in answer[:20], (sent[:80], answer[:200])


def test_half_open_connections_keep_nobody_waiting(server: Server, http: httpx.Client) -> None:
    half = []
    try:
        for k in range(200):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            if k % 2:
                connection.sendall(b"POST /v1/studies/s/ask HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            else:
                connection.sendall(
                    b"POST /v1/studies/s/trials/130/tell HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    b'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"value": 1'
                )
            half.append(connection)
        assert http.post("/v1/studies/s/trials/131/tell", json={"value": 1}).status_code == 200
        assert http.get("/v1/studies/s/trials/130").json()["state"] == "running"
    finally:
        for connection in half:
            connection.close()


def test_callers_who_leave_before_the_answer_do_no_harm(server: Server, http: httpx.Client) -> None:
    body = b'{"count": 1}'
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(
                b"POST /v1/studies/s/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    time.sleep(1.0)
    numbers = [trial["number"] for trial in http.get("/v1/studies/s/trials?limit=1000").json()["items"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_extreme_results_do_not_upset_the_model(http: httpx.Client) -> None:
    http.put("/v1/studies/extreme", json={"space": {"x": UNIT, "y": UNIT}, "algorithm": "gp"}).raise_for_status()
    extremes = [1e308, -1e308, 1e-308, 5e-324, 0.0, sys.float_info.max, -sys.float_info.max, 1.0, 1e300, -1e300]
    for value in extremes * 2:
        (trial,) = http.post("/v1/studies/extreme/ask", json={}).raise_for_status().json()["trials"]
        told = http.post(
            f"/v1/studies/extreme/trials/{trial['number']}/tell", json={"value": value, "cost": abs(value)}
        )
        assert told.status_code == 200
    for path in ("", "/best", "/best?by=mean", "/pareto", "/export", "/export?format=csv", "/trials?order_by=-value"):
        response = http.get(f"/v1/studies/extreme{path}")
        assert response.status_code == 200, (path, response.text[:300])
