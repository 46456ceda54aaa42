"""What the database answers pruning with, against the pure rules on tables of reports; and what the model gets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, func, select

from app.db import keys, reports, rungs, studies, trials
from app.db.records import records_of
from app.db.session import EVERY_PROJECT, Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Report, RungValue, Trial
from app.search.rungs import Standing, promotable, rank, standing
from tests.conftest import Api

ASHA = {"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}
TWO = [{"name": "a", "direction": "maximize"}, {"name": "b"}]


@contextmanager
def opened(store: Store, name: str = "study") -> Iterator[OpenStudy]:
    with store.read(EVERY_PROJECT) as session:
        yield studies.open_study(session, Address(keys.project(session, "default").id, name))


def trial_of(here: OpenStudy, number: int) -> Trial:
    return trials.get(here, number)


def tables(rng: np.random.Generator, n_trials: int, m: int) -> list[dict[int, Any]]:
    """Reports of some trials: coarse values, so that there are ties; some steps left out, some not finite."""
    found = []
    for _ in range(n_trials):
        steps = sorted(rng.choice(np.arange(1, 9), size=rng.integers(1, 8), replace=False))
        rows = rng.integers(0, 6, (len(steps), m)) / 4.0
        found.append({int(step): row for step, row in zip(steps, rows, strict=True)})
    return found


def report_all(api: Api, found: list[dict[int, Any]], names: list[str]) -> None:
    api.ask(count=len(found))
    for number, steps in enumerate(found, start=1):
        for step, row in steps.items():
            api.report(number, step=step, values=dict(zip(names, row.tolist(), strict=True)))


@pytest.mark.parametrize(
    ("objectives", "signs"), [([{"name": "a", "direction": "maximize"}], [-1.0]), (TWO, [-1.0, 1.0])]
)
def test_a_standing_at_a_rung_is_that_of_the_pure_rule(
    api: Api, store: Store, objectives: list[Any], signs: list[float]
) -> None:
    api.create(algorithm="random", pruning=ASHA, objectives=objectives)
    found = tables(np.random.default_rng(1), 14, len(signs))
    report_all(api, found, [objective["name"] for objective in objectives])
    with opened(store) as here:
        for k, at in enumerate((1, 3)):
            there = {n: min(s for s in steps if s >= at) for n, steps in enumerate(found, 1) if max(steps) >= at}
            losses = {number: found[number - 1][step] * signs for number, step in there.items()}
            for number, own in losses.items():
                row = here.session.get_one(RungValue, (trial_of(here, number).id, k))
                others = np.array([loss for other, loss in losses.items() if other != number])
                assert rungs.standing_of(here, row) == standing(own, others)


def test_a_standing_at_a_step_is_the_best_report_so_far_among_the_others_at_that_step(api: Api, store: Store) -> None:
    api.create(algorithm="random", direction="maximize", pruning={"rule": "median"})
    found = tables(np.random.default_rng(2), 12, 1)
    report_all(api, found, ["value"])
    with opened(store) as here:
        for number, steps in enumerate(found, 1):
            for step, row in steps.items():
                others = [other[step] for n, other in enumerate(found, 1) if n != number and step in other]
                best = min(-value for at, value in steps.items() if at <= step)
                expected = standing(best, -np.array(others).reshape(-1, 1))
                told = {"value": float(row[0])}
                assert reports.standing_at_step(here, trial_of(here, number), step, told, enough=0) == expected


def test_where_steps_differ_the_median_is_that_of_the_last_reports_up_to_the_step(api: Api, store: Store) -> None:
    api.create(algorithm="random", pruning={"rule": "median", "min_trials": 3})
    found = [{1: 0.5, 4: 0.1}, {2: 0.6, 5: 0.2}, {3: 0.1, 6: 0.3}, {1: 0.0}, {4: 0.9}]
    report_all(api, [{s: np.array([v]) for s, v in steps.items()} for steps in found], ["value"])
    with opened(store) as here:
        told = {"value": 0.4}
        of_four = [0.1, 0.6, 0.1]  # trial 1 at 4, trial 2 at 2, trial 3 at 3; trial 4 did not come so far
        assert reports.standing_at_step(here, trial_of(here, 5), 4, told, enough=3) == standing(
            np.array([0.9]), np.array(of_four)[:, None]
        )


def test_with_several_objectives_the_standing_at_a_step_is_by_rank(api: Api, store: Store) -> None:
    api.create(algorithm="random", pruning={"rule": "median"}, objectives=TWO)
    found = [{1: np.array(row)} for row in ((0.5, 2.0), (0.9, 1.0), (0.4, 3.0), (1.0, 4.0))]
    report_all(api, found, ["a", "b"])
    with opened(store) as here:
        losses = np.array([row[1] * [-1.0, 1.0] for row in found])
        for k, row in enumerate(found):
            told = dict(zip("ab", row[1].tolist(), strict=True))
            ranks = rank(losses)[0]
            found_here = reports.standing_at_step(here, trial_of(here, k + 1), 1, told, enough=0)
            assert found_here == Standing(3, int(np.sum(ranks < ranks[k])))


@pytest.mark.parametrize("objectives", [[{"name": "a", "direction": "maximize"}], TWO])
def test_promotions_are_those_of_the_pure_rule(api: Api, store: Store, objectives: list[Any]) -> None:
    api.create(algorithm="random", pruning=ASHA | {"promote": True}, objectives=objectives)
    rng = np.random.default_rng(4)
    names, signs = [one["name"] for one in objectives], [-1.0, 1.0][: len(objectives)]
    losses, is_paused = [], []
    for trial in api.ask(count=20)["trials"]:
        row = rng.integers(0, 5, len(names)) / 4.0
        api.report(trial["number"], step=1, values=dict(zip(names, row.tolist(), strict=True)))
        is_paused.append(bool(rng.random() < 0.6))
        if is_paused[-1]:
            api.tell(trial["number"], state="paused")
        losses.append(row * signs)
    expected = [i + 1 for i in promotable(np.array(losses), np.array(is_paused), 3)]
    assert expected
    with opened(store) as here:
        found = [here.session.get_one(Trial, one.trial_id).number for one in rungs.promotions(here, 99)]
        assert found == expected
        assert [here.session.get_one(Trial, one.trial_id).number for one in rungs.promotions(here, 2)] == expected[:2]


def test_a_new_attempts_report_replaces_the_older_one_at_its_rung_and_its_step(api: Api, store: Store) -> None:
    api.create(algorithm="random", pruning=ASHA)
    api.one()
    api.report(1, step=1, value=0.5)
    api.report(1, step=4, value=0.4)
    api.do("release", 1)
    api.one()
    api.report(1, step=2, value=0.3)
    api.report(1, step=1, value=0.7)
    api.report(1, step=4, value="nan")
    with opened(store) as here:
        rows = here.session.scalars(select(RungValue).order_by(RungValue.rung)).all()
        assert [(row.rung, row.step, row.losses) for row in rows] == [(0, 1, [0.7]), (1, 4, None)]
        current = here.session.execute(
            select(Report.step, Report.attempt).where(Report.is_current.is_(True)).order_by(Report.step)
        ).all()
        assert [tuple(row) for row in current] == [(1, 2), (2, 2), (4, 2)]
        assert (trial_of(here, 1).last_step, trial_of(here, 1).last_values) == (2, {"value": 0.3})


def test_an_import_leaves_the_same_rows_as_the_reports_did(api: Api, store: Store) -> None:
    api.create(algorithm="random", pruning=ASHA | {"promote": True}, objectives=TWO)
    found = tables(np.random.default_rng(6), 6, 2)
    report_all(api, found, ["a", "b"])
    api.do("release", 1)
    api.one()
    api.report(1, step=min(found[0]), values={"a": 1.0, "b": "inf"})
    api.remove(2)
    whole = api.call("GET", f"{api.base}/export", status=200)
    api.call("POST", "/v1/studies/import?name=twin", whole, status=201)
    seen = []
    for name in ("study", "twin"):
        with opened(store, name) as here:
            of_study = (Trial.id == RungValue.trial_id, Trial.study_id == here.study.id)
            rung_rows = here.session.execute(
                select(Trial.number, RungValue.rung, RungValue.step, RungValue.losses, RungValue.bracket)
                .where(*of_study).order_by(Trial.number, RungValue.rung)
            ).all()  # fmt: skip
            reported = here.session.execute(
                select(Trial.number, Report.attempt, Report.step, Report.value, Report.is_current)
                .where(Trial.id == Report.trial_id, Report.study_id == here.study.id)
                .order_by(Trial.number, Report.attempt, Report.step)
            ).all()
            seen.append((rung_rows, reported, records_of(here)))
    assert seen[0] == seen[1]
    assert 2 not in {row.number for row in seen[0][0]}


def test_the_model_gets_the_last_report_and_the_values_at_the_rungs_of_every_trial(api: Api, store: Store) -> None:
    api.create(algorithm="random", direction="maximize", pruning=ASHA | {"promote": True})
    api.ask(count=4)
    for step, value in ((1, 0.5), (2, "nan"), (4, 0.7)):
        api.report(1, step=step, value=value)
    api.tell(1, value=0.8)
    api.report(2, step=1, value=0.25)
    api.tell(2, state="paused")
    api.report(3, step=1, value="inf")
    api.report(4, step=1, value=0.1)
    api.remove(4)
    with opened(store) as here:
        records = [(record.state, record.values, record.at_rungs) for record in records_of(here)]
        assert records == [
            ("complete", (0.8,), ((0.5,), (0.7,))),
            ("pruned", (0.25,), ((0.25,), None)),
            ("pending", None, ()),
            ("failed", None, ()),
        ]


@pytest.mark.parametrize(
    "pruning",
    [
        ASHA,
        {"rule": "hyperband", "max_step": 9},
        {"rule": "median"},
        {"rule": "curve", "max_step": 99, "min_trials": 1},
    ],
)
@pytest.mark.parametrize("objectives", [[{"name": "a"}], TWO])
def test_a_decision_takes_as_many_statements_however_many_reports_there_are(
    api: Api, store: Store, pruning: Any, objectives: list[Any]
) -> None:
    names = [objective["name"] for objective in objectives]
    api.create(algorithm="random", pruning=pruning, objectives=objectives)
    api.ask(count=2)
    api.add(params={"x": 0.5}, values=dict.fromkeys(names, 1.0))
    few = _asked_by_a_report(api, 1, names)
    with store.write(EVERY_PROJECT) as session:
        here = studies.open_study(session, Address(keys.project(session, "default").id, "study"), lock=True)
        for k in range(60):
            made = trials.make(
                here, state="complete", params={"x": k / 60}, origin={}, config_key=str(k), attempt=1,
                **trials.result_fields(here.definition, dict.fromkeys(names, k), True, None),
            )  # fmt: skip
            session.flush()
            reports.bring(
                here, made, [(1, step, dict.fromkeys(names, float(k + step)), here.now) for step in (1, 2, 3)]
            )
    many = _asked_by_a_report(api, 2, names)
    assert many <= few + 1, "with enough values at a rung a second count is asked for"


def _asked_by_a_report(api: Api, number: int, names: list[str]) -> int:
    """How many statements the report of a fifth step made."""
    for step in (1, 2, 3, 4):
        api.report(number, step=step, values=dict.fromkeys(names, 0.5 + step))
    said: list[str] = []
    engine: Any = api.client.app.state.store.engine  # type: ignore[attr-defined]

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if threading.current_thread().name not in ("learning", "speculation", "upkeep"):  # they go by the clock
            said.append(statement)

    event.listen(engine, "after_cursor_execute", note)
    try:
        api.report(number, step=5, values=dict.fromkeys(names, 0.5))
    finally:
        event.remove(engine, "after_cursor_execute", note)
    return len(said)


def test_removing_a_trial_takes_it_out_of_every_comparison(api: Api, store: Store) -> None:
    api.create(algorithm="random", pruning=ASHA)
    api.ask(count=2)
    for number in (1, 2):
        api.report(number, step=1, value=0.5)
    api.remove(1)
    with store.read(EVERY_PROJECT) as session:
        assert session.scalar(select(func.count()).select_from(RungValue)) == 1
        assert session.scalar(select(func.count()).where(Report.is_current.is_(True))) == 1
        assert session.scalar(select(func.count()).select_from(Report)) == 2
