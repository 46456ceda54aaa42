"""What the model says of any point, of a trial, of the parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Api

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
    "kind": {"type": "categorical", "choices": ["a", "b"]},
    "depth": {"type": "int", "low": 1, "high": 6, "when": {"kind": ["b"]}},
    "idle": {"type": "float", "low": 0, "high": 1},
    "steps": {"type": "fixed", "value": 3},
}


def score(params: dict[str, Any]) -> float:
    from math import log10

    return 100.0 - 10.0 * (log10(params["lr"]) + 2.0) ** 2 - 0.5 * params.get("depth", 0)


def tuned(api: Api, n: int = 14, **definition: Any) -> Api:
    """n trials told, of a study to maximise."""
    api.create(**({"space": SPACE, "direction": "maximize", "seed": 1} | definition))
    for _ in range(n):
        trial = api.one()
        api.tell(trial["number"], value=score(trial["params"]))
    return api


def predict(api: Api, *params: dict[str, Any], status: int = 200) -> dict[str, Any]:
    return api.call("POST", f"{api.base}/predict", {"params": list(params)}, status=status)


def get(api: Api, what: str, status: int = 200) -> dict[str, Any]:
    return api.call("GET", f"{api.base}/{what}", status=status)


# --- predict ----------------------------------------------------------------------------------------------------


def test_predictions_come_in_order_in_the_units_of_the_objective(api: Api) -> None:
    tuned(api, 20)
    good = {"lr": 0.01, "kind": "a", "idle": 0.5, "steps": 3}
    found = predict(api, good, {"kind": "b", "lr": 1e-4, "depth": 6, "idle": 0.5})
    first, second = found["items"]
    assert first["params"] == good
    assert list(first["params"]) == ["lr", "kind", "idle", "steps"]
    assert first["mean"]["value"] == pytest.approx(100, abs=5)
    assert second["mean"]["value"] < 90
    assert second["std"]["value"] > first["std"]["value"]
    assert first["std"]["value"] > 0
    assert 0 <= second["improvement_probability"] <= first["improvement_probability"] <= 1
    assert first["feasible_probability"] is None
    assert found["trials_known"] == 20
    assert found["model"]["value"]["trials_used"] == 20


def test_a_deviation_far_from_all_trials_stays_within_reason(api: Api) -> None:
    unit = {"type": "float", "low": 0, "high": 1}
    api.create(space={"x": unit, "y": unit}, direction="maximize")
    for k in range(20):  # an accuracy that mostly lies near its best
        x = 0.1 * ((k * 0.618) % 1)
        api.add(params={"x": x, "y": (k * 0.755) % 1}, value=0.95 - x**2 if k % 7 else 0.1)
    (far,) = predict(api, {"x": 1, "y": 1})["items"]
    assert 0 < far["std"]["value"] < 1


def test_a_prediction_names_the_trials_with_just_these_parameters(api: Api) -> None:
    tuned(api)
    trial = api.trial(9)
    (item,) = predict(api, trial["params"])["items"]
    assert item["trials"] == [9]
    assert item["mean"]["value"] == pytest.approx(trial["values"]["value"], abs=5)


def test_illegal_params_are_named_with_their_place_and_what_would_be_right(api: Api) -> None:
    tuned(api, 3)
    good = {"lr": 0.01, "kind": "a", "idle": 0.5}
    problem = predict(api, good, good | {"lr": 7}, good | {"depth": 2}, {"lr": 0.1, "kind": "c"}, status=422)
    assert problem["code"] == "space-violation"
    assert [error["pointer"] for error in problem["errors"]] == [
        "/params/1/lr",
        "/params/2/depth",
        "/params/3/kind",
    ]
    assert "[0.0001, 1.0]" in problem["errors"][0]["detail"]
    assert "7" in problem["errors"][0]["detail"]
    assert predict(api, status=422)["errors"][0]["pointer"] == "/params"
    assert predict(api, *[good] * 1001, status=422)["errors"][0]["pointer"] == "/params"


def test_before_two_results_there_is_no_model(api: Api) -> None:
    tuned(api, 1)
    for method, what, body in (
        ("POST", "predict", {"params": [{"lr": 0.1, "kind": "a", "idle": 0}]}),
        ("GET", "importance", None),
    ):
        problem = api.call(method, f"{api.base}/{what}", body, status=404)
        assert problem["code"] == "no-result-yet"
        assert "two results" in problem["detail"]


def test_outcomes_and_what_could_not_run_make_a_probability_of_feasibility(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 0, "high": 1}}, outcomes=[{"name": "memory", "at_most": 50}])
    for k in range(12):
        x = k / 11
        if x > 0.8:
            api.add(params={"x": x}, state="infeasible")
        else:
            api.add(params={"x": x}, values={"value": x, "memory": 100 * x})
    low, high, beyond = predict(api, {"x": 0.2}, {"x": 0.7}, {"x": 0.97})["items"]
    assert low["outcomes"]["memory"]["mean"] == pytest.approx(20, abs=5)
    assert low["outcomes"]["memory"]["holds"] > 0.9
    assert high["outcomes"]["memory"]["holds"] < 0.1
    assert low["feasible_probability"] > 0.8
    assert beyond["feasible_probability"] < 0.05


def test_a_key_that_may_only_read_may_predict() -> None:
    from app.api.dependencies import scope_of

    assert scope_of("POST", "/v1/studies/{study}/predict") == "read"


# --- importance -------------------------------------------------------------------------------------------------


def test_importance_lists_every_parameter_in_order_and_finds_the_one_that_matters(api: Api) -> None:
    tuned(api, 24)
    (found,) = get(api, "importance")["objectives"]
    assert found["objective"] == "value"
    assert [item["parameter"] for item in found["parameters"]] == list(SPACE)
    by_name = {item["parameter"]: item for item in found["parameters"]}
    assert by_name["lr"]["total"] > 0.8
    assert by_name["idle"]["total"] < 0.1
    assert by_name["steps"]["total"] == 0
    low, high = by_name["lr"]["total_interval"]
    assert 0 <= low <= by_name["lr"]["total"] <= high
    assert by_name["lr"]["near_best"] > 0
    assert found["model"]["trust"] in ("fair", "good")
    assert api.trial(found["best_trial"])["values"]["value"] > 90


def test_importance_of_several_objectives_comes_for_each_or_for_one(api: Api) -> None:
    unit = {"type": "float", "low": 0, "high": 1}
    api.create(space={"x": unit, "y": unit}, objectives=[{"name": "loss"}, {"name": "ms", "direction": "maximize"}])
    for k in range(16):
        x, y = (k * 0.618) % 1, (k * 0.755) % 1
        api.add(params={"x": x, "y": y}, values={"loss": x, "ms": y})
    both = get(api, "importance")["objectives"]
    assert [one["objective"] for one in both] == ["loss", "ms"]
    tops = [max(one["parameters"], key=lambda item: item["total"])["parameter"] for one in both]
    assert tops == ["x", "y"]
    assert get(api, "importance?objective=ms")["objectives"] == both[1:]
    assert "loss, ms" in get(api, "importance?objective=speed", status=422)["detail"]


def test_equal_values_make_nothing_important(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 0, "high": 1}})
    for k in range(12):
        api.add(params={"x": k / 12}, value=0.5)
    (found,) = get(api, "importance")["objectives"]
    assert found["parameters"][0]["total"] == 0


def test_a_study_of_fixed_parameters_has_nothing_to_model(api: Api) -> None:
    api.create(space={"x": {"type": "fixed", "value": 1}})
    api.add(params={"x": 1}, value=0.5)
    assert "nothing to model" in get(api, "importance", status=422)["detail"]
    assert "nothing to model" in predict(api, {"x": 1}, status=422)["detail"]
    assert "nothing to model" in get(api, "trials/1/explanation")["why_not_now"]


# --- explanation ------------------------------------------------------------------------------------------------


def test_a_model_s_point_says_what_was_believed_and_what_is_now(api: Api) -> None:
    tuned(api, 10)
    out = api.one()
    asked = api.one()
    assert asked["origin"]["source"] == "gp"
    before = get(api, f"trials/{asked['number']}/explanation?nearest=3")
    then = before["when_suggested"]
    assert then["pending_count"] == 1
    assert [near["number"] for near in then["pending"]] == [out["number"]]
    assert then["pending"][0]["values"] is None
    assert len(then["nearest"]) == 3
    distances = [near["distance"] for near in then["nearest"]]
    assert distances == sorted(distances)
    likeness = [near["likeness"] for near in before["now"]["nearest"]]
    assert likeness == sorted(likeness, reverse=True)
    assert 0 <= then["exploration"] <= 1
    assert then["mean"]["value"] < 110
    assert "highest acquisition" in before["why"]
    assert before["prior"] == {"weight": 0.0, "sources": []}
    assert before["now"]["hindsight"] == {}
    # a result changes what the model thinks now, and not what it thought then
    api.tell(asked["number"], value=200.0)
    after = get(api, f"trials/{asked['number']}/explanation?nearest=3")
    assert after["when_suggested"] == then
    assert after["now"]["mean"]["value"] > before["now"]["mean"]["value"]
    assert after["now"]["hindsight"]["value"]["surprise"] > 1
    assert after["now"]["hindsight"]["value"]["mean"] < 200


def test_an_explanation_survives_an_export_and_an_import(api: Api) -> None:
    tuned(api, 12)
    before = get(api, "trials/12/explanation")["when_suggested"]
    whole = api.call("GET", f"{api.base}/export", status=200)
    api.call("POST", "/v1/studies/import?name=again", whole, status=201)
    api.study = "again"
    assert before is not None
    assert get(api, "trials/12/explanation")["when_suggested"] == before


def test_points_without_a_model_say_why(api: Api) -> None:
    api.create(
        space={
            "x": {"type": "float", "low": 0, "high": 1, "default": 0.3},
            "n": {"type": "int", "low": 1, "high": 5, "default": 2},
        }
    )
    first = api.one()
    found = get(api, f"trials/{first['number']}/explanation")
    assert found["source"] == "initial"
    assert "defaults of the space" in found["why"]
    assert found["when_suggested"] is None
    assert found["now"] is None
    assert "two results" in found["why_not_now"]
    partial = api.add(params={"x": 0.7})
    assert "given in part" in get(api, f"trials/{partial['number']}/explanation")["why_not_now"]
    imported = [api.add(params={"x": 0.1, "n": k}, value=float(k)) for k in (1, 2, 3)]
    found = get(api, f"trials/{imported[-1]['number']}/explanation")
    assert "imported" in found["why"]
    assert found["now"]["mean"]["value"] == pytest.approx(3, abs=1)
    assert found["now"]["nearest"][0]["number"] == imported[1]["number"]


@pytest.mark.parametrize("algorithm", ["tpe", "cmaes", "sobol", "random", "grid"])
def test_every_algorithm_s_points_are_explained(api: Api, algorithm: str) -> None:
    tuned(api, 8, space={"lr": SPACE["lr"], "idle": SPACE["idle"]}, algorithm=algorithm)
    found = get(api, "trials/8/explanation")
    assert found["source"] in (algorithm, "sobol")  # some begin with an even spread
    assert found["why"]
    assert found["when_suggested"] is None
    assert found["now"]["mean"]["value"] == pytest.approx(api.trial(8)["values"]["value"], abs=20)


def test_a_removed_trial_is_nobody_s_neighbour(api: Api) -> None:
    tuned(api, 9)
    nearest = get(api, "trials/9/explanation")["now"]["nearest"][0]["number"]
    api.remove(nearest)
    after = get(api, "trials/9/explanation")
    for near in (*after["now"]["nearest"], *(after["when_suggested"] or {"nearest": []})["nearest"]):
        assert near["number"] != nearest


def test_answers_follow_new_results_and_corrections(api: Api) -> None:
    tuned(api, 9)
    point = {"lr": 0.01, "kind": "a", "idle": 0.5}
    assert predict(api, point)["trials_known"] == 9
    trial = api.one()
    api.tell(trial["number"], value=score(trial["params"]))
    found = predict(api, trial["params"])
    assert found["trials_known"] == 10
    assert found["items"][0]["trials"] == [10]
    before = found["items"][0]["mean"]["value"]
    api.call("PATCH", f"{api.base}/trials/10", {"value": -500.0}, status=200)
    assert predict(api, trial["params"])["items"][0]["mean"]["value"] < before - 20


def test_a_point_that_the_space_no_longer_contains_is_said_to_be_so(api: Api) -> None:
    tuned(api, 8)
    outside = next(n for n in range(1, 9) if api.trial(n)["params"]["lr"] > 0.01)
    api.call("PATCH", f"{api.base}/space", {"lr": {"high": 0.01}}, status=200)
    found = get(api, f"trials/{outside}/explanation")
    assert found["now"] is None
    assert "no longer contains" in found["why_not_now"]


def test_an_explanation_of_no_trial_is_404(api: Api) -> None:
    tuned(api, 2)
    assert get(api, "trials/99/explanation", status=404)["code"] == "trial-not-found"
    api.remove(2)
    assert get(api, "trials/2/explanation", status=404)["code"] == "trial-removed"


# --- warnings ---------------------------------------------------------------------------------------------------


def test_a_study_that_has_hardly_begun_is_not_complained_about(api: Api) -> None:
    tuned(api, 4, space={"x": {"type": "float", "low": 0.1, "high": 1}, "lr": SPACE["lr"]})
    found = get(api, "warnings")
    assert found["items"] == []
    assert found["trials_known"] == 4
    assert "from 20 results on" in found["note"]


def test_the_patch_of_a_warning_is_taken_by_the_space(api: Api) -> None:
    api.create(space={"x": {"type": "float", "low": 1, "high": 10}, "y": {"type": "float", "low": 0, "high": 1}})
    for k in range(30):
        x, y = 1 + 9 * ((k * 0.618) % 1), (k * 0.755) % 1
        api.add(params={"x": x, "y": y}, value=(x / 10 - 1.5) ** 2 + (y - 0.4) ** 2)
    for y in (0.3, 0.4, 0.5):
        api.add(params={"x": 10, "y": y}, value=0.25 + (y - 0.4) ** 2)
    found = get(api, "warnings")
    assert found["note"] is None
    (warning,) = found["items"]
    assert (warning["code"], warning["parameter"], warning["objective"]) == ("optimum-at-bound", "x", "value")
    edited = api.call("PATCH", f"{api.base}/space", warning["patch"], status=200)
    assert edited["space"]["x"]["high"] == warning["patch"]["x"]["high"] == 13.0
    assert edited["usable_trials"] == 33


def test_failures_are_warned_of_with_their_reasons(api: Api) -> None:
    api.create()
    for k in range(10):
        trial = api.one()
        if k % 2:
            api.tell(trial["number"], value=float(k))
        else:
            api.tell(trial["number"], state="failed", reason="CUDA out of memory")
    (warning,) = get(api, "warnings")["items"]
    assert (warning["code"], warning["severity"]) == ("many-failures", "warning")
    assert warning["evidence"]["reasons"] == [{"reason": "CUDA out of memory", "count": 5}]
    assert (warning["parameter"], warning["objective"], warning["patch"]) == (None, None, None)


def test_warnings_of_several_objectives_name_theirs(api: Api) -> None:
    unit = {"type": "float", "low": 0, "high": 1}
    api.create(space={"x": unit, "y": unit}, objectives=[{"name": "loss"}, {"name": "ms"}])
    for k in range(24):
        x, y = (k * 0.618) % 1, (k * 0.755) % 1
        api.add(params={"x": x, "y": y}, values={"loss": (x - 0.5) ** 2 + (y - 0.4) ** 2, "ms": 3.0})
    (warning,) = get(api, "warnings")["items"]
    assert (warning["code"], warning["severity"], warning["objective"]) == ("constant-objective", "serious", "ms")


def test_every_code_that_can_come_is_in_the_document(api: Api) -> None:
    import ast
    from pathlib import Path

    import app.search.advice as core

    made = {
        node.args[0].value
        for node in ast.walk(ast.parse(Path(core.__file__).read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Advice"
        and isinstance(node.args[0], ast.Constant)
    }
    schemas = api.client.get("/openapi.json").json()["components"]["schemas"]
    assert set(schemas["Finding"]["properties"]["code"]["enum"]) == made
