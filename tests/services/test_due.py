"""Studies that something is done for a moment later: once for a stream of words, and never forgotten."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from app.db.studies import Address
from app.errors import StudyNotFound
from app.services.due import Due

LOGGER = logging.getLogger("tests.due")
WAIT_SECONDS = 60.0


@pytest.fixture
def started() -> Iterator[Callable[..., Due]]:
    all_of_them: list[Due] = []

    def start(seconds: float, work: Callable[[Address], None]) -> Due:
        due = Due("test", seconds, work, LOGGER, "it failed")
        all_of_them.append(due)
        due.start()
        return due

    yield start
    for due in all_of_them:
        due.stop()


def place(name: str) -> Address:
    return Address(1, name)


class Worked:
    """What was worked on, and a way to wait for it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._more = threading.Semaphore(0)

    def __call__(self, address: Address) -> None:
        self.names.append(address.name)
        self._more.release()

    def wait(self) -> None:
        assert self._more.acquire(timeout=WAIT_SECONDS)


def test_what_is_put_while_the_thread_sleeps_waits_or_works_is_worked_on(started: Callable[..., Due]) -> None:
    worked, is_in, go_on = Worked(), threading.Event(), threading.Event()

    def work(address: Address) -> None:
        if address.name == "slow":
            is_in.set()
            assert go_on.wait(WAIT_SECONDS)
        worked(address)

    due = started(0.01, work)
    due.put(place("first"))  # it sleeps until somebody calls
    worked.wait()
    due.put(place("slow"))
    assert is_in.wait(WAIT_SECONDS)
    due.put(place("third"))  # it is at work
    go_on.set()
    worked.wait()
    worked.wait()
    assert worked.names == ["first", "slow", "third"]


def test_what_is_put_again_after_it_was_dropped_is_worked_on_once(started: Callable[..., Due]) -> None:
    worked = Worked()
    due = started(1.0, worked)
    for _ in range(3):  # the thread waits for the first one's time all the while
        due.put(place("study"))
        due.drop(place("study"))
    due.put(place("study"))
    worked.wait()
    due.put(place("end"))
    worked.wait()
    assert worked.names == ["study", "end"]


def test_a_stream_of_words_is_answered_once(started: Callable[..., Due]) -> None:
    worked = Worked()
    due = started(1.0, worked)
    for _ in range(5):
        due.put(place("study"))
    due.put(place("end"))
    worked.wait()
    worked.wait()
    assert worked.names == ["study", "end"]


def test_work_that_fails_or_finds_nothing_does_not_end_the_thread(
    started: Callable[..., Due], caplog: pytest.LogCaptureFixture
) -> None:
    worked = Worked()

    def work(address: Address) -> None:
        if address.name == "gone":
            raise StudyNotFound("gone")
        if address.name == "broken":
            raise RuntimeError("broken")
        worked(address)

    due = started(0.01, work)
    for name in ("gone", "broken", "last"):
        due.put(place(name))
    worked.wait()
    assert worked.names == ["last"]
    assert [record.message for record in caplog.records if record.name == LOGGER.name] == ["it failed"]
