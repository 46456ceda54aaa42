"""Where asks and tells wait: who is gathered, who waits for nobody, and what a wave of results waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from app.api import desk as desks
from app.api.desk import Desk
from app.api.gather import Gather
from app.db.session import Store
from app.db.studies import Address
from app.measurement import Result
from app.services.ask import AskCall
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


def test_several_are_held_and_joined_by_others_and_one_alone_is_not() -> None:
    async def main() -> tuple[list[list[Any]], list[str]]:
        work, held, go_on = Work(), [], asyncio.Event()

        async def hold(key: str) -> None:
            held.append(key)
            await go_on.wait()

        gather: Gather[str, int, int] = Gather(work, threads=2, at_once=10, hold=hold)
        await settled(gather.submit("alone", 0))
        several = [gather.submit("a", number) for number in range(2)]
        while not held:
            await asyncio.sleep(0.001)
        several.append(gather.submit("a", 2))
        go_on.set()
        await settled(*several)
        return work.batches, held

    assert asyncio.run(main()) == ([[0], [0, 1, 2]], ["a"])


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, 2, Memory())


def test_points_for_several_are_computed_once_no_more_results_come(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moments are counted, not timed: in each of the first three another result comes."""
    moments: list[float] = []
    sleep = asyncio.sleep

    async def moment(seconds: float) -> None:
        moments.append(seconds)
        if len(moments) <= 3:
            desk.tells.submit(PLACE, Result(number=len(moments)))
        await sleep(0)

    async def main() -> None:
        answers = Work()
        answers.may_go_on.clear()
        desk.tells.work = answers
        monkeypatch.setattr(asyncio, "sleep", moment)
        await desk._let_results_in(PLACE)
        assert moments == []  # its points may be there already
        desk.memory.expected.note(PLACE, missing=True)
        await desk._let_results_in(PLACE)
        answers.may_go_on.set()

    asyncio.run(main())
    assert 3 < len(moments) <= 6
    assert set(moments) == {desks.MOMENT_SECONDS}


def test_a_wave_that_does_not_end_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    n_results = 0

    async def main() -> None:
        sleep = asyncio.sleep
        work = Work()
        work.may_go_on.clear()
        desk.tells.work = work

        async def moment(seconds: float) -> None:
            nonlocal n_results
            n_results += 1
            desk.tells.submit(PLACE, Result(number=n_results))
            await sleep(seconds)

        desk.memory.expected.note(PLACE, missing=True)
        monkeypatch.setattr(asyncio, "sleep", moment)
        await desk._let_results_in(PLACE)  # or the test would never end
        work.may_go_on.set()

    asyncio.run(main())
    assert n_results > 1


def test_one_asker_waits_for_no_wave(desk: Desk) -> None:
    held: list[Address] = []

    async def hold(address: Address) -> None:
        held.append(address)

    desk.asks.hold = hold
    desk.asks.work = lambda _, calls: [RuntimeError(str(len(calls)))] * len(calls)

    async def main() -> list[str]:
        said = []
        for n in (1, 3):
            answers = [desk.asks.submit(PLACE, AskCall()) for _ in range(n)]
            said += [str(answer) for answer in await asyncio.gather(*answers, return_exceptions=True)]
        return said

    assert asyncio.run(main()) == ["1", "3", "3", "3"]
    assert held == [PLACE]
