"""What is tried against the server, family by family; `attack` counts it."""

from __future__ import annotations

import gzip
import json
import random
import socket
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from urllib.parse import quote

from tests.fuzz.target import MIB, PWNED, UNIT, Target

#: What it is, the bytes, and whether they can be read in two ways.
Sent = tuple[str, bytes, bool]

JSON = "Content-Type: application/json"
#: At one time, fewer than a process takes.
CONNECTIONS = 600

ROUTES = (
    ("PUT", "/v1/studies/other"),
    ("POST", "/v1/studies"),
    ("PATCH", "/v1/studies/kept"),
    ("PATCH", "/v1/studies/kept/space"),
    ("POST", "/v1/studies/import"),
    ("POST", "/v1/studies/kept/copy"),
    ("POST", "/v1/studies/kept/ask"),
    ("POST", "/v1/studies/kept/tell"),
    ("POST", "/v1/studies/kept/trials"),
    ("POST", "/v1/studies/kept/trials/1/tell"),
    ("POST", "/v1/studies/kept/trials/1/report"),
    ("POST", "/v1/studies/kept/trials/1/heartbeat"),
    ("PATCH", "/v1/studies/kept/trials/1"),
    ("POST", "/v1/studies/kept/predict"),
    ("POST", "/v1/keys"),
    ("POST", "/v1/projects"),
)

UP = ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%252f", "..%5c", "..\\", "%c0%ae%c0%ae/", "....//", "..;/", ".%00./")
FILES = ("canary.txt", "etc/passwd", "metatune.db", "proc/self/environ", "app/settings.py")


def traversal(target: Target, _: random.Random) -> None:
    """Paths that lead out, wherever a path, a name or a format is taken."""
    ways = [f"{up * depth}{file}" for up in UP for depth in (1, 3, 8) for file in FILES]
    ways += ["/etc/passwd", "//etc/passwd", "file:///etc/passwd", "%2fetc%2fpasswd", "C:%5cwindows%5cwin.ini"]
    for out in ways:
        said = quote(out, safe="%")
        for path in (
            f"/{out}",
            f"/ui/swagger/{out}",
            f"/v1/studies/{out}",
            f"/v1/studies/kept/{out}",
            f"/v1/studies/kept/trials/{out}",
            f"/v1/studies/kept/export?format={said}",
            f"/v1/studies?prefix={said}",
        ):
            target.attempt("GET", path)
        for path in ("/v1/studies", f"/v1/studies/import?name={said}"):
            target.attempt("POST", path, json.dumps({"name": out, "space": {"x": UNIT}}).encode(), JSON)


SPELLS = (
    "' OR '1'='1",
    "'; DROP TABLE studies; --",
    '" OR ""="',
    "1; DELETE FROM trials",
    "%",
    "_",
    "%' --",
    "\\",
    "kep_",
    "') UNION SELECT secret_hash FROM api_keys --",
    "x' AND (SELECT pg_sleep(9)) --",
    "{{7*191}}",
    "${7*191}",
    "<%= 7*191 %>",
    f"$(touch {PWNED})",
    f"`touch {PWNED}`",
    f"; touch {PWNED} ;",
    f"| touch {PWNED}",
    f"__import__('os').system('touch {PWNED}')",
    "${jndi:ldap://127.0.0.1/a}",
    "<script>alert(1)</script>",
    "<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "=cmd|' /C calc'!A0",
    "a\r\nX-Injected: 1",
    "a\nX-Injected: 1",
    "a%0d%0aX-Injected:%201",
    '{"$ne": null}',
    "*",
    "(?:a+)+$",
    "!!python/object/apply:os.system",
    "cos\nsystem\n(S'id'\ntR.",
    "x" * 5000,
)


