"""`Idempotency-Key`: the same call again gives the first answer and does nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.idempotency import Once
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Base, IdempotencyKey
from app.services import exchange
from app.services.upkeep import clean
from tests.conftest import Api

KEY = {"Idempotency-Key": "first-try"}
SPACE = {"x": {"type": "float", "low": 0, "high": 1}}


def post(api: Api, path: str, body: Any, *, status: int, key: str = "first-try") -> dict[str, Any]:
    return api.call("POST", path, body, status=status, headers={"Idempotency-Key": key})


def test_an_ask_again_hands_out_the_same_trials_with_the_same_tokens(api: Api) -> None:
    api.create()
    first = post(api, f"{api.base}/ask", {"count": 2}, status=200)
    assert post(api, f"{api.base}/ask", {"count": 2}, status=200) == first
    assert api.counts() == {"running": 2}


def test_the_order_of_the_bodys_names_does_not_matter(api: Api) -> None:
    api.create()
    first = post(api, f"{api.base}/ask", {"count": 2, "worker": "w"}, status=200)
    assert post(api, f"{api.base}/ask", {"worker": "w", "count": 2}, status=200) == first


def test_an_ask_again_after_the_tell_shows_the_trial_as_it_is_now(api: Api) -> None:
    api.create()
    post(api, f"{api.base}/ask", {}, status=200)
    api.tell(1, value=1.0)
    (trial,) = post(api, f"{api.base}/ask", {}, status=200)["trials"]
    assert (trial["number"], trial["state"], trial["lease"]) == (1, "complete", None)


def test_a_token_is_not_shown_to_the_first_asker_when_the_trial_is_in_other_hands(
    api: Api, age_leases: Callable[[], None]
) -> None:
    api.create()
    post(api, f"{api.base}/ask", {}, status=200)
    age_leases()
    assert api.one()["number"] == 1
    (trial,) = post(api, f"{api.base}/ask", {}, status=200)["trials"]
    assert (trial["number"], trial["attempt"], trial["lease"]["token"]) == (1, 2, None)


@pytest.mark.parametrize("threads", [2, 6])
@pytest.mark.parametrize("algorithm", ["gp", "random"])
def test_asks_at_once_with_one_key_hand_out_once(api: Api, threads: int, algorithm: str) -> None:
    api.create(algorithm=algorithm)
    with ThreadPoolExecutor(threads + 2) as pool:
        others = [pool.submit(api.ask) for _ in range(2)]
        same = [pool.submit(post, api, f"{api.base}/ask", {"count": 2}, status=200) for _ in range(threads)]
        answers = [[trial["number"] for trial in future.result()["trials"]] for future in same]
        assert all(len(future.result()["trials"]) == 1 for future in others)
    assert answers == [answers[0]] * threads
    assert api.counts() == {"running": 4}


def test_another_body_under_the_same_key_is_refused(api: Api) -> None:
    api.create()
    post(api, f"{api.base}/ask", {"count": 2}, status=200)
    for path, body in ((f"{api.base}/ask", {"count": 3}), (f"{api.base}/trials", {"params": {"x": 0.5}})):
        assert post(api, path, body, status=422)["code"] == "idempotency-key-reused"
    assert api.counts() == {"running": 2}


def test_a_call_that_failed_may_be_repeated_under_its_key(api: Api) -> None:
    post(api, f"{api.base}/ask", {}, status=404)
    api.create()
    post(api, f"{api.base}/ask", {"count": 0}, status=422)
    assert len(post(api, f"{api.base}/ask", {}, status=200)["trials"]) == 1


def test_enqueued_and_imported_trials_are_made_once(api: Api) -> None:
    api.create()
    for key, body in (
        ("a", {"params": {"x": 0.5}}),
        ("b", {"params": {"x": 0.5}, "value": 1.0}),
        ("c", {"trials": [{"params": {"x": 0.25}}, {"params": {"x": 0.75}}]}),
    ):
        first = post(api, f"{api.base}/trials", body, status=201, key=key)
        assert post(api, f"{api.base}/trials", body, status=201, key=key) == first
    assert api.counts() == {"waiting": 3, "complete": 1}


def test_a_study_left_unnamed_is_made_once(api: Api) -> None:
    first = post(api, "/v1/studies", {"space": SPACE}, status=201)
    assert post(api, "/v1/studies", {"space": SPACE}, status=201)["uid"] == first["uid"]
    assert len(api.call("GET", "/v1/studies", status=200)["items"]) == 1


def test_studies_posted_at_once_under_one_key_are_one(api: Api) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: post(api, "/v1/studies", {"space": SPACE}, status=201), range(4)))
    assert len({study["uid"] for study in made}) == 1
    assert len(api.call("GET", "/v1/studies", status=200)["items"]) == 1


def test_a_key_that_joined_a_study_is_taken_as_well(api: Api) -> None:
    api.create(seed=1)
    post(api, "/v1/studies", {"name": "study", "seed": 1}, status=200)
    post(api, "/v1/studies", {"name": "study", "seed": 1}, status=200)
    assert post(api, "/v1/studies", {"name": "study"}, status=422)["code"] == "idempotency-key-reused"


def test_a_copy_is_made_once(api: Api) -> None:
    api.create()
    first = post(api, f"{api.base}/copy", {"name": "twin"}, status=201)
    assert post(api, f"{api.base}/copy", {"name": "twin"}, status=201)["uid"] == first["uid"]
    api.call("POST", f"{api.base}/copy", {"name": "twin"}, status=409)


def test_a_study_is_restored_once_with_or_without_a_key(api: Api) -> None:
    first = api.create()["uid"]
    api.call("DELETE", api.base, status=204)
    assert api.create()["uid"] != first
    api.call("DELETE", api.base, status=204)
    back = post(api, f"{api.base}/restore", None, status=200)
    assert back["uid"] != first
    assert post(api, f"{api.base}/restore", None, status=200) == back  # and is not the other one's turn
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    for _ in range(2):
        assert api.call("POST", f"{api.base}/restore", status=200)["uid"] == first
    restored = [one for one in api.call("GET", "/v1/audit", status=200)["items"] if one["action"] == "study.restored"]
    assert len(restored) == 2


def test_a_study_restored_by_several_at_once_is_restored_once(api: Api) -> None:
    api.create()
    api.call("DELETE", api.base, status=204)
    with ThreadPoolExecutor(4) as pool:
        back = list(pool.map(lambda _: api.call("POST", f"{api.base}/restore", status=200), range(4)))
    assert all(one == back[0] for one in back)
    restored = [one for one in api.call("GET", "/v1/audit", status=200)["items"] if one["action"] == "study.restored"]
    assert len(restored) == 1


def test_copies_at_once_under_one_key_are_one(api: Api) -> None:
    api.create()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: post(api, f"{api.base}/copy", {"name": "twin"}, status=201), range(4)))
    assert len({study["uid"] for study in made}) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_copy_that_loses_to_its_own_repetition_gets_its_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two looks of a call at the database, the same call may have been committed; on SQLite, where one
    writes at a time, nothing can come in between."""
    api.create()
    other: list[dict[str, Any]] = []
    look = exchange.idempotency.remembered

    def racing(session: Session, once: Once | None) -> Any:
        seen = look(session, once)
        if not other and looks.pop() == "the import's":
            other.append({})
            other[0] = post(api, f"{api.base}/copy", {"name": "twin"}, status=201)
        return seen

    looks = ["the import's", "the copy's"]
    monkeypatch.setattr(exchange.idempotency, "remembered", racing)
    assert post(api, f"{api.base}/copy", {"name": "twin"}, status=201)["uid"] == other[0]["uid"]


