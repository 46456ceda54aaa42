"""Studies as a resource: create or join, read, list, change, delete, restore."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Event, Report, SpaceVersion, Study, StudyTag, Trial
from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 9}}


def put(api: Api, body: dict[str, Any], *, status: int, name: str = "study") -> dict[str, Any]:
    return api.call("PUT", f"/v1/studies/{name}", body, status=status)


def names(api: Api, query: str = "") -> list[str]:
    return [study["name"] for study in api.call("GET", f"/v1/studies{query}", status=200)["items"]]


# --- create or join ---------------------------------------------------------------------------------------------


def test_put_creates_and_the_same_again_verifies(api: Api) -> None:
    made = put(api, {"space": SPACE, "seed": 3}, status=201)
    assert (made["state"], made["space_version"], made["best"], sum(made["counts"].values())) == ("active", 1, None, 0)
    again = put(api, {"space": SPACE, "seed": 3}, status=200)
    assert again | {"ignored": None} == made


def test_what_is_left_out_of_a_later_put_is_not_compared(api: Api) -> None:
    put(api, {"space": SPACE, "seed": 3, "direction": "maximize", "algorithm": "random"}, status=201)
    for body in ({}, {"space": SPACE}, {"seed": 3}, {"direction": "maximize"}, {"seed": None}):
        put(api, body, status=200)


DIFFERENT: list[tuple[dict[str, Any], str]] = [
    ({"seed": 4}, "/seed"),
    ({"direction": "maximize"}, "/objectives"),
    ({"algorithm": "random"}, "/algorithm"),
    ({"pruning": {"rule": "median"}}, "/pruning"),
    ({"outcomes": [{"name": "mb", "at_most": 1}]}, "/outcomes"),
    ({"constraints": ["x <= 0.5"]}, "/constraints"),
    ({"space": {**SPACE, "x": {"type": "float", "low": 0, "high": 2}}}, "/space/x/high"),
    ({"space": {"x": SPACE["x"]}}, "/space/n"),
]


def test_another_definition_is_refused_naming_the_place(api: Api) -> None:
    put(api, {"space": SPACE, "seed": 3}, status=201)
    for given, pointer in DIFFERENT:
        problem = put(api, given, status=409)
        assert problem["code"] == "study-differs"
        assert pointer in [difference["pointer"] for difference in problem["differs"]]
        assert all(set(difference) == {"pointer", "here", "given"} for difference in problem["differs"])


def test_definitions_are_compared_after_normalising(api: Api) -> None:
    put(api, {"space": SPACE, "direction": "maximize", "algorithm": "random"}, status=201)
    space = {
        "n": {"high": 9.0, "low": 1, "type": "int", "scale": "linear"},
        "x": {"type": "float", "low": 0.0, "high": 1.0, "step": None, "default": None},
    }
    put(api, {"space": space}, status=200)
    put(api, {"objectives": [{"name": "value", "direction": "maximize"}]}, status=200)
    put(api, {"algorithm": {"name": "random"}, "pruning": "off", "outcomes": [], "constraints": []}, status=200)


def test_choices_1_and_true_are_not_the_same(api: Api) -> None:
    put(api, {"space": {"k": {"type": "categorical", "choices": [0, 1]}}}, status=201)
    put(api, {"space": {"k": {"type": "categorical", "choices": [False, True]}}}, status=409)


def test_settings_in_a_later_put_are_ignored_and_listed(api: Api) -> None:
    put(api, {"space": SPACE, "description": "first"}, status=201)
    later = {"description": "second", "tags": {"a": "b"}, "stop": {"max_trials": 1}, "metafeatures": {"n": 1}}
    study = put(api, {"space": SPACE, **later, "warm_start": "off"}, status=200)
    assert sorted(study["ignored"]) == ["description", "metafeatures", "stop", "tags", "warm_start"]
    assert (study["description"], study["tags"], study["stop"], study["warm_start"]) == ("first", {}, {}, "auto")


def test_a_space_equal_to_any_version_of_the_studys_space_joins_it(api: Api) -> None:
    put(api, {"space": SPACE}, status=201)
    wider = {**SPACE, "x": {"type": "float", "low": 0, "high": 2}}
    put(api, {"space": wider}, status=409)
    api.call("PATCH", f"{api.base}/space", {"x": {"high": 2}}, status=200)
    for space in (SPACE, wider):
        assert put(api, {"space": space}, status=200)["space_version"] == 2


def test_a_put_without_a_space_creates_nothing(api: Api) -> None:
    assert put(api, {}, status=422)["errors"][0]["pointer"] == "/space"
    assert names(api) == []


def test_puts_at_once_create_one_study(api: Api) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: api.client.put(api.base, json={"space": SPACE, "seed": 1}), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["uid"] for answer in answers}) == 1


def test_post_takes_the_name_from_the_body_or_makes_one(api: Api) -> None:
    response = api.client.post("/v1/studies", json={"name": "mine", "space": SPACE})
    assert (response.status_code, response.json()["name"]) == (201, "mine")
    assert response.headers["location"] == "/v1/studies/mine"
    made = api.call("POST", "/v1/studies", {"space": SPACE}, status=201)["name"]
    assert names(api) == sorted(["mine", made])


def test_a_body_that_names_another_study_than_the_path_is_refused(api: Api) -> None:
    put(api, {"name": "other", "space": SPACE}, status=422)
    put(api, {"name": "study", "space": SPACE}, status=201)


@pytest.mark.parametrize("name", ["import", "health", "docs", "a" * 128, "0.b_c-D"])
def test_every_legal_name_works_from_creation_to_deletion(api: Api, name: str) -> None:
    api.study = name
    api.create(algorithm="random")
    assert api.get()["name"] == name
    api.tell(api.one()["number"], value=1.0)
    assert api.trial(1)["state"] == "complete"
    assert names(api, f"?prefix={name}") == [name]
    whole = api.call("GET", f"{api.base}/export", status=200)
    api.call("DELETE", api.base, status=204)
    api.call("POST", "/v1/studies/import", whole, status=201)
    assert api.counts() == {"complete": 1}


def test_other_names_are_refused(api: Api) -> None:
    for name in ("-a", ".a", "_a", "a" * 129, "a%20b", "a%0A", "%C3%A4", "a%00b", "a:b"):
        put(api, {"space": SPACE}, name=name, status=422)


def test_a_default_is_the_first_configuration_tried(api: Api) -> None:
    put(api, {"space": {**SPACE, "n": {"type": "int", "low": 1, "high": 9, "default": 7}}}, status=201)
    trial = api.one()
    assert (trial["params"]["n"], trial["origin"]["source"]) == (7, "initial")


def test_the_order_of_parameters_is_kept(api: Api) -> None:
    space = {name: {"type": "bool"} for name in ("z", "a", "m", "B")}
    put(api, {"space": space}, status=201)
    assert list(api.get()["space"]) == list(api.one()["params"]) == ["z", "a", "m", "B"]


def test_the_study_shows_the_algorithm_in_use_and_why(api: Api) -> None:
    put(api, {"space": SPACE}, status=201)
    assert api.get()["algorithm"] == "auto"
    assert api.get()["algorithm_in_use"]["name"] == "gp"
    assert api.get()["algorithm_in_use"]["why"]


# --- list -------------------------------------------------------------------------------------------------------


def test_studies_are_listed_by_name_page_by_page(api: Api) -> None:
    for name in ("b", "a", "B", "c-1", "c.1", "c_1"):
        put(api, {"space": SPACE}, name=name, status=201)
    seen, after = [], ""
    while True:
        page = api.call("GET", f"/v1/studies?limit=2{after}", status=200)
        seen += [study["name"] for study in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == sorted(["b", "a", "B", "c-1", "c.1", "c_1"])


def test_a_prefix_takes_every_letter_as_it_is(api: Api) -> None:
    for name in ("a_b", "aXb", "A_b", "a", "ab", "z", "zz"):
        put(api, {"space": SPACE}, name=name, status=201)
    assert names(api, "?prefix=a_") == ["a_b"]
    assert names(api, "?prefix=a") == ["a", "aXb", "a_b", "ab"]
    assert names(api, "?prefix=z") == ["z", "zz"]
    assert names(api, "?prefix=%25") == []
    assert names(api, "?prefix=_") == []
    assert names(api, "?prefix=%F4%8F%BF%BF") == []
    assert names(api, "?prefix=%ED%9F%BF") == []


def test_studies_are_filtered_by_state_and_tags(api: Api) -> None:
    for name, tags in (("a", {"team": "vision", "x.y": "1"}), ("b", {"team": "vision"}), ("c", {"team": "text"})):
        put(api, {"space": SPACE, "tags": tags}, name=name, status=201)
    api.call("PATCH", "/v1/studies/b", {"state": "paused"}, status=200)
    assert names(api, "?tag.team=vision") == ["a", "b"]
    assert names(api, "?tag.team=vision&state=active") == ["a"]
    assert names(api, "?tag.team=vision&tag.x.y=1") == ["a"]
    assert names(api, "?tag.team=Vision") == []
    api.call("PATCH", "/v1/studies/c", {"tags": {"team": "vision"}}, status=200)
    assert names(api, "?tag.team=vision&state=active") == ["a", "c"]
    assert names(api, "?tag.team=text") == []


def test_a_query_that_makes_no_sense_is_422(api: Api) -> None:
    queries = "tag.a=%00 tag.%00=a prefix=%00 after=WyJhXHUwMDAwIl0 after=x after=WzFd limit=0 limit=1001 limit=x"
    for query in queries.split():
        api.call("GET", f"/v1/studies?{query}", status=422)


# --- change -----------------------------------------------------------------------------------------------------


def test_settings_are_changed_by_patch(api: Api) -> None:
    put(api, {"space": SPACE}, status=201)
    changes = {
        "description": "new",
        "tags": {"a": "b"},
        "stop": {"patience": 5},
        "metafeatures": {"n_rows": 10},
        "warm_start": "off",
        "state": "paused",
    }
    study = api.patch(**changes)
    assert {name: study[name] for name in changes} == changes


WRONG_CHANGES: list[dict[str, Any]] = [
    {},
    {"space": SPACE},
    {"seed": 1},
    {"state": "done"},
    {"stop": {"max_trials": 0}},
    {"stop": {"maximum": 1}},
    {"stop": {"target": "nan"}},
    {"tags": {"a": 1}},
    {"tags": None},
    {"metafeatures": {"a": "b"}},
]


def test_a_patch_of_anything_else_is_refused(api: Api) -> None:
    put(api, {"space": SPACE}, status=201)
    for changes in WRONG_CHANGES:
        api.patch(status=422, **changes)


def test_study_uid_in_body_or_query_guards_every_call_against_a_replaced_study(api: Api) -> None:
    old = api.create(algorithm="random")["uid"]
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    new = api.create(algorithm="random")["uid"]
    assert old != new
    api.one()
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", "", None),
        ("PUT", "", {"space": {"x": {"type": "float", "low": 0, "high": 1}}}),
        ("PATCH", "", {"state": "paused"}),
        ("PATCH", "/space", {"x": {"high": 2}}),
        ("POST", "/ask", {}),
        ("POST", "/tell", {"results": [{"number": 1, "value": 1}]}),
        ("POST", "/trials", {"params": {"x": 0.5}}),
        ("GET", "/trials", None),
        ("GET", "/trials/1", None),
        ("PATCH", "/trials/1", {"value": 1}),
        ("DELETE", "/trials/1", None),
        ("POST", "/trials/1/tell", {"value": 1}),
        ("POST", "/trials/1/report", {"step": 1, "value": 1}),
        ("POST", "/trials/1/heartbeat", {}),
        ("POST", "/trials/1/release", {}),
        ("POST", "/trials/1/stop", {}),
        ("POST", "/trials/1/retry", {}),
        ("GET", "/best", None),
        ("GET", "/pareto", None),
        ("GET", "/export", None),
        ("POST", "/copy", {"name": "twin"}),
        ("DELETE", "", None),
        ("GET", "/events", None),
    ]
    for method, path, body in calls:
        problem = api.call(method, f"{api.base}{path}?study_uid={old}", body, status=409)
        assert (problem["code"], problem["study_uid"]) == ("study-replaced", new), path
        if body is not None:
            problem = api.call(method, f"{api.base}{path}", {**body, "study_uid": old}, status=409)
            assert problem["code"] == "study-replaced", path
    assert api.counts() == {"running": 1}
    assert len(api.ask(study_uid=new)["trials"]) == 1
    api.call("GET", f"{api.base}?study_uid={new}", status=200)


# --- delete and restore -----------------------------------------------------------------------------------------


def test_a_deleted_study_is_hidden_and_comes_back_whole(api: Api) -> None:
    before = api.create(tags={"a": "b"})
    api.tell(api.one()["number"], value=1.0)
    api.call("DELETE", api.base, status=204)
    for problem in (
        api.get(status=404),
        api.ask(status=404),
        api.trial(1, status=404),
        api.tell(1, value=1, status=404),
    ):
        assert problem["code"] == "study-not-found"
    assert names(api) == []
    back = api.call("POST", f"{api.base}/restore", status=200)
    assert (back["uid"], back["counts"]["complete"], back["tags"]) == (before["uid"], 1, {"a": "b"})


def test_the_name_of_a_deleted_study_is_free_and_then_restore_is_a_conflict(api: Api) -> None:
    old = api.create()["uid"]
    api.call("DELETE", api.base, status=204)
    assert api.create()["uid"] != old
    assert api.call("POST", f"{api.base}/restore", status=409)["code"] == "name-taken"
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    assert api.call("POST", f"{api.base}/restore", status=200)["uid"] == old


def test_a_study_cannot_be_restored_after_7_days(api: Api, store: Store) -> None:
    api.create()
    api.call("DELETE", api.base, status=204)
    with store.write(EVERY_PROJECT) as session:
        study = session.scalars(select(Study)).one()
        assert study.deleted_at is not None
        study.deleted_at -= timedelta(days=7, seconds=1)
    api.call("POST", f"{api.base}/restore", status=404)


def test_a_purged_study_leaves_no_row_behind(api: Api, store: Store) -> None:
    api.create(tags={"a": "b"})
    api.one()
    api.report(1, step=1, value=1)
    api.call("DELETE", f"{api.base}?purge=true", status=204)
    with store.read(EVERY_PROJECT) as session:
        for table in (Study, Trial, Report, Event, SpaceVersion, StudyTag):
            assert session.scalars(select(table)).all() == []
    api.call("POST", f"{api.base}/restore", status=404)
    api.call("DELETE", api.base, status=404)


def test_a_restored_study_with_an_expired_lease_is_read_as_it_is_now(api: Api, age_leases: Any) -> None:
    api.create()
    api.one()
    api.call("DELETE", api.base, status=204)
    age_leases()
    assert names(api) == []
    api.call("POST", f"{api.base}/restore", status=200)
    assert api.counts() == {"waiting": 1}


# --- counters ---------------------------------------------------------------------------------------------------


def test_the_counters_on_the_study_always_equal_the_trials(api: Api, store: Store, age_leases: Any) -> None:
    def check() -> None:
        shown = api.counts()
        with store.read(EVERY_PROJECT) as session:
            rows = session.execute(
                text("SELECT state, count(*) FROM trials WHERE state <> 'removed' GROUP BY state")
            ).all()
            imported = session.execute(
                text(
                    "SELECT count(*) FROM trials WHERE attempt = 0 AND state IN "
                    "('complete', 'pruned', 'failed', 'infeasible')"
                )
            ).scalar_one()
            assert shown == {row[0]: row[1] for row in rows}
            assert session.scalars(select(Study.n_imported)).one() == imported

    api.create(algorithm="random", max_retries=2)
    rng = random.Random(4)
    client = api.client
    for step in range(90):
        number = rng.randint(1, 12)
        url = f"{api.base}/trials/{number}"
        act = rng.randrange(12)
        if act <= 1:
            client.post(f"{api.base}/ask", json={"count": rng.randint(1, 2)})
        elif act == 2:
            client.post(f"{api.base}/trials", json={"params": {"x": rng.random()}})
        elif act == 3:
            client.post(f"{api.base}/trials", json={"params": {"x": rng.random()}, "value": 1.0})
        elif act <= 5:
            client.post(f"{url}/tell", json={"value": rng.choice([1.0, 2.0, "nan"])})
        elif act == 6:
            client.post(f"{url}/tell", json={"state": rng.choice(["failed", "infeasible", "pruned"])})
        elif act == 7:
            client.post(f"{url}/release", json={})
        elif act == 8:
            client.post(f"{url}/retry", json={})
        elif act == 9:
            client.delete(url)
        elif act == 10:
            client.patch(url, json={"value": rng.choice([3.0, "inf"])})
        else:
            age_leases()
        if step % 3 == 0:
            check()
    check()


def test_one_project_does_not_see_anothers_numbers(api: Api) -> None:
    api.create(algorithm="random")
    api.ask(count=3)
    api.study = "other"
    api.create(algorithm="random")
    assert [trial["number"] for trial in api.ask(count=2)["trials"]] == [1, 2]