def injection(target: Target, _: random.Random) -> None:
    """Words of other languages, wherever text is taken: bodies, names, queries, headers."""
    for spell in SPELLS:
        said = quote(spell, safe="")
        plain = spell.replace("\r", "").replace("\n", " ")
        bodies: list[tuple[str, str, object]] = [
            ("PUT", f"/v1/studies/{said}", {"space": {"x": UNIT}}),
            ("POST", "/v1/studies", {"name": spell, "space": {"x": UNIT}}),
            ("POST", "/v1/studies", {"space": {spell: UNIT, "x": UNIT}, "constraints": [spell]}),
            ("POST", "/v1/studies", {"space": {spell: UNIT}, "constraints": [f"`{spell}` <= 1"]}),
            ("POST", "/v1/studies", {"space": {"x": {"type": "categorical", "choices": [spell, "b"]}}}),
            ("POST", "/v1/studies", {"space": {"x": UNIT}, "algorithm": {"name": spell}}),
            ("PATCH", "/v1/studies/kept", {"description": spell, "tags": {spell: spell}}),
            ("PATCH", "/v1/studies/kept", {"metafeatures": {spell: 1}}),
            ("POST", "/v1/studies/kept/ask", {"worker": spell, "study_uid": spell}),
            ("POST", "/v1/studies/kept/trials", {"params": {"x": spell}}),
            ("POST", "/v1/studies/kept/trials", {"params": {"x": 0.5}, "state": "failed", "reason": spell}),
            ("POST", "/v1/studies/kept/trials/1/heartbeat", {"checkpoint": spell, "metadata": {spell: spell}}),
            ("POST", "/v1/studies/kept/trials/1/tell", {"value": spell, "lease": spell}),
            ("POST", "/v1/keys", {"scopes": ["read"], "name": spell}),
            ("POST", "/v1/keys", {"scopes": [spell], "project": spell}),
        ]
        for method, path, body in bodies:
            target.attempt(method, path, json.dumps(body).encode(), JSON)
        for path in (
            f"/v1/studies?prefix={said}",
            f"/v1/studies?tag.{said}={said}",
            f"/v1/studies?state={said}",
            f"/v1/studies?after={said}",
            f"/v1/studies/kept/trials?order_by={said}&state={said}",
            f"/v1/studies/kept?study_uid={said}",
            f"/v1/studies/{said}/export?format=csv",
            f"/v1/audit?by={said}",
            f"/v1/keys?after={said}",
        ):
            target.attempt("GET", path)
        for name in ("Idempotency-Key", "X-Request-Id", "Last-Event-ID", "If-Match", "Cookie", "X-Forwarded-For"):
            target.attempt("POST", "/v1/studies/kept/ask", b"{}", JSON, f"{name}: {plain}")
        for line in (f"Authorization: Bearer {plain}", f"Authorization: {plain}", f"Authorization: Basic {plain}"):
            target.note(line, target.request("GET", "/v1/me", b"", line, known=False), known=False)


LETTERS = (
    "\u202eexe.fdp",
    "\u200b",
    "\ufeff",
    "e\u0301",
    "\u00e9",
    "\u0130\u0131",
    "\u1e9e\u00df",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\ufdfa" * 40,
    "a" + "\u0301" * 60,
    "\u2028\u2029",
    "\ud83d",
    "\udc00\ud800",
    "\x00",
    "\x7f\x1b[2J",
    "\uffff\ufffe",
    "\U0010ffff",
    "\u0661\u0662",
    "\uff11\uff12",
    "ſtudy",
    "\u212aept",
    "k\u0435pt",
    "\u00a0",
    "\t",
    "\u3000x",
)
BYTES = (
    b"\xff",
    b"\xc0\x80",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
)


def unicode(target: Target, _: random.Random) -> None:
    """Letters that look, count or compare otherwise than one thinks, and bytes that are none."""
    for text in LETTERS:
        definition = {"space": {"x": {"type": "categorical", "choices": [text, "b"]}}, "description": text}
        answer = target.attempt("POST", "/v1/studies", json.dumps({**definition, "tags": {"t": text}}).encode(), JSON)
        if answer.startswith(b"HTTP/1.1 201"):
            name = json.loads(answer.partition(b"\r\n\r\n")[2])["name"]
            kept = json.loads(target.attempt("GET", f"/v1/studies/{name}").partition(b"\r\n\r\n")[2])
            if {kept["space"]["x"]["choices"][0], kept["description"], kept["tags"]["t"]} != {text}:
                target.hit(f"{text!r} came back as {kept}")
        for path in (f"/v1/studies/{_percent(text)}", f"/v1/studies?prefix={_percent(text)}"):
            target.attempt("GET", path)
    for raw in BYTES:
        for body in (b'{"description": "%s"}' % raw, b'{"tags": {"%s": "a"}}' % raw, raw):
            if target.attempt("PATCH", "/v1/studies/kept", body, JSON).startswith(b"HTTP/1.1 2"):
                target.hit(f"{raw!r} was taken for text")
        target.attempt("GET", "/v1/studies/" + "".join(f"%{byte:02x}" for byte in raw))


