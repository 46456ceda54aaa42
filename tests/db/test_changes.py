"""Every change of a trial that the model hears of is numbered, and only those."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.event import listen

from app.db.session import EVERY_PROJECT, Store
from app.db.studies import Address, events_after, open_study
from app.db.tables import Study, Trial
from app.services.ask import AskCall, ask
from tests.conftest import Api


@pytest.fixture
def changed(api: Api, store: Store) -> Callable[[], list[int]]:
    """The numbers of the trials that changed since this was called last."""
    seen = 0

    def look() -> list[int]:
        nonlocal seen
        with store.read(EVERY_PROJECT) as session:
            study = session.scalars(select(Study)).one()
            query = select(Trial.number).where(Trial.last_change > seen).order_by(Trial.last_change)
            seen, found = study.n_changes, list(session.scalars(query))
        return found

    return look


def test_hand_outs_and_results_are_changes(api: Api, changed: Callable[[], list[int]]) -> None:
    api.create(algorithm="random")
    api.ask(count=3)
    assert changed() == [1, 2, 3]
    results = [{"number": 3, "value": 1.0}, {"number": 1, "value": 2.0}]
    api.call("POST", f"{api.base}/tell", {"results": results}, status=200)
    assert sorted(changed()) == [1, 3]


def test_what_the_model_does_not_hear_of_is_no_change(api: Api, changed: Callable[[], list[int]]) -> None:
    api.create(algorithm="random")
    api.ask(count=2)
    api.tell(1, value=1.0)
    changed()
    api.tell(1, value=1.0)
    api.report(2, step=1, value=0.5)
    api.do("heartbeat", 2, checkpoint="here")
    api.do("stop", 2)
    api.patch(description="new")
    api.call("PATCH", f"{api.base}/trials/1", {"metadata": {"seen": True}}, status=200)
    api.call("PATCH", f"{api.base}/trials/1", {"value": 1.0}, status=200)
    assert changed() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda api: api.call("PATCH", f"{api.base}/trials/1", {"value": 3.0}, status=200),
        lambda api: api.call("PATCH", f"{api.base}/trials/1", {"noise": 0.1}, status=200),
        lambda api: api.remove(1),
    ],
)
def test_corrections_and_removals_are_changes(
    api: Api, changed: Callable[[], list[int]], change: Callable[[Api], Any]
) -> None:
    api.create(algorithm="random")
    api.ask(count=2)
    api.tell(1, value=1.0)
    changed()
    change(api)
    assert changed() == [1]


def test_retries_releases_and_expiries_are_changes(
    api: Api, changed: Callable[[], list[int]], age_leases: Callable[[], None]
) -> None:
    api.create(algorithm="random")
    api.ask(count=3)
    api.tell(1, state="failed")
    changed()
    api.do("retry", 1)
    api.do("release", 2)
    assert changed() == [1, 2]
    age_leases()
    api.get()
    assert changed() == [3]


def test_the_events_of_an_ask_are_one_statement_and_go_with_its_transaction(api: Api, store: Store) -> None:
    api.create(algorithm="random")
    written: list[int] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, executemany: bool) -> None:
        if statement.startswith("INSERT INTO events"):
            written.append(len(parameters) if executemany else 1)

    listen(store.engine, "before_cursor_execute", note)
    address = Address(1, api.study)
    ask(store, address, [AskCall(count=3)])
    assert written == [3]
    with suppress(ZeroDivisionError), store.write(EVERY_PROJECT) as session:
        here = open_study(session, address, lock=True)
        here.record("study.updated", here.study.state)
        session.flush()
        raise ZeroDivisionError
    with store.read(EVERY_PROJECT) as session:
        here = open_study(session, address)
        revisions = [event.revision for event in events_after(session, here.study.id, 0, 100)]
    assert revisions == [1, 2, 3, 4]
