"""Where asks and tells wait: who is gathered, who waits for nobody, and what a wave of results waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from app.api import desk as desks
from app.api.desk import Desk
from app.api.gather import Gather
from app.db.session import Store
from app.db.studies import Address
from app.services.memory import Memory

PLACE = Address(1, "study")
WAIT_SECONDS = 60.0


class Work:
    """Batches as they were taken; each waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, _: Any, items: list[Any]) -> Sequence[Any]:
        self.batches.append(list(items))
        assert self.may_go_on.wait(WAIT_SECONDS)
        return items


async def settled(*futures: Any) -> None:
    await asyncio.wait_for(asyncio.gather(*futures), WAIT_SECONDS)


def test_what_comes_during_a_piece_of_work_is_the_next_one() -> None:
    async def main() -> list[list[Any]]:
        work = Work()
        gather: Gather[str, int, int] = Gather(work, threads=2, at_once=3)
        work.may_go_on.clear()
        first = gather.submit("a", 0)
        while not work.batches:
            await asyncio.sleep(0.001)
        rest = [gather.submit("a", number) for number in range(1, 6)]
        assert gather.n_waiting("a") == 5
        assert gather.n_waiting("b") is None
        work.may_go_on.set()
        await settled(first, *rest)
        return work.batches

    assert asyncio.run(main()) == [[0], [1, 2, 3], [4, 5]]


def test_what_is_held_is_joined_by_others() -> None:
    async def main() -> tuple[list[list[Any]], list[str]]:
        work, held, go_on = Work(), [], asyncio.Event()

        async def hold(key: str) -> None:
            held.append(key)
            await go_on.wait()

        gather: Gather[str, int, int] = Gather(work, threads=2, at_once=10, hold=hold)
        calls = [gather.submit("a", 0)]
        while not held:
            await asyncio.sleep(0.001)
        calls += [gather.submit("a", number) for number in (1, 2)]
        go_on.set()
        await settled(*calls)
        return work.batches, held

    assert asyncio.run(main()) == ([[0, 1, 2]], ["a"])


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, 2, Memory())


class Moments:
    """A clock that goes on while somebody sleeps, and what is met whenever the desk looks.

    asks, results: how many wait, look by look, the last for ever.  late: by so much each sleep is too long.
    """

    def __init__(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, asks: list[int], results: list[int | None], late: list[float]
    ) -> None:
        self.desk, self.n_slept, self.seconds, self.late = desk, 0, 0.0, late
        monkeypatch.setattr("app.api.desk.time", SimpleNamespace(monotonic=lambda: self.seconds))
        monkeypatch.setattr("app.api.desk.asyncio", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(desk.asks, "n_waiting", lambda _: asks[min(self.n_slept, len(asks) - 1)])
        monkeypatch.setattr(desk.tells, "n_waiting", lambda _: results[min(self.n_slept, len(results) - 1)])

    async def sleep(self, seconds: float) -> None:
        late = self.late[self.n_slept] if self.n_slept < len(self.late) else 0.0
        self.seconds = round(self.seconds + seconds + late, 9)
        self.n_slept += 1

    def waited_for(self) -> int:
        """How many moments the points are waited for."""
        self.n_slept, self.seconds = 0, 0.0
        asyncio.run(self.desk._let_results_in(PLACE))
        return self.n_slept


MOST = int(desks.WAVE_SECONDS / desks.MOMENT_SECONDS + 0.5)


@pytest.mark.parametrize(
    ("n_before", "asks", "results", "late", "n_moments"),
    [
        (1, [1], [None], [], 0),
        (16, [1], [None], [], 1),
        (16, [2], [None], [], 1),
        (16, [1, 2, 3, 3], [None], [], 3),
        (16, [2], [4, 0, 0, None], [], 3),
        (16, [2], [None], [2 * desks.MOMENT_SECONDS, 0.0], 2),
        (16, [2], [0], [], MOST),
        (200, list(range(2, 100)), [None], [], MOST),
        (16, [2], [None], [10 * desks.WAVE_SECONDS], 1),
        (4, [2, 3, 4], [None], [], 2),
        (4, [5], [None], [], 0),
        (4, [4], [0, None], [], 1),
    ],
    ids=[
        "one-as-the-last-time",
        "one-of-many",
        "nobody-comes",
        "others-ask",
        "results-under-way",
        "the-process-was-busy",
        "no-end-of-results",
        "nor-asks",
        "late",
        "all-are-there",
        "more-than-the-last-time",
        "all-are-there-but-a-result",
    ],
)
def test_points_for_several_are_computed_once_no_more_results_come(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    n_before: int,
    asks: list[int],
    results: list[int | None],
    late: list[float],
    n_moments: int,
) -> None:
    moments = Moments(desk, monkeypatch, asks, results, late)
    assert moments.waited_for() == 0  # its points may be there already
    desk.memory.expected.note(PLACE, n_before)
    assert moments.waited_for() == n_moments