def _percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def deep_and_wide(target: Target, rng: random.Random) -> None:
    """JSON that takes far more to read than to send."""
    bodies = [b"[" * depth + b"]" * depth for depth in (65, 1000, 100_000, 2_000_000)]
    bodies += [b'{"a":' * depth + b"1" + b"}" * depth for depth in (65, 1000, 100_000, 1_000_000)]
    bodies += [b'{"metadata":' * 60 + b"[" * 60]
    bodies += [b"[" + b",".join([b"[]"] * width) + b"]" for width in (1000, 500_000, 4_000_000)]
    bodies += [b"{" + b",".join(b'"k%d":0' % k for k in range(width)) + b"}" for width in (1000, 300_000, 1_000_000)]
    bodies += [b'{"value": %s}' % (b"9" * digits) for digits in (400, 100_000, 8_000_000)]
    bodies += [b'{"x": "%s"}' % (b"\\u0041" * 2_000_000), b'{"x": "%s"}' % (b"a" * 15 * MIB), b" " * 15 * MIB]
    bodies += [b'{"constraints": ["%s1%s <= 1"]}' % (b"(" * n, b")" * n) for n in (100, 100_000)]
    for body in bodies:
        for method, path in rng.sample(ROUTES, 3):
            target.attempt(method, path, body, JSON)


def _chunked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"%x\r\n" % len(piece) + piece + b"\r\n"
    yield b"0\r\n\r\n"


def large_bodies(target: Target, _: random.Random) -> None:
    """50 MB to every route: announced, in chunks, and announced as less than comes."""

    def pieces() -> Iterator[bytes]:
        yield b'{"value": "'
        for _ in range(50):
            yield b"a" * MIB
        yield b'"}'

    size = 50 * MIB + 13
    for method, path in ROUTES:
        target.attempt(method, path, pieces, JSON, f"Content-Length: {size}")
        target.attempt(method, path, lambda: _chunked(pieces()), JSON, "Transfer-Encoding: chunked")
        target.attempt(method, path, pieces, JSON, "Content-Length: 100")


def zip_bombs(target: Target, _: random.Random) -> None:
    """Packed bodies: nothing unpacks them."""
    zeros = b" " * (200 * MIB)
    bombs = {"gzip": gzip.compress(zeros, 9), "deflate": zlib.compress(zeros, 9)}
    bombs["gzip, gzip"] = gzip.compress(bombs["gzip"], 9)
    for method, path in ROUTES:
        for encoding, bomb in bombs.items():
            for lines in (
                (JSON, f"Content-Encoding: {encoding}"),
                (JSON, f"Transfer-Encoding: {encoding}, chunked"),
                (f"Content-Type: application/{encoding.partition(',')[0]}",),
                (JSON,),
            ):
                body = partial(_in_one_chunk, bomb) if "chunked" in lines[-1] else bomb
                if target.attempt(method, path, body, *lines).startswith(b"HTTP/1.1 2"):
                    target.hit(f"{method} {path}: {lines} was taken")


def _in_one_chunk(piece: bytes) -> Iterator[bytes]:
    return _chunked(iter([piece]))


HEAD = b"POST /v1/studies/kept/ask HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
INNER = b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: Framings that can be read in one way only.
PLAIN = (b"Content-Length: 2", b"Content-Length:\t2", b"content-length: 002")
#: The last of several requests on one connection.
LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _framings() -> Iterator[Sent]:
    lengths = (
        b"Content-Length: 2",
        b"Content-Length: +2",
        b"Content-Length: 0x2",
        b"Content-Length: 2, 2",
        b"Content-Length: 2\r\nContent-Length: 40",
        b"Content-Length : 2",
        b" Content-Length: 2",
        b"Content-Length:\t2",
        b"Content-Length: 2\x00",
        b"content-length: 002",
    )
    codings = (
        b"",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"X: y\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: CHUNKED",
        b"Foo: bar\r\n Transfer-Encoding: chunked",
    )
    for length in lengths:
        for coding in codings:
            for body in (b"{}" + INNER, b"0\r\n\r\n" + INNER, b"2\r\n{}\r\n0\r\n\r\n" + INNER):
                lines = [HEAD + length, coding, b"", body + LAST] if coding else [HEAD + length, b"", body + LAST]
                is_odd = bool(coding) or length not in PLAIN
                yield f"{length!r} {coding!r}", b"\r\n".join(lines), is_odd


