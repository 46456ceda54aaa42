"""A history that was brought up to date is the one that all records make, whatever happened in between."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from app.db import keys, studies
from app.db.records import changes_since, records_of
from app.db.session import EVERY_PROJECT, Store
from app.db.studies import Address, OpenStudy
from app.search.history import History
from app.services import histories as module
from app.services.histories import Histories
from app.services.lines import Lines
from app.services.plan import Needs, compute
from tests.conftest import Api

SPACE: dict[str, Any] = {
    "x": {"type": "float", "low": 0, "high": 1},
    "k": {"type": "categorical", "choices": ["a", "b"]},
    "y": {"type": "float", "low": 1, "high": 9, "when": {"k": ["b"]}},
}
ONE = Needs(((1, {}),), ())


def seen(store: Store, histories: Histories, name: str = "study") -> tuple[OpenStudy, History]:
    with store.read(EVERY_PROJECT) as session:
        address = Address(keys.project(session, "default").id, name)
    with histories.turn(address):
        with store.read(EVERY_PROJECT) as session:
            here = studies.open_study(session, address)
            news = histories.news(here)
        return here, histories.grown(here, news)


def from_all_records(store: Store, here: OpenStudy) -> History:
    with store.read(EVERY_PROJECT) as session:
        here = studies.open_study(session, Address(here.study.project_id, here.study.name))
        return History.of(here.definition.space, here.definition.goal, records_of(here))


def assert_same(one: History, other: History) -> None:
    for name in ("numbers", "units", "objectives", "violations", "codes", "noise_std", "costs", "at_rungs"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.keys == other.keys
    assert one.pending == other.pending


def things_that_happen(api: Api, rng: random.Random, age_leases: Callable[[], None]) -> dict[str, Callable[[], Any]]:
    def in_state(*states: str) -> int:
        items = api.call("GET", f"{api.base}/trials?limit=1000", status=200)["items"]
        return int(rng.choice([trial["number"] for trial in items if trial["state"] in states]))

    def tell(**body: Any) -> None:
        api.tell(in_state("running"), **body)

    def prune() -> None:
        number = in_state("running")
        api.report(number, step=len(api.trial(number).get("reports") or []) + 1, value=rng.random())
        api.tell(number, state="pruned")

    def expire() -> None:
        age_leases()
        api.get()

    def edit() -> None:
        low = round(rng.uniform(0.0, 0.3), 2)
        api.call("PATCH", f"{api.base}/space", {"x": {"low": low, "high": 1 + low}}, status=200)

    def correct() -> None:
        api.call("PATCH", f"{api.base}/trials/{in_state('complete')}", {"value": rng.random()}, status=200)

    def imported() -> None:
        points = [{"params": {"x": rng.uniform(0.3, 1), "k": "a"}, "value": rng.random()} for _ in range(3)]
        api.add(trials=points)

    return {
        "ask": api.one,
        "ask for two": lambda: api.ask(count=2),
        "tell": lambda: tell(value=rng.random()),
        "tell with noise": lambda: tell(value=rng.random(), noise=0.1, cost=2.0),
        "fail": lambda: tell(state="failed"),
        "cannot be": lambda: tell(state="infeasible"),
        "prune": prune,
        "report": lambda: api.report(in_state("running"), step=1, value=rng.random()),
        "release": lambda: api.do("release", in_state("running")),
        "retry": lambda: api.do("retry", in_state("failed", "lost")),
        "correct": correct,
        "remove": lambda: api.remove(in_state("complete", "failed", "running", "waiting", "lost")),
        "enqueue": lambda: api.add(params={"x": rng.uniform(0.3, 1), "k": "a"}),
        "enqueue a part": lambda: api.add(params={"x": rng.uniform(0.3, 1)}),
        "import": imported,
        "expire": expire,
        "edit the space": edit,
    }


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_kept_history_and_its_suggestion_are_those_of_all_records_whatever_happens(
    api: Api, store: Store, age_leases: Callable[[], None], seed: int
) -> None:
    rng = random.Random(seed)
    api.create(space=SPACE, algorithm="gp", seed=seed, max_retries=2)
    things = things_that_happen(api, rng, age_leases)
    often = ["ask", "tell", "tell", "ask for two", "tell with noise"]
    rare = [name for name in things if name not in often]
    processes = [Histories(), Histories(), Histories(studies_kept=1)]
    for k in range(70):
        try:
            things[rng.choice(often if k < 12 or rng.random() < 0.5 else rare)]()
        except IndexError:  # there is no such trial
            continue
        if rng.random() < 0.6:
            here, kept = seen(store, rng.choice(processes))
            whole = from_all_records(store, here)
            assert_same(kept, whole)
            if rng.random() < 0.4:
                ahead, now = (compute(here, history, ONE, Lines()) for history in (kept, whole))
                assert ahead.fresh == now.fresh


def test_a_second_look_reads_only_what_changed(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create(algorithm="gp")
    for k in range(20):
        api.add(params={"x": k / 20}, value=float(k))
    read: list[int] = []

    def counting(*arguments: Any) -> Any:
        found = changes_since(*arguments)
        read.append(len(found))
        return found

    monkeypatch.setattr(module, "changes_since", counting)
    histories = Histories()
    seen(store, histories)
    seen(store, histories)
    api.add(params={"x": 0.99}, value=1.0)
    seen(store, histories)
    api.call("PATCH", f"{api.base}/trials/3", {"value": 7.0}, status=200)
    here, history = seen(store, histories)
    assert read == [20, 0, 1, 1]
    assert_same(history, from_all_records(store, here))


def test_an_ask_of_a_long_study_costs_no_more_statements_than_one_of_a_short_study(api: Api, store: Store) -> None:
    """And none of them fetches the trials: see the test above."""
    api.create(algorithm="gp", stop={"patience": 10_000, "max_cost": 1e9, "max_trials": 10_000, "target": -1.0})
    counts = []
    for n in (8, 40):
        while api.get()["counts"]["complete"] < n:
            api.add(params={"x": api.get()["counts"]["complete"] / 50}, value=1.0)
        api.one()
        statements: list[str] = []
        engine = api.client.app.state.store.engine  # type: ignore[attr-defined]

        def note(_: Any, __: Any, statement: str, *___: Any, kept: list[str] = statements) -> None:
            if threading.current_thread().name != "learning":  # it works beside the ask, when it likes
                kept.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        api.one()
        event.remove(engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_no_more_studies_and_trials_are_kept_than_there_is_room_for(api: Api, store: Store) -> None:
    histories = Histories(studies_kept=2, trials_kept=5)
    for name, n in (("a", 1), ("b", 1), ("c", 4), ("d", 9)):
        study = Api(api.client, name)
        study.create(algorithm="gp")
        study.add(trials=[{"params": {"x": k / 10}, "value": 1.0} for k in range(n)])
        seen(store, histories, name)
    assert [len(live.records) for live in histories._live.values()] == [9]
    for name in ("a", "b", "c"):
        seen(store, histories, name)
    assert [len(live.records) for live in histories._live.values()] == [1, 4]
