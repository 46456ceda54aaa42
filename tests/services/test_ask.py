"""The walk of an ask, where the application alone cannot make the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, select

from app.db import idempotency, keys
from app.db.session import EVERY_PROJECT, Store
from app.db.studies import Address
from app.db.tables import Trial
from app.errors import StudyNotFound
from app.services import ask as module
from app.services.ask import AskCall, Asked, ask
from tests.conftest import Api


@pytest.fixture
def place(api: Api, store: Store) -> Address:
    """A study whose next point comes from the model."""
    api.create(seed=3)
    for k in range(8):
        api.add(params={"x": k / 8}, value=(k / 8 - 0.4) ** 2)
    with store.read(EVERY_PROJECT) as session:
        return Address(keys.project(session, "default").id, "study")


def answered(store: Store, place: Address, *calls: AskCall) -> list[Asked]:
    answers = ask(store, place, calls)
    assert all(isinstance(answer, Asked) for answer in answers), answers
    return [answer for answer in answers if isinstance(answer, Asked)]


def during(monkeypatch: pytest.MonkeyPatch, act: Any, times: int = 1) -> list[int]:
    """Acts while the model computes, so many times; returns the list of computations."""
    computations: list[int] = []
    compute = module.compute

    def computing(*arguments: Any) -> Any:
        plan = compute(*arguments)
        computations.append(plan.next_number)
        if len(computations) <= times:
            act()
        return plan

    monkeypatch.setattr(module, "compute", computing)
    return computations


def test_a_repeated_answer_shows_no_token_of_the_call_beside_it(
    store: Store, place: Address, age_leases: Callable[[], None]
) -> None:
    """One transaction answers both: the repeat of a call whose lease is over, and who gets its trial next."""

    def first() -> AskCall:  # a call is answered once
        once = idempotency.Once(place.project_id, "key", "POST", "/ask", {})
        return AskCall(worker="first", lease_seconds=1.0, once=once)

    (before,) = answered(store, place, first())
    number = before.trials[0].number
    assert before.held == {number}
    age_leases()
    again, other = answered(store, place, first(), AskCall(worker="second"))
    assert [again.trials[0].number, other.trials[0].number] == [number, number]
    assert (again.held, other.held) == (frozenset(), {number})


def test_tells_that_arrive_while_the_model_computes_leave_its_points_standing(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.one()
    computations = during(monkeypatch, lambda: api.tell(9, value=1.0))
    (answer,) = answered(store, place, AskCall())
    assert computations == [10]
    assert answer.trials[0].origin["source"] == "gp"


def test_asks_that_take_the_numbers_meanwhile_make_it_compute_once_more(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        computations = during(patched, lambda: api.add(params={"x": 0.77}, value=2.0))
        (answer,) = answered(store, place, AskCall())
    assert computations == [9, 10]
    assert (answer.trials[0].number, answer.trials[0].origin["source"]) == (10, "gp")


def test_after_losing_twice_a_free_point_is_taken_and_says_so(
    api: Api, store: Store, place: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    xs = iter((0.71, 0.72, 0.73))
    computations = during(monkeypatch, lambda: api.add(params={"x": next(xs)}, value=2.0), times=9)
    (answer,) = answered(store, place, AskCall())
    assert computations == [9, 10]
    origin = answer.trials[0].origin
    assert (answer.trials[0].number, origin["source"]) == (11, "fallback")
    assert "twice" in origin["why"]


def test_a_claimed_call_is_left_to_whoever_claimed_it(store: Store, place: Address) -> None:
    mine, gone = AskCall(), AskCall()
    assert gone.claim()
    assert not gone.claim()
    answers = ask(store, place, [gone, mine])
    assert answers[0] is None
    assert isinstance(answers[1], Asked)
    assert [trial.number for trial in answers[1].trials] == [9]


def test_calls_answered_together_share_no_configuration_and_each_sees_those_before(
    store: Store, place: Address
) -> None:
    answers = answered(store, place, AskCall(count=2), AskCall(fixed={"x": 0.6}), AskCall(count=2))
    xs = [trial.params["x"] for answer in answers for trial in answer.trials]
    assert len(set(xs)) == 5
    assert xs[2] == 0.6
    assert [trial.number for answer in answers for trial in answer.trials] == [9, 10, 11, 12, 13]


def test_a_wrong_call_among_several_hurts_no_other(store: Store, place: Address) -> None:
    first, wrong, last = ask(store, place, [AskCall(), AskCall(fixed={"y": 1}), AskCall(uid="another")])
    assert isinstance(first, Asked)
    assert [getattr(problem, "code", None) for problem in (wrong, last)] == ["space-violation", "study-replaced"]


def test_a_study_that_is_not_there_is_said_to_all(store: Store, place: Address) -> None:
    with pytest.raises(StudyNotFound):
        ask(store, Address(place.project_id, "nobody"), [AskCall()])


def test_trials_that_are_made_together_have_ids_in_order_and_go_as_one_statement(store: Store, place: Address) -> None:
    statements: list[str] = []

    def noting(_: Any, __: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT INTO trials"):
            statements.append(statement)

    event.listen(store.engine, "before_cursor_execute", noting)
    answered(store, place, *(AskCall() for _ in range(5)))
    if not store.is_sqlite:
        assert len(statements) == 1
        assert "RETURNING" not in statements[0]
    answered(store, place, AskCall())  # alone, it gets the id after theirs
    with store.read(EVERY_PROJECT) as session:
        ids = session.scalars(select(Trial.id).order_by(Trial.number)).all()
    assert len(ids) == 14
    assert sorted(set(ids)) == list(ids)
