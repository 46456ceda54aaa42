"""What past studies lend, through the whole application on both databases."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from sqlalchemy import Engine, event
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.conftest import Api

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
    "depth": {"type": "int", "low": 1, "high": 9},
    "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
}


def loss(params: dict[str, Any]) -> float:
    """Best at lr = 0.01, depth 5, kind b."""
    u = (math.log10(params["lr"]) + 2.0) / 4.0
    return u * u + ((params["depth"] - 5) / 8) ** 2 + 0.3 * (params["kind"] != "b")


def past(api: Api, name: str, *, sign: float = 1.0, n: int = 24, space: Any = SPACE, **more: Any) -> Api:
    """A finished study: points drawn at random, told, stopped."""
    study = Api(api.client, name)
    study.create(space=space, algorithm="random", warm_start="off", seed=len(name), **more)
    for trial in study.ask(count=n)["trials"]:
        study.tell(trial["number"], value=sign * loss({"kind": "b", "depth": 5, **trial["params"]}))
    study.patch(state="stopped")
    return study


def prior(api: Api) -> dict[str, Any]:
    return api.call("GET", f"{api.base}/prior", status=200)


def run(api: Api, n: int) -> list[dict[str, Any]]:
    trials = []
    for _ in range(n):
        trial = api.one()
        api.tell(trial["number"], value=loss(trial["params"]))
        trials.append(trial)
    return trials


def test_a_new_study_starts_where_a_past_one_ended_and_shows_it(api: Api) -> None:
    past(api, "first", description="a network on digits")
    api.create(space=SPACE, seed=1, description="a network on letters")
    before = prior(api)
    assert before["knowledge_version"] == 0
    assert [(s["study"], s["is_taken"]) for s in before["sources"]] == [("first", True)]
    trials = run(api, 10)
    assert [t["origin"]["source"] for t in trials[:4]] == ["warm_start", "sobol", "gp", "gp"]
    assert [t["origin"]["prior_weight"] for t in trials[:2]] == [1.0, 0.0]
    assert all(0 < t["origin"]["prior_weight"] <= 1 for t in trials[2:4])
    assert sum(t["origin"]["prior_weight"] == 0 for t in trials) >= 3
    assert min(loss(t["params"]) for t in trials[:3]) < 0.15
    after = prior(api)
    assert after["knowledge_version"] == 1
    assert after["guard"]["state"] == "trusting"
    (source,) = after["sources"]
    assert source["weight"]["value"] > 0.1
    assert source["agreement"]["value"] > 0.5
    assert source["matched"] == {"lr": "lr", "depth": "depth", "kind": "kind"}
    assert [step["source"] for step in after["course"]][:3] == ["warm_start", "sobol", "gp"]
    assert 0 <= after["portfolio"][0]["expected_quantile"]["value"] < 0.3


def test_predictions_know_the_past(api: Api) -> None:
    """Four results near one corner say nothing of depth or kind; the past does."""
    past(api, "first", n=40)
    answers = {}
    for name, warm_start in (("cold", "off"), ("warm", "auto")):
        study = Api(api.client, name)
        study.create(space=SPACE, seed=1, warm_start=warm_start, direction="minimize")
        study.one()  # what it builds on is settled by its first ask
        for lr in (0.3, 0.1, 0.03, 0.01):
            params = {"lr": lr, "depth": 1, "kind": "a"}
            api.call("POST", f"{study.base}/trials", {"params": params, "value": loss(params)}, status=201)
        points = [{"lr": 0.01, "depth": 5, "kind": "b"}, {"lr": 0.01, "depth": 1, "kind": "c"}]
        items = api.call("POST", f"{study.base}/predict", {"params": points}, status=200)["items"]
        answers[name] = items[1]["mean"]["value"] - items[0]["mean"]["value"]
        api.call("GET", f"{study.base}/importance", status=200)
        api.call("GET", f"{study.base}/warnings", status=200)
    assert answers["warm"] > 0.05, answers
    assert answers["cold"] < 0.01, answers


def test_auto_without_a_past_asks_the_database_for_one_once(api: Api) -> None:
    api.create(space=SPACE, seed=1)
    statements: list[str] = []

    def listen(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        seen = []
        for _ in range(8):
            statements.clear()
            trial = api.one()
            seen.append(sum("lesson" in statement or "prior_source" in statement for statement in statements))
            api.tell(trial["number"], value=loss(trial["params"]))
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert seen[0] > 0
    assert seen[2:] == [0] * 6


def test_a_past_that_ranks_backwards_is_cut_and_shown_to_be(api: Api) -> None:
    past(api, "wrong", sign=-1.0)
    api.create(space=SPACE, seed=1, warm_start=["wrong"])
    trials = run(api, 12)
    assert [t["origin"]["source"] for t in trials].count("warm_start") <= 3
    assert trials[-1]["origin"]["prior_weight"] < 0.05
    after = prior(api)
    assert after["guard"]["state"] in ("cut", "doubting")
    assert after["sources"][0]["agreement"]["value"] < 0


def test_off_lends_nothing_and_four_results_are_too_few(api: Api) -> None:
    past(api, "first")
    past(api, "small", n=4)
    api.create(space=SPACE, seed=1, warm_start="off")
    assert run(api, 1)[0]["origin"]["source"] != "warm_start"
    assert prior(api)["sources"] == []
    other = Api(api.client, "other")
    other.create(space=SPACE, seed=1)
    assert [s["study"] for s in prior(other)["sources"]] == ["first"]


def test_the_same_seed_and_knowledge_give_the_same_suggestions_on_any_replica(api: Api, database_url: str) -> None:
    past(api, "first")
    past(api, "second", sign=1.0, n=30)
    for name in ("one", "two"):
        Api(api.client, name).create(space=SPACE, seed=5, warm_start=["first", "second"])
    one = run(Api(api.client, "one"), 9)
    with TestClient(
        create_app(Settings(database=database_url, sweep_seconds=3600)), base_url="http://127.0.0.1:8000"
    ) as c:
        if database_url.startswith("postgresql"):
            half = run(Api(api.client, "two"), 4) + run(Api(c, "two"), 5)
        else:
            half = run(Api(c, "two"), 9)
    assert [t["params"] for t in half] == [t["params"] for t in one]
    assert [t["origin"]["prior_weight"] for t in half] == [t["origin"]["prior_weight"] for t in one]


def test_sources_are_frozen_at_the_first_ask(api: Api) -> None:
    first = past(api, "first")
    api.create(space=SPACE, seed=1)
    twin = Api(api.client, "twin")
    twin.create(space=SPACE, seed=1, warm_start=["first"])
    begun = run(api, 1)
    first.add(trials=[{"params": {"lr": 0.9, "depth": 9, "kind": "c"}, "value": -5.0}])
    past(api, "late")
    assert [s["study"] for s in prior(api)["sources"]] == ["first"]
    assert begun[0]["params"] != twin.one()["params"]  # which learns of the new result first
    assert prior(api)["knowledge_version"] == 1


def test_a_deleted_source_leaves_no_trace(api: Api) -> None:
    past(api, "first")
    past(api, "second", sign=-1.0)
    for name, sources in (("with", ["first", "second"]), ("without", ["first"])):
        Api(api.client, name).create(space=SPACE, seed=3, warm_start=sources)
    with_it, twin = Api(api.client, "with"), Api(api.client, "without")
    settled = {"sources": [{"study": "first", "cap": 1.0}]}
    assert with_it.call("PATCH", f"{with_it.base}/prior", settled, status=200)["knowledge_version"] == 1
    with_it.call("DELETE", "/v1/studies/second", status=204)
    seen = prior(with_it)
    assert [(s["study"], s["is_taken"]) for s in seen["sources"]] == [("first", True), ("second", False)]
    assert seen["knowledge_version"] == 2
    log = with_it.call("GET", f"{with_it.base}/export", status=200)["log"]
    assert [entry["before"] for entry in log if entry["kind"] == "prior"] == [{"source": "second"}]
    assert [t["params"] for t in run(with_it, 9)] == [t["params"] for t in run(twin, 9)]
    assert "second" not in with_it.call("GET", "/v1/knowledge", status=200)["items"].__repr__()


def test_a_source_can_be_excluded_or_capped_while_the_study_runs(api: Api) -> None:
    past(api, "first")
    api.create(space=SPACE, seed=1)
    run(api, 8)
    body = {"sources": [{"study": "first", "cap": 0.05}]}
    capped = api.call("PATCH", f"{api.base}/prior", body, status=200)
    assert capped["sources"][0]["weight"]["value"] <= 0.05
    assert capped["knowledge_version"] == 2
    body = {"sources": [{"study": "first", "excluded": True}]}
    assert api.call("PATCH", f"{api.base}/prior", body, status=200)["sources"][0]["is_excluded"]
    assert run(api, 1)[0]["origin"]["prior_weight"] == 0
    assert api.call("PATCH", f"{api.base}/prior", body, status=200)["knowledge_version"] == 3
    refused = {"sources": [{"study": "nobody", "excluded": True}]}
    assert api.call("PATCH", f"{api.base}/prior", refused, status=422)["errors"][0]["pointer"] == "/sources/0/study"


def test_an_unknown_name_is_refused_and_a_new_choice_holds_from_the_next_ask(api: Api) -> None:
    past(api, "first")
    refused = api.call("PUT", api.base, {"space": SPACE, "warm_start": ["nobody"]}, status=422)
    assert refused["errors"][0]["pointer"] == "/warm_start/0"
    api.create(space=SPACE, seed=1)
    run(api, 1)
    assert api.patch(warm_start="off")["warm_start"] == "off"
    assert run(api, 1)[0]["origin"]["source"] != "warm_start"
    assert api.patch(warm_start=["first"])["warm_start"] == ["first"]
    assert run(api, 1)[0]["origin"]["prior_weight"] > 0
    copied = api.call("POST", f"{api.base}/copy", {"name": "copied"}, status=201)
    assert copied["warm_start"] == ["first"]


def test_spaces_that_only_overlap_lend_what_they_share(api: Api) -> None:
    part = {"lr": SPACE["lr"], "depth": {"type": "int", "low": 2, "high": 20}}
    past(api, "part", space=part)
    past(api, "foreign", space={"x": {"type": "float", "low": 0, "high": 1}, "lr": SPACE["lr"]})
    api.create(space=SPACE, seed=1)
    found = {source["study"]: source for source in prior(api)["sources"]}
    assert found["part"]["matched"] == {"lr": "lr", "depth": "depth"}
    assert not found["foreign"]["is_taken"]
    assert "fewer than half" in found["foreign"]["why"]
    assert all(trial["params"]["depth"] <= 9 for trial in run(api, 4))


def test_an_alias_finds_a_past_study_that_calls_everything_otherwise(api: Api) -> None:
    past(api, "first")
    renamed = {f"{name}_": kind | {"aliases": [name]} for name, kind in SPACE.items()}
    api.create(space=renamed, seed=1)
    trial = api.one()
    assert trial["origin"]["source"] == "warm_start"
    assert prior(api)["sources"][0]["matched"] == {"lr_": "lr", "depth_": "depth", "kind_": "kind"}
    assert loss({name: trial["params"][f"{name}_"] for name in SPACE}) < 0.2


def test_a_belief_is_tried_first_and_one_that_makes_no_sense_is_refused(api: Api) -> None:
    believed = SPACE | {"lr": SPACE["lr"] | {"prior": {"type": "normal", "mean": 0.03, "std": 0.05}}}
    assert api.create(space=believed, seed=1)["space"] == believed
    first = api.one()
    assert (first["origin"]["source"], first["params"]["lr"]) == ("initial", 0.03)
    wrong = SPACE | {"lr": SPACE["lr"] | {"prior": {"type": "normal", "mean": 3, "std": 0.05}}}
    problem = api.call("PUT", "/v1/studies/wrong", {"space": wrong, "direction": "minimize"}, status=422)
    assert [error["pointer"] for error in problem["errors"]] == ["/space/lr/prior/mean"]


def test_the_study_whose_words_agree_is_more_alike(api: Api) -> None:
    past(api, "one", description="gradient boosting on loan applications")
    past(api, "two", description="speech recognition with a recurrent network")
    api.create(space=SPACE, description="a recurrent network for speech", metafeatures={"n_rows": 100})
    assert [source["study"] for source in prior(api)["sources"]] == ["two", "one"]


def test_recommendations_need_no_study(api: Api) -> None:
    past(api, "first", description="a network on digits")
    past(api, "second", n=30)
    body = {"space": SPACE, "description": "some network", "direction": "maximize", "count": 3}
    found = api.call("POST", "/v1/recommend", body, status=200)
    assert len(found["items"]) == 3
    assert loss(found["items"][0]["params"]) < 0.2
    assert set(found["items"][0]["from"]) <= {"first", "second"}
    quantiles = [item["expected_quantile"] for item in found["items"]]
    assert quantiles == sorted(quantiles)
    in_words = api.call("POST", "/v1/recommend", {"description": "tune a network for digits"}, status=200)
    assert in_words["space"] == api.call("GET", "/v1/studies/first", status=200)["space"]
    assert loss(in_words["items"][0]["params"]) < 0.3
    assert api.call("POST", "/v1/recommend", {}, status=422)["code"] == "invalid"
    assert api.call("GET", "/v1/studies?prefix=study", status=200)["items"] == []


def test_past_studies_of_each_algorithm_vote_through_their_branches(api: Api) -> None:
    svm = {"C": {"type": "float", "low": 1e-3, "high": 1e3, "scale": "log"}}
    tree = {"leaves": {"type": "int", "low": 2, "high": 100}}
    for name, own, choice in (("svms", svm, "svm"), ("trees", tree, "tree")):
        study = Api(api.client, name)
        study.create(space={"algorithm": {"type": "fixed", "value": choice}, **own}, algorithm="random", seed=2)
        for trial in study.ask(count=12)["trials"]:
            params = trial["params"]
            value = abs(math.log10(params["C"]) - 1) if choice == "svm" else abs(params["leaves"] - 30)
            study.tell(trial["number"], value=value)
        study.patch(state="stopped")
    both = {
        "algorithm": {"type": "categorical", "choices": ["svm", "tree"]},
        "C": svm["C"] | {"when": {"algorithm": ["svm"]}},
        "leaves": tree["leaves"] | {"when": {"algorithm": ["tree"]}},
    }
    found = api.call("POST", "/v1/recommend", {"space": both, "count": 6}, status=200)["items"]
    assert {item["params"]["algorithm"] for item in found} == {"svm", "tree"}
    best = {item["params"]["algorithm"]: item["params"] for item in reversed(found)}
    assert 0 < math.log10(best["svm"]["C"]) < 2
    assert 10 < best["tree"]["leaves"] < 60


def test_knowledge_moves_to_another_site_without_raw_results(api: Api) -> None:
    past(api, "first", description="a network on digits", tags={"team": "vision"})
    (lesson,) = api.call("GET", "/v1/knowledge", status=200)["items"]
    assert (lesson["study"], lesson["n_results"], lesson["is_imported"]) == ("first", 24, False)
    whole = api.call("GET", "/v1/knowledge/export", status=200)
    assert "values" in whole["entries"][0]["objectives"][0]["lesson"]
    bare = api.call("GET", "/v1/knowledge/export?raw=false", status=200)
    assert "values" not in bare["entries"][0]["objectives"][0]["lesson"]
    expected = api.call("POST", "/v1/recommend", {"space": SPACE}, status=200)["items"]
    api.call("DELETE", "/v1/studies/first?purge=true", status=204)
    assert api.call("GET", "/v1/knowledge", status=200)["items"] == []
    for _ in range(2):
        assert api.call("POST", "/v1/knowledge/import", bare, status=200) == {"imported": 1}
    (lesson,) = api.call("GET", "/v1/knowledge", status=200)["items"]
    assert (lesson["study"], lesson["is_imported"], lesson["tags"]) == ("first", True, {"team": "vision"})
    assert api.call("POST", "/v1/recommend", {"space": SPACE}, status=200)["items"] == expected
    api.create(space=SPACE, seed=1, warm_start=["first"])
    assert run(api, 1)[0]["origin"]["source"] == "warm_start"
    api.call("DELETE", "/v1/knowledge/first", status=204)
    api.call("DELETE", "/v1/knowledge/first", status=404)
    assert run(api, 1)[0]["origin"]["source"] != "warm_start"


def test_a_past_study_is_found_by_what_it_calls_a_parameter(api: Api) -> None:
    past(api, "first")
    wish: dict[str, Any] = {"space": {"learning_rate": SPACE["lr"]}, "count": 1}
    assert api.call("POST", "/v1/recommend", wish, status=200)["considered"] == []
    wish["aliases"] = {"learning_rate": ["eta", "lr"]}
    (item,) = api.call("POST", "/v1/recommend", wish, status=200)["items"]
    assert item["from"] == ["first"]


def test_a_file_that_holds_a_name_twice_is_taken_in_with_the_later_one(api: Api) -> None:
    """As a site exports it that has a study, and imported another of its name."""
    past(api, "first")
    api.call("POST", "/v1/knowledge/import", api.call("GET", "/v1/knowledge/export", status=200), status=200)
    twice = api.call("GET", "/v1/knowledge/export", status=200)
    assert [entry["name"] for entry in twice["entries"]] == ["first", "first"]
    twice["entries"][1]["description"] = "the later one"
    assert api.call("POST", "/v1/knowledge/import", twice, status=200) == {"imported": 2}
    found = api.call("GET", "/v1/knowledge", status=200)["items"]
    assert [(one["is_imported"], one["description"]) for one in found] == [(False, ""), (True, "the later one")]


@pytest.mark.parametrize(
    ("place", "value"), [("scores", [0.0]), ("theta", [float("1e400")]), ("space", {"x": {"type": "float"}})]
)
def test_a_file_that_does_not_fit_together_is_refused_whole(api: Api, place: str, value: Any) -> None:
    past(api, "first")
    file = api.call("GET", "/v1/knowledge/export", status=200)
    good = copy.deepcopy(file["entries"][0]) | {"name": "good"}
    file["entries"][0]["objectives"][0]["lesson"][place] = value
    file["entries"].insert(0, good)
    response = api.client.post(
        "/v1/knowledge/import", content=json.dumps(file), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"].startswith("/entries/1")
    assert [item["study"] for item in api.call("GET", "/v1/knowledge", status=200)["items"]] == ["first"]


def test_a_study_is_learnt_from_again_when_it_has_grown(api: Api) -> None:
    study = past(api, "first")
    study.add(trials=[{"params": {"lr": 0.01, "depth": 5, "kind": "b"}, "value": -1.0}])
    study.patch(state="active")
    study.patch(state="stopped")
    (lesson,) = api.call("GET", "/v1/knowledge", status=200)["items"]
    assert lesson["n_results"] == 25
    found = api.call("POST", "/v1/recommend", {"space": SPACE, "count": 1}, status=200)["items"]
    assert found[0]["params"] == {"lr": pytest.approx(0.01), "depth": 5, "kind": "b"}
