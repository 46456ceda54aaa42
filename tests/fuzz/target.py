"""A server with keys and something to hide, and what counts as a hit against it.

Every attempt is made over raw sockets, since a client library would tidy up what it sends; as a caller with a key and
as a stranger. Each of these is a hit: an answer of the 500s but 503, an answer to a stranger, text of a file or of
another project, a header that the caller put into the answer.
"""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.db import keys
from app.db.migrate import migrate
from app.db.session import EVERY_PROJECT, Store
from benchmarks.server import Server

UNIT = {"type": "float", "low": 0, "high": 1}
MIB = 2**20
#: In a file beside the database and in a study of another project.
CANARY = "canary-41c7"
#: Where commands would leave a file.
PWNED = "pwned-by-a-string"
#: Of the server's own limit on the headers of a request; short, so that half-open connections end within a test.
HEADER_SECONDS = 3.0


@dataclass
class Target:
    """A server, what is known of it, and what was found."""

    server: Server
    folder: Path
    token: str
    tried: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    hits: dict[str, list[str]] = field(default_factory=dict)
    family: str = ""
    #: Of the attempts only one in so many is made.
    every: int = 1
    _counted: int = 0

    def http(self, *, known: bool = True) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token}"} if known else {}
        return httpx.Client(base_url=self.server.url, timeout=120, headers=headers)

    def send(self, *parts: bytes | Iterator[bytes], most: int = 4 * MIB) -> bytes:
        """Raw bytes, and what is answered until the server hangs up."""
        said = b""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as connection:
            with suppress(OSError):  # it may answer and hang up before all was said
                for part in parts:
                    for piece in (part,) if isinstance(part, bytes) else part:
                        connection.sendall(piece)
            with suppress(OSError):
                while len(said) < most and (piece := connection.recv(65_536)):
                    said += piece
        return said

    def request(
        self, method: str, target: str, body: bytes | Iterator[bytes] = b"", *headers: str, known: bool = True
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        lines += [f"Authorization: Bearer {self.token}"] if known else []
        if isinstance(body, bytes) and not any(line.lower().startswith("content-length") for line in headers):
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
        return self.send(head, body)

    def attempt(
        self, method: str, path: str, body: bytes | Callable[[], Iterator[bytes]] = b"", *headers: str
    ) -> bytes:
        """As a stranger, and as a caller with a key; returns what the latter hears, or nothing if it is left out."""
        answer = b""
        self._counted += 1
        if self._counted % self.every:
            return answer
        for known in (False, True):
            said = body if isinstance(body, bytes) else body()
            answer = self.request(method, path.replace(" ", "%20"), said, *headers, known=known)
            shown = body[:80] if isinstance(body, bytes) else "a stream"
            self.note(f"{method} {path} {headers} {shown!r}", answer, known=known)
        return answer

    def note(self, what: str, answer: bytes, *, known: bool) -> None:
        """Counts an attempt, and looks whether it was a hit."""
        self.tried[self.family] += 1
        first = re.match(rb"HTTP/1.1 (\d{3})", answer)
        status = first[1].decode() if first else "hung up"
        self.statuses.setdefault(self.family, Counter())[status] += 1
        if status.startswith("5") and status not in ("503",):
            self.hit(f"{what[:200]!r}: {status}")
        if not known and status.startswith(("2", "3")):
            self.hit(f"{what[:200]!r}: {status} to a stranger")
        head = answer.partition(b"\r\n\r\n")[0].lower()
        if b"\r\nx-injected" in head:
            self.hit(f"{what[:200]!r}: a header of the caller's in the answer")
        if CANARY.encode() in answer or b"root:x:0:" in answer:
            self.hit(f"{what[:200]!r}: text of a file, or of another project")

    def hit(self, what: str) -> None:
        self.hits.setdefault(self.family, []).append(what)


@contextmanager
def target(folder: Path, database: str | None = None, *, every: int = 1) -> Iterator[Target]:
    """With a key for `default`, and a project that the key does not open."""
    store = Store(database or f"sqlite:///{folder / 'metatune.db'}")
    migrate(store)
    with store.write(EVERY_PROJECT) as session:
        owner = keys.project(session, keys.DEFAULT_PROJECT).id
        _, token = keys.create(session, owner, keys.SCOPES, by="attack")
        other = keys.make_project(session, "other", by="attack").id
        _, foreign = keys.create(session, other, keys.SCOPES, by="attack")
    store.dispose()
    (folder / "canary.txt").write_text(CANARY)
    with Server(folder, database=database, settings={"header_seconds": HEADER_SECONDS}) as server:
        here = Target(server, folder, token, every=every)
        with here.http() as http:
            http.put("/v1/studies/kept", json={"space": {"x": UNIT}, "algorithm": "random"}).raise_for_status()
            http.post("/v1/studies/kept/ask", json={"count": 3}).raise_for_status()
            http.headers["Authorization"] = f"Bearer {foreign}"
            secret = {"space": {"x": UNIT}, "description": CANARY}
            http.put(f"/v1/studies/{CANARY}", json=secret).raise_for_status()
        yield here