def test_an_import_takes_effect_once(api: Api) -> None:
    api.create()
    api.one()
    whole = api.call("GET", f"{api.base}/export", status=200)
    path = "/v1/studies/import?name=again"
    first = post(api, path, whole, status=201)
    assert post(api, path, whole, status=201) == first
    api.call("POST", path, whole, status=409)


def test_a_retry_again_does_not_enqueue_the_trial_that_runs_by_now(api: Api) -> None:
    api.create()
    api.one()
    api.tell(1, state="failed")
    post(api, f"{api.base}/trials/1/retry", {}, status=200)
    api.one()
    assert post(api, f"{api.base}/trials/1/retry", {}, status=200)["state"] == "running"


def test_keys_are_kept_as_hashes_and_for_a_day(api: Api, store: Store) -> None:
    api.create()
    post(api, f"{api.base}/ask", {}, status=200, key="a-secret-key-0815")
    with store.read(EVERY_PROJECT) as session:
        for table in Base.metadata.sorted_tables:
            assert "0815" not in repr(session.execute(select(table)).all())
    for age, left in ((timedelta(hours=23), 1), (timedelta(hours=2), 0)):
        with store.write(EVERY_PROJECT) as session:
            for row in session.scalars(select(IdempotencyKey)).all():
                session.execute(update(IdempotencyKey).values(created_at=row.created_at - age))
        clean(store)
        with store.read(EVERY_PROJECT) as session:
            assert len(session.scalars(select(IdempotencyKey)).all()) == left


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
def test_a_key_is_1_to_255_printable_characters(api: Api, key: str) -> None:
    api.create()
    post(api, f"{api.base}/ask", {}, status=422, key=key)
    assert api.counts() == {}


def test_a_copy_repeated_after_its_source_is_gone_answers_as_before(api: Api) -> None:
    api.create()
    headers = {"Idempotency-Key": "once"}
    first = api.call("POST", f"{api.base}/copy", {"name": "copied"}, status=201, headers=headers)
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    again = api.call("POST", f"{api.base}/copy", {"name": "copied"}, status=201, headers=headers)
    assert again == first