def _disguises() -> Iterator[Sent]:
    for first in (
        b"GET http://evil/v1/me HTTP/1.1",
        b"GET /v1/me HTTP/1.0",
        b"GET /v1/me",
        b"GET  /v1/me HTTP/1.1",
        b"get /v1/me HTTP/1.1",
        b"GET /V1/ME HTTP/1.1",
        b"GET /v1/me/ HTTP/1.1",
        b"GET //v1/me HTTP/1.1",
        b"GET /./v1/me HTTP/1.1",
        b"GET /docs/../v1/me HTTP/1.1",
        b"GET /docs/..;/v1/me HTTP/1.1",
        b"GET /ui/swagger/../../v1/me HTTP/1.1",
        b"GET /healthz/../v1/me HTTP/1.1",
        b"GET /v1/me%00 HTTP/1.1",
        b"GET /v1/me;.css HTTP/1.1",
        b"GET /v1/me?x=/healthz HTTP/1.1",
        b"GET /v1/me#/healthz HTTP/1.1",
        b"HEAD /v1/me HTTP/1.1",
        b"OPTIONS /v1/me HTTP/1.1",
        b"TRACE /v1/me HTTP/1.1",
        b"CONNECT /v1/me HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /%76%31/me HTTP/1.1",
        b"GET /v1%2fme HTTP/1.1",
        b"GET \\v1\\me HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET /v1/studies/kept/events HTTP/1.1",
    ):
        for more in (
            b"",
            b"X-Original-URL: /healthz\r\n",
            b"X-Rewrite-URL: /healthz\r\n",
            b"X-HTTP-Method-Override: GET\r\n",
            b"X-Forwarded-For: 127.0.0.1\r\n",
            b"X-Forwarded-Prefix: /healthz\r\n",
            b"Authorization: Bearer\r\n",
            b"Authorization:\r\n",
            b"Authorization: Bearer null\r\n",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        ):
            yield f"{first!r} {more!r}", first + b"\r\nHost: localhost\r\nConnection: close\r\n" + more + b"\r\n", False


def _long_headers() -> Iterator[Sent]:
    for size in (60_000, 70_000, 1_000_000, 20_000_000):
        for head in (
            b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * size),
            b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"a" * size),
            b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * (size // 6) + b"\r\n",
        ):
            yield f"{size} bytes of headers", head, False


def smuggling(target: Target, _: random.Random) -> None:
    """Requests that can be parted in two ways, and addresses that can be read in two ways, as a stranger."""
    sent = [*_framings(), *_disguises(), *_long_headers()][:: target.every]
    with ThreadPoolExecutor(16) as pool:  # many are answered only when the server has waited long enough
        for (what, _, is_odd), answer in zip(sent, pool.map(lambda one: target.send(one[1]), sent), strict=True):
            target.note(what, answer, known=False)
            if is_odd and not answer.startswith(b"HTTP/1.1 400"):
                target.hit(f"{what}: read, though it can be read in two ways")


def half_open(target: Target, _: random.Random) -> None:
    """Connections that stop half way; others are served meanwhile, and all of them are closed in the end."""
    starts = (
        b"",
        b"GET",
        b"GET /v1/me HTTP/1.1\r\nHost: loc",
        HEAD,
        HEAD + b"Content-Length: 100\r\n\r\n{",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    )
    with ExitStack() as stack, target.http() as http:
        held = []
        for k in range(CONNECTIONS // target.every):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", target.server.port), timeout=60))
            connection.sendall(starts[k % 4])  # those with half a body have body_seconds
            held.append(connection)
            if k % 25 == 24 and http.get("/v1/me").status_code != 200:
                target.hit(f"nobody is served beside {k + 1} half-open connections")
        for connection in held:
            said = b""
            try:
                while piece := connection.recv(65_536):
                    said += piece
            except ConnectionResetError:
                pass
            except TimeoutError:
                target.hit("a half-open connection was kept")
            target.note("half open", said, known=False)
    for start in starts:
        for _ in range(100 // target.every):
            with socket.create_connection(("127.0.0.1", target.server.port), timeout=60) as connection:
                connection.sendall(start)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            target.tried[target.family] += 1


FAMILIES: dict[str, Callable[[Target, random.Random], None]] = {
    "traversal": traversal,
    "injection": injection,
    "unicode": unicode,
    "deep and wide JSON": deep_and_wide,
    "bodies of 50 MB": large_bodies,
    "zip bombs": zip_bombs,
    "smuggled and disguised requests": smuggling,
    "half-open connections": half_open,
}
