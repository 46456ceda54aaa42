"""The short form of `make attack`, and whether it would notice if something were wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.attack import attack
from tests.fuzz.attempts import FAMILIES
from tests.fuzz.target import CANARY, Target, target

#: One attempt in so many is made here.
EVERY = 12
#: MiB that a family may leave behind in the server, and take meanwhile: some copies of one body of 16 MiB.
LEFT, TAKEN = 128, 512


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_that_somebody_sends_gets_through(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = None
    if database == "postgresql":
        url = request.getfixturevalue("migrated_postgresql")()
    with target(tmp_path, url, every=EVERY) as there:
        for family in FAMILIES:
            found = attack(there, family)
            assert not found.hits
            assert found.tried
            assert found.after - found.before < LEFT, family
            assert found.peak - found.before < TAKEN, family


@pytest.mark.parametrize(
    ("answer", "known", "is_hit"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n{}", True, True),
        (b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\r\n{}", True, False),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", True, False),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", False, True),
        (b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /\r\n\r\n", False, True),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n{}", False, False),
        (b"HTTP/1.1 200 OK\r\nX-Injected: 1\r\n\r\n{}", True, True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n" + CANARY.encode(), True, True),
        (b"", True, False),
    ],
)
def test_a_hit_is_noticed(tmp_path: Path, answer: bytes, known: bool, is_hit: bool) -> None:
    there = Target(server=None, folder=tmp_path, token="", family="control")  # type: ignore[arg-type]
    there.note("something", answer, known=known)
    assert bool(there.hits) is is_hit
    assert there.tried["control"] == 1
