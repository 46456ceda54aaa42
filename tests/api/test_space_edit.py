"""Editing the space of a living study."""

from __future__ import annotations

from typing import Any

from tests.conftest import Api

SPACE = {"x": {"type": "float", "low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 9}}


def edit(api: Api, body: dict[str, Any], *, status: int = 200, query: str = "", **headers: str) -> dict[str, Any]:
    return api.call("PATCH", f"{api.base}/space{query}", body, status=status, headers=headers)


def told(api: Api) -> None:
    """Trials 1-3 complete at x = 0.25, 0.5, 0.75 with values 1, 2, 3."""
    api.create(space=SPACE, algorithm="random", seed=5)
    for k in (1, 2, 3):
        api.add(params={"x": k / 4, "n": k}, value=float(k))


def test_an_edit_merges_and_makes_a_new_version(api: Api) -> None:
    told(api)
    answer = edit(api, {"x": {"high": 0.6}})
    assert answer["space_version"] == 2
    assert answer["space"] == {
        "x": {"type": "float", "low": 0.0, "high": 0.6},
        "n": {"type": "int", "low": 1, "high": 9},
    }
    assert (answer["usable_trials"], answer["dropped_trials"], answer["best"]["number"]) == (2, [], 1)
    assert api.get()["space_version"] == 2
    assert api.one()["space_version"] == 2
    assert api.trial(1)["space_version"] == 1


def test_null_removes_a_parameter_and_old_trials_drop_it(api: Api) -> None:
    told(api)
    answer = edit(api, {"n": None})
    assert list(answer["space"]) == ["x"]
    assert answer["usable_trials"] == 3
    assert set(api.one()["params"]) == {"x"}
    assert api.get()["best"]["params"] == {"x": 0.25, "n": 1}


def test_a_new_parameter_needs_a_default_which_old_trials_then_have(api: Api) -> None:
    told(api)
    problem = edit(api, {"y": {"type": "float", "low": 0, "high": 1}}, status=422)
    assert problem["errors"][0]["pointer"] == "/space/y/default"
    assert api.get()["space_version"] == 1
    answer = edit(api, {"y": {"type": "float", "low": 0, "high": 1, "default": 0.5}})
    assert (answer["usable_trials"], answer["best"]["number"]) == (3, 1)
    assert edit(api, {"z": {"type": "fixed", "value": 3}})["usable_trials"] == 3


def test_best_counts_trials_legal_in_the_current_space_unless_all_are_asked_for(api: Api) -> None:
    told(api)
    edit(api, {"x": {"low": 0.4}})
    assert api.get()["best"]["number"] == 2
    assert api.call("GET", f"{api.base}/best", status=200)["number"] == 2
    assert api.call("GET", f"{api.base}/best?all=true", status=200)["number"] == 1
    edit(api, {"x": {"low": 0}})
    assert api.get()["best"]["number"] == 1


def test_a_dry_run_tells_what_would_happen_and_changes_nothing(api: Api) -> None:
    told(api)
    api.add(params={"x": 0.9})
    api.one()
    before = api.call("GET", f"{api.base}/export", status=200)
    api.do("release", 4)
    api.add(params={"x": 0.1, "n": 1})
    before = api.call("GET", f"{api.base}/export", status=200)
    answer = edit(api, {"x": {"low": 0.3}}, query="?dry_run=true")
    assert (answer["usable_trials"], answer["dropped_trials"], answer["best"]["number"]) == (2, [5], 2)
    assert (answer["space"]["x"]["low"], answer["space_version"]) == (0.3, 1)
    assert api.call("GET", f"{api.base}/export", status=200) == before


def test_what_a_dry_run_foretells_is_what_happens(api: Api) -> None:
    told(api)
    api.add(params={"x": 0.1, "n": 1})
    api.add(params={"x": 0.9})
    change = {"x": {"low": 0.3}, "constraints": ["x * n <= 3"]}
    foretold, happened = edit(api, change, query="?dry_run=true"), edit(api, change)
    for name in ("usable_trials", "dropped_trials", "space", "constraints"):
        assert foretold[name] == happened[name], name
    assert foretold["best"]["number"] == happened["best"]["number"] == 2
    assert happened["dropped_trials"] == [4]
    assert api.trial(4, status=404)["code"] == "trial-removed"


def test_if_match_guards_against_a_race(api: Api) -> None:
    told(api)
    edit(api, {"x": {"high": 2}}, **{"If-Match": "1"})
    problem = edit(api, {"x": {"high": 3}}, status=409, **{"If-Match": '"1"'})
    assert (problem["code"], problem["space_version"]) == ("space-version-differs", 2)
    assert edit(api, {"x": {"high": 3}}, **{"If-Match": '"2"'})["space_version"] == 3
    edit(api, {"x": {"high": 4}}, status=422, **{"If-Match": "latest"})


def test_an_edit_that_changes_nothing_makes_no_version(api: Api) -> None:
    told(api)
    for body in ({}, {"x": {"high": 1.0}}, {"x": {"step": None}}, {"nothing": None}):
        assert edit(api, body)["space_version"] == 1


def test_1_and_true_are_different_choices_in_an_edit(api: Api) -> None:
    api.create(space={"k": {"type": "categorical", "choices": [0, 1, "a"]}}, algorithm="random")
    assert edit(api, {"k": {"choices": [False, True, "a"]}})["space_version"] == 2


def test_constraints_are_sent_beside_and_replaced_whole(api: Api) -> None:
    told(api)
    assert edit(api, {"constraints": ["x <= 0.6"]})["usable_trials"] == 2
    assert api.get()["constraints"] == ["x <= 0.6"]
    assert edit(api, {"n": {"high": 12}})["constraints"] == ["x <= 0.6"]
    assert edit(api, {"constraints": []})["usable_trials"] == 3


def test_an_edit_that_makes_no_sense_is_refused_and_changes_nothing(api: Api) -> None:
    told(api)
    before = api.get()
    for body, pointer in (
        ({"x": {"low": 2}}, "/space/x/low"),
        ({"x": {"lowest": 2}}, "/space/x/lowest"),
        ({"x": 5}, "/space/x"),
        ({"x": None, "n": None}, "/space"),
        ({"n": None, "constraints": ["x + n <= 3"]}, "/constraints/0"),
        ({"constraints": ["x < 0"]}, "/constraints"),
    ):
        assert edit(api, body, status=422)["errors"][0]["pointer"] == pointer, body
    edit(api, {"constraints": "x < 1"}, status=422)
    assert api.get() == before


def test_running_trials_stay_valid_and_may_be_told(api: Api) -> None:
    api.create(space=SPACE, algorithm="random")
    trial = api.one(fixed={"x": 0.9})
    edit(api, {"x": {"high": 0.5}})
    api.report(1, step=1, value=1.0, lease=trial["lease"]["token"])
    assert api.tell(1, value=-9.0)["state"] == "complete"
    assert api.get()["best"] is None


def test_a_waiting_trial_that_nobody_began_is_carried_over(api: Api) -> None:
    api.create(space=SPACE, algorithm="random")
    api.add(params={"x": 0.5, "n": 2})
    api.add(params={"n": 3})
    edit(api, {"n": None, "k": {"type": "categorical", "choices": ["a", "b"], "default": "b"}})
    first, second = api.ask(count=2)["trials"]
    assert first["params"] == {"x": 0.5, "k": "b"}
    assert set(second["params"]) == {"x", "k"}


def test_old_trials_go_on_informing_the_model(api: Api) -> None:
    api.create(space=SPACE, algorithm="gp", seed=1)
    for k in range(12):
        api.add(params={"x": k / 12, "n": 1 + k % 9}, value=(k / 12 - 0.5) ** 2)
    edit(api, {"y": {"type": "float", "low": 0, "high": 1, "default": 0.5}, "x": {"high": 1.5}})
    trial = api.one()
    assert trial["origin"]["source"] == "gp"
    assert set(trial["params"]) == {"x", "n", "y"}


def test_edits_are_kept_in_the_log_and_told_as_an_event(api: Api) -> None:
    told(api)
    edit(api, {"x": {"high": 2}})
    whole = api.call("GET", f"{api.base}/export", status=200)
    entry = whole["log"][-1]
    assert entry["kind"] == "space"
    assert (entry["before"]["space"]["x"]["high"], entry["after"]["space"]["x"]["high"]) == (1.0, 2.0)
    assert whole["events"][-1]["type"] == "study.updated"
    assert [version["version"] for version in whole["spaces"]] == [1, 2]


def test_versions_grow_also_after_a_return_to_an_old_space(api: Api) -> None:
    told(api)
    assert [edit(api, {"x": {"high": high}})["space_version"] for high in (2, 1, 2)] == [2, 3, 4]


def test_an_edit_refused_by_the_database_leaves_no_trace_in_the_process(api: Api, monkeypatch: Any) -> None:
    told(api)
    with monkeypatch.context() as patched:
        patched.setattr("app.services.edit_study.studies.best", lambda _: 1 / 0)
        edit(api, {"x": {"low": 0.9}}, status=500)
    assert api.get()["space"]["x"]["low"] == 0.0
    edit(api, {"x": {"low": 0.125}})
    assert api.get()["space"]["x"]["low"] == 0.125


def test_an_enqueued_part_stays_if_any_completion_is_legal_though_the_defaults_are_not(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 0, "high": 1}})
    api.call("POST", f"{api.base}/trials", {"params": {}}, status=201)
    edit = {"y": {"type": "float", "low": 0, "high": 1, "default": 1.0}, "constraints": ["x + y <= 0.5"]}
    edited = api.call("PATCH", f"{api.base}/space", edit, status=200)
    assert edited["dropped_trials"] == []
    params = api.one()["params"]
    assert params["x"] + params["y"] <= 0.5
