"""The examples of the HTTP contract, word for word, and its rules in prose: one test each."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from typing import Any

import pytest

from app.db.session import EVERY_PROJECT
from tests.conftest import Api

STUDY = """{
  "name": "digits-svm",
  "description": "RBF support vector machine on 8x8 handwritten digits",
  "space": {
    "C":       {"type": "float", "low": 1e-3, "high": 1e3, "scale": "log"},
    "gamma":   {"type": "float", "low": 1e-6, "high": 1e1, "scale": "log"},
    "kernel":  {"type": "categorical", "choices": ["rbf", "poly", "sigmoid"]},
    "degree":  {"type": "int", "low": 2, "high": 6, "when": {"kernel": ["poly"]}},
    "batch":   {"type": "ordinal", "values": [16, 32, 64, 128]},
    "shrinking": {"type": "bool"}
  },
  "constraints": ["C * gamma <= 100"],
  "direction": "maximize",
  "algorithm": "auto",
  "warm_start": "auto",
  "metafeatures": {"n_rows": 1797, "n_features": 64, "n_classes": 10},
  "seed": 7,
  "stop": {"max_trials": 60, "target": 0.995, "patience": 25, "max_seconds": 3600},
  "pruning": {"rule": "asha", "min_step": 1, "max_step": 27, "eta": 3},
  "max_retries": 3,
  "tags": {"team": "vision"}
}"""
ASK = '{"count": 1, "worker": "node-3", "lease_seconds": 600, "deadline_seconds": 5, "resume": false, "fixed": {}}'
TRIAL = """{"number": 12, "state": "running", "attempt": 1, "params": {"C": 3.1, "gamma": 0.002, "kernel": "rbf", "batch": 32, "shrinking": true},
 "values": null, "feasible": null, "noise": null, "cost": null, "metadata": {}, "reason": null,
 "origin": {"source": "gp", "prior_weight": 0.4, "speculated": false}, "space_version": 1, "worker": "node-3",
 "lease": {"token": "…", "expires_at": "…"}, "checkpoint": null, "until_step": null,
 "created_at": "…", "started_at": "…", "finished_at": null}"""  # noqa: E501
JSON = {"Content-Type": "application/json"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def send(api: Api, method: str, path: str, text: str = "", *, status: int) -> dict[str, Any]:
    response = api.client.request(method, path, content=text, headers=JSON)
    assert response.status_code == status, response.text
    return dict(response.json())


@pytest.fixture
def digits(api: Api) -> Api:
    api.study = "digits-svm"
    send(api, "PUT", api.base, STUDY, status=201)
    return api


# --- studies ----------------------------------------------------------------------------------------------------


def test_the_study_of_the_contract_is_created_verified_and_answered_whole(api: Api) -> None:
    made = send(api, "PUT", "/v1/studies/digits-svm", STUDY, status=201)
    given = json.loads(STUDY)
    for name in set(given) - {"space"}:
        assert made[name] == given[name], name
    assert list(made["space"]) == list(given["space"])
    assert (made["state"], made["space_version"], made["best"]) == ("active", 1, None)
    assert made["objectives"] == [{"name": "value", "direction": "maximize"}]
    assert set(made["counts"]) == {"waiting", "running", "paused", "complete", "pruned", "failed", "infeasible", "lost"}
    assert TIME.fullmatch(made["created_at"])
    again = send(api, "PUT", "/v1/studies/digits-svm", STUDY, status=200)
    assert again["uid"] == made["uid"]
    assert sorted(set(again["ignored"]) - {"max_retries"}) == [
        "description",
        "metafeatures",
        "stop",
        "tags",
        "warm_start",
    ]


def test_the_same_study_is_posted_with_the_name_in_the_body(api: Api) -> None:
    assert send(api, "POST", "/v1/studies", STUDY, status=201)["name"] == "digits-svm"
    send(api, "POST", "/v1/studies", STUDY, status=200)


def test_objectives_and_outcomes_of_the_contract(api: Api) -> None:
    text = (
        '{"space": {"x": {"type": "bool"}}, "objectives": [{"name": "accuracy", "direction": "maximize"}, '
        '{"name": "latency_ms", "direction": "minimize"}], "outcomes": [{"name": "memory_mb", "at_most": 512}]}'
    )
    study = send(api, "PUT", api.base, text, status=201)
    assert study["direction"] is None
    assert [objective["name"] for objective in study["objectives"]] == ["accuracy", "latency_ms"]
    assert study["outcomes"] == [{"name": "memory_mb", "at_most": 512.0}]
    api.one()
    told = api.tell(1, values={"accuracy": 0.97, "latency_ms": 12, "memory_mb": 600})
    assert (told["state"], told["feasible"]) == ("complete", False)


def test_every_suggestion_satisfies_space_conditions_and_constraints(digits: Api) -> None:
    for trial in digits.ask(count=40)["trials"]:
        params = trial["params"]
        assert 1e-3 <= params["C"] <= 1e3
        assert 1e-6 <= params["gamma"] <= 1e1
        assert params["C"] * params["gamma"] <= 100
        assert params["kernel"] in ("rbf", "poly", "sigmoid")
        assert ("degree" in params) == (params["kernel"] == "poly")
        assert params.get("degree", 2) in range(2, 7)
        assert params["batch"] in (16, 32, 64, 128)
        assert isinstance(params["shrinking"], bool)


def test_names_in_backticks_stand_in_constraints(api: Api) -> None:
    space = {"learning rate": {"type": "float", "low": 0, "high": 1}, "b": {"type": "float", "low": 0, "high": 1}}
    api.create(space=space, constraints=["`learning rate` + b <= 0.5"], algorithm="random")
    for trial in api.ask(count=20)["trials"]:
        assert sum(trial["params"].values()) <= 0.5


def test_a_constraint_with_a_parameter_that_is_not_active_holds(api: Api) -> None:
    space = {"on": {"type": "bool"}, "x": {"type": "float", "low": 0, "high": 1, "when": {"on": [True]}}}
    api.create(space=space, constraints=["x >= 0.5"])
    assert api.add(params={"on": False})["state"] == "waiting"
    assert api.add(params={"on": True, "x": 0.4}, status=422)["code"] == "space-violation"


# --- ask --------------------------------------------------------------------------------------------------------


def test_the_ask_of_the_contract_and_an_empty_body(digits: Api) -> None:
    answer = send(digits, "POST", f"{digits.base}/ask", ASK, status=200)
    assert set(answer) >= {"trials", "done", "reason", "study_uid"}
    assert (len(answer["trials"]), answer["done"], answer["reason"]) == (1, False, None)
    assert answer["study_uid"] == digits.get()["uid"]
    assert digits.client.post(f"{digits.base}/ask").status_code == 200


def test_a_trial_has_the_fields_of_the_contract_and_no_bare_value(digits: Api) -> None:
    (trial,) = send(digits, "POST", f"{digits.base}/ask", ASK, status=200)["trials"]
    shape = json.loads(TRIAL)
    assert set(shape) <= set(trial)
    assert set(trial) - set(shape) == {"reports"}
    assert set(trial["params"]) - {"degree"} == set(shape["params"])
    for name in ("values", "feasible", "noise", "cost", "reason", "checkpoint", "until_step", "finished_at"):
        assert trial[name] is None, name
    assert (trial["number"], trial["state"], trial["attempt"], trial["metadata"]) == (1, "running", 1, {})
    assert (trial["worker"], trial["space_version"]) == ("node-3", 1)
    assert set(shape["origin"]) <= set(trial["origin"])
    assert trial["lease"]["token"]
    for at in (trial["created_at"], trial["started_at"], trial["lease"]["expires_at"]):
        assert TIME.fullmatch(at)


def test_a_lease_left_out_lasts_a_day(digits: Api) -> None:

    trial = digits.one()
    seconds = datetime.fromisoformat(trial["lease"]["expires_at"]) - datetime.fromisoformat(trial["started_at"])
    assert seconds.total_seconds() == 86_400


def test_a_token_is_only_in_the_answer_that_hands_out(digits: Api) -> None:
    token = digits.one()["lease"]["token"]
    for path in ("/trials/1", "/trials", "", "/export"):
        assert token not in digits.client.get(f"{digits.base}{path}").text
    assert digits.trial(1)["lease"]["token"] is None


def test_numbers_are_handed_out_without_a_gap(digits: Api) -> None:
    assert [digits.one()["number"] for _ in range(3)] == [1, 2, 3]
    assert [trial["number"] for trial in digits.ask(count=3)["trials"]] == [4, 5, 6]


def test_reports_are_in_the_answer_for_one_trial_and_not_in_lists(digits: Api) -> None:
    digits.one()
    digits.report(1, step=3, value=0.81)
    assert [report["values"] for report in digits.trial(1)["reports"]] == [{"value": 0.81}]
    (listed,) = digits.call("GET", f"{digits.base}/trials", status=200)["items"]
    assert listed["reports"] is None


def test_suggestions_are_a_function_of_seed_number_and_log_whatever_the_order_of_tells(api: Api) -> None:
    seen = []
    for name, order in (("one", 1), ("two", -1)):
        api.study = name
        api.create(
            space={"x": {"type": "float", "low": 0, "high": 1}, "n": {"type": "int", "low": 1, "high": 5}}, seed=9
        )
        trials = api.ask(count=8)["trials"]
        for trial in trials[::order]:
            api.tell(trial["number"], value=(trial["params"]["x"] - 0.3) ** 2 + trial["params"]["n"])
        more = [api.one(), *api.ask(count=2)["trials"]]
        assert {trial["origin"]["source"] for trial in more} == {"gp"}
        seen.append([trial["params"] for trial in (*trials, *more)])
    assert seen[0] == seen[1]


def test_a_batch_equals_asks_in_a_row(api: Api) -> None:
    seen = []
    for name in ("batch", "row"):
        api.study = name
        api.create(seed=4, warm_start="off")
        for k in range(8):
            api.add(params={"x": k / 8}, value=(k / 8 - 0.4) ** 2)
        asked = api.ask(count=3)["trials"] if name == "batch" else [api.one() for _ in range(3)]
        seen.append([trial["params"] for trial in asked])
    assert seen[0] == seen[1]
    assert len({trial["x"] for trial in seen[0]}) == 3


@pytest.mark.parametrize("deadline", [0, 0.05])
def test_an_answer_by_the_deadline_is_labelled_as_a_fallback(api: Api, deadline: float) -> None:
    api.create(space={name: {"type": "float", "low": 0, "high": 1} for name in "abcdef"}, seed=1)
    trials = [
        {"params": {name: (k * (j + 3) % 97) / 97 for j, name in enumerate("abcdef")}, "value": float(k % 13)}
        for k in range(150)
    ]
    api.add(trials=trials)
    trial = api.one(deadline_seconds=deadline)
    assert trial["origin"]["source"] == "fallback"
    assert "deadline" in trial["origin"]["why"]
    assert api.one()["origin"]["source"] == "gp"


# --- text/plain -------------------------------------------------------------------------------------------------

SHELL_SPACE = {
    "lr": {"type": "float", "low": 0.5, "high": 1.0},
    "layers": {"type": "int", "low": 3, "high": 3.0 + 1},
    "word": {"type": "categorical", "choices": ['it\'s; echo $HOME `id` "x" \\ \n*']},
    "flag": {"type": "fixed", "value": True},
    "extra": {"type": "fixed", "value": 1, "when": {"layers": [99]}},
}


def plain(api: Api, status: int = 200, **body: Any) -> str:
    response = api.client.post(f"{api.base}/ask", json=body, headers={"Accept": "text/plain"})
    assert response.status_code == status, response.text
    return response.text


def test_a_shell_evaluates_the_plain_answer_and_tells_with_it(api: Api) -> None:
    space = {name: kind for name, kind in SHELL_SPACE.items() if name != "extra"}
    api.create(space=space, algorithm="random")
    script = 'eval "$1"; printf "%s|" "$number" "$lease" "$done" "$reason" "$lr" "$layers" "$word" "$flag"'
    text = plain(api)
    done = subprocess.run(["sh", "-euc", script, "sh", text], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    number, lease, is_done, reason, lr, layers, word, flag, _ = done.stdout.split("|")
    params = api.trial(1)["params"]
    assert (number, is_done, reason) == ("1", "false", "")
    assert (float(lr), int(layers), word, flag) == (params["lr"], params["layers"], params["word"], "true")
    assert [line.partition("=")[0] for line in text.splitlines()][:5] == ["number", "lease", "done", "reason", "lr"]
    assert api.tell(int(number), value=1.0, lease=lease)["state"] == "complete"


def test_the_plain_answer_without_a_trial_says_done_and_why(api: Api) -> None:
    api.create(algorithm="random")
    api.patch(state="paused")
    assert plain(api) == "number=''\nlease=''\ndone='false'\nreason='paused'\n"
    api.patch(state="stopped")
    assert plain(api) == "number=''\nlease=''\ndone='true'\nreason='stopped'\n"


def test_plain_text_is_refused_for_what_no_shell_could_take_and_nothing_is_handed_out(api: Api) -> None:
    for k, name in enumerate(
        ("PATH", "IFS", "LD_PRELOAD", "number", "lease", "done", "reason", "a b", "1a", "é", "x;id", "a-b", "$x")
    ):
        api.study = f"s{k}"
        api.create(space={name: {"type": "float", "low": 0, "high": 1}})
        problem = json.loads(plain(api, status=406))
        assert (problem["code"], problem["parameter"]) == ("not-acceptable", name)
        assert api.counts() == {}
    api.study = "several"
    api.create()
    plain(api, status=406, count=2)
    assert api.client.post(f"{api.base}/ask", headers={"Accept": "text/html"}).status_code == 406
    assert api.counts() == {}
    for accept in ("*/*", "application/json", "application/json, text/plain;q=0.5", "text/html, */*;q=0.1"):
        response = api.client.post(f"{api.base}/ask", headers={"Accept": accept})
        assert response.headers["content-type"] == "application/json", accept


# --- tell, report, heartbeat ------------------------------------------------------------------------------------


def test_the_tells_of_the_contract(api: Api) -> None:
    api.create(algorithm="random")
    api.ask(count=4)
    told = send(api, "POST", f"{api.base}/trials/1/tell", '{"value": 0.97}', status=200)
    assert (told["state"], told["values"], told["feasible"]) == ("complete", {"value": 0.97}, True)
    assert TIME.fullmatch(told["finished_at"])
    for number, state in ((2, "failed"), (3, "infeasible"), (4, "pruned")):
        told = send(
            api, "POST", f"{api.base}/trials/{number}/tell", f'{{"state": "{state}", "reason": "…"}}', status=200
        )
        assert (told["state"], told["reason"]) == (state, "…")


def test_the_batch_of_the_contract(api: Api) -> None:
    api.create(algorithm="random")
    lease = api.ask(count=3)["trials"][2]["lease"]["token"]
    text = f'{{"results": [{{"number": 3, "value": 1.2, "lease": "{lease}"}}]}}'
    (result,) = send(api, "POST", f"{api.base}/tell", text, status=200)["results"]
    assert (result["number"], result["status"], result["trial"]["state"]) == (3, 200, "complete")


def test_the_report_and_the_heartbeat_of_the_contract(digits: Api) -> None:
    digits.one()
    word = send(digits, "POST", f"{digits.base}/trials/1/report", '{"step": 3, "value": 0.81}', status=200)
    assert set(word) == {"prune", "stop", "reason", "rung", "lease"}
    assert (word["prune"], word["stop"], word["reason"], word["rung"]) == (False, False, None, 1)
    assert TIME.fullmatch(word["lease"]["expires_at"])
    for text in ("{}", '{"checkpoint": "s3://bucket/3", "metadata": {"epoch": 3}}', ""):
        beat = send(digits, "POST", f"{digits.base}/trials/1/heartbeat", text, status=200)
        assert set(beat) == set(word)
    trial = digits.trial(1)
    assert (trial["checkpoint"], trial["metadata"]) == ("s3://bucket/3", {"epoch": 3})


def test_enqueue_import_and_many_of_the_contract(api: Api) -> None:
    api.create()
    assert send(api, "POST", f"{api.base}/trials", '{"params": {"x": 0.5}}', status=201)["state"] == "waiting"
    imported = send(api, "POST", f"{api.base}/trials", '{"params": {"x": 0.5}, "value": 3}', status=201)
    assert (imported["state"], imported["origin"]["source"]) == ("complete", "imported")
    many = send(api, "POST", f"{api.base}/trials", '{"trials": [{"params": {"x": 0.25}}, {"params": {}}]}', status=201)
    assert [trial["number"] for trial in many["trials"]] == [3, 4]


# --- the table of states ----------------------------------------------------------------------------------------

FINISHED = ("complete", "pruned", "failed", "infeasible")


def bring(api: Api, state: str, age_leases: Any) -> int:
    """A trial in that state."""
    if state == "waiting":
        return int(api.add(params={"x": 0.5})["number"])
    number = int(api.one(fixed={"x": (sum(api.counts().values()) + 1) / 1000})["number"])
    if state == "lost":
        age_leases()
        api.get()
    elif state != "running":
        api.tell(number, **({"value": 1.0} if state == "complete" else {"state": state}))
    assert api.trial(number)["state"] == state
    return number


@pytest.mark.parametrize("state", ["waiting", "running", "lost"])
def test_any_result_without_token_finishes_a_trial_that_nobody_finished(api: Api, age_leases: Any, state: str) -> None:
    for ending in FINISHED:
        api.study = f"{state}-{ending}"
        api.create(algorithm="random", max_retries=1)
        number = bring(api, state, age_leases)
        told = api.tell(number, **({"value": 2.0} if ending == "complete" else {"state": ending}))
        assert told["state"] == ending


@pytest.mark.parametrize("state", FINISHED)
def test_a_finished_trial_changes_only_by_patch(api: Api, age_leases: Any, state: str) -> None:
    api.create(algorithm="random")
    number = bring(api, state, age_leases)
    for ending in FINISHED:
        if ending != state:
            other = {"value": 2.0} if ending == "complete" else {"state": ending}
            assert api.tell(number, status=409, **other)["code"] == "trial-finished-differently"
    for verb in ("heartbeat", "release", "stop"):
        api.do(verb, number, status=409)
    assert api.trial(number)["state"] == state
    assert api.call("PATCH", f"{api.base}/trials/{number}", {"value": 5}, status=200)["values"] == {"value": 5.0}


def test_release_returns_only_a_running_trial(api: Api, age_leases: Any) -> None:
    api.create(algorithm="random", max_retries=1)
    lost = bring(api, "lost", age_leases)
    assert api.do("release", lost, status=409)["code"] == "illegal-state"
    assert api.do("release", bring(api, "running", age_leases))["state"] == "waiting"


def test_the_model_learns_differently_from_the_endings(store: Any, api: Api) -> None:
    from app.db import keys, studies
    from app.db.records import records_of
    from app.db.studies import Address

    api.create(algorithm="random")
    api.ask(count=5)
    api.tell(1, value=1.0)
    api.report(2, step=1, value=0.5)
    api.tell(2, state="pruned")
    api.tell(3, state="failed")
    api.tell(4, state="infeasible")
    with store.read(EVERY_PROJECT) as session:
        project = keys.project(session, "default").id
        records = records_of(studies.open_study(session, Address(project, "study")))
    assert [(record.state, record.values) for record in records] == [
        ("complete", (1.0,)), ("pruned", (0.5,)), ("failed", None), ("infeasible", None), ("pending", None),
    ]  # fmt: skip


def test_what_the_model_says_of_a_point_of_a_trial_and_of_the_study(api: Api) -> None:
    api.study = "digits-svm"
    definition = json.loads(STUDY) | {"pruning": "off", "stop": {}}
    send(api, "PUT", api.base, json.dumps(definition), status=201)
    for k in range(8):
        api.tell(api.one()["number"], value=0.9 + 0.01 * k)
    params = api.trial(8)["params"]
    (predicted,) = send(api, "POST", f"{api.base}/predict", json.dumps({"params": [params]}), status=200)["items"]
    assert set(predicted["mean"]) == set(predicted["std"]) == {"value"}
    explained = api.call("GET", f"{api.base}/trials/8/explanation", status=200)
    assert {"mean", "std", "acquisition", "exploration", "nearest", "pending"} <= set(explained["when_suggested"])
    assert explained["prior"]["weight"] == 0
    assert isinstance(api.call("GET", f"{api.base}/warnings", status=200)["items"], list)
    (found,) = api.call("GET", f"{api.base}/importance", status=200)["objectives"]
    assert [item["parameter"] for item in found["parameters"]] == list(definition["space"])
