"""Every algorithm of the contract, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Api

SPACE = {
    "x": {"type": "float", "low": 0, "high": 1},
    "lr": {"type": "float", "low": 1e-4, "high": 1, "scale": "log"},
    "n": {"type": "int", "low": 1, "high": 9},
    "kernel": {"type": "categorical", "choices": ["rbf", "poly"]},
    "degree": {"type": "int", "low": 2, "high": 5, "when": {"kernel": ["poly"]}},
}
MODELLED = ["gp", "tpe", "cmaes", "nsga2"]


def loss(params: dict[str, Any]) -> float:
    return (params["x"] - 0.3) ** 2 + (params["n"] - 4) ** 2 / 64 + (params["kernel"] == "poly") + params["lr"]


@pytest.mark.parametrize("algorithm", MODELLED)
def test_each_algorithm_runs_ask_and_tell_and_says_where_its_points_come_from(api: Api, algorithm: str) -> None:
    study = api.create(space=SPACE, constraints=["x + lr <= 1.5"], algorithm=algorithm, seed=1)
    assert (study["algorithm"], study["algorithm_in_use"]["name"]) == (algorithm, algorithm)
    sources = []
    for count in (1,) * 8 + (4,) * 4:
        for trial in api.ask(count=count)["trials"]:
            sources.append(trial["origin"]["source"])
            assert ("degree" in trial["params"]) == (trial["params"]["kernel"] == "poly")
            api.tell(trial["number"], value=loss(trial["params"]))
    assert sources[0] == "sobol"
    assert set(sources[-4:]) == {algorithm}
    assert set(sources) == {"sobol", algorithm}


@pytest.mark.parametrize("algorithm", ["gp", "tpe", "nsga2"])
def test_several_objectives_and_a_bound_are_pursued(api: Api, algorithm: str) -> None:
    api.create(
        space=SPACE,
        objectives=[{"name": "loss"}, {"name": "speed", "direction": "maximize"}],
        outcomes=[{"name": "memory", "at_most": 7}],
        algorithm={"name": algorithm, "population_size": 8} if algorithm == "nsga2" else algorithm,
    )
    for _ in range(14):
        trial = api.one()
        params = trial["params"]
        api.tell(trial["number"], values={"loss": loss(params), "speed": params["n"], "memory": float(params["n"])})
    assert api.one()["origin"]["source"] == algorithm


@pytest.mark.parametrize(
    "given",
    [
        {"name": "tpe", "n_initial": 3, "n_candidates": 8},
        {"name": "cmaes", "population_size": 4, "sigma": 0.5},
        {"name": "nsga2", "population_size": 4},
    ],
)
def test_options_are_kept_and_used(api: Api, given: dict[str, Any]) -> None:
    assert api.create(space=SPACE, algorithm=given)["algorithm"] == given
    for k in range(4):
        api.tell(api.one()["number"], value=float(k))
    assert api.one()["origin"]["source"] == given["name"]


def test_an_option_outside_its_range_is_refused_with_its_place_and_the_range(api: Api) -> None:
    answer = api.call(
        "PUT", api.base, {"space": SPACE, "algorithm": {"name": "nsga2", "population_size": 1}}, status=422
    )
    assert answer["errors"][0]["pointer"] == "/algorithm/population_size"
    assert "from 2 to 1000, got 1" in answer["detail"]


def test_cmaes_refuses_several_objectives_and_names_what_takes_them(api: Api) -> None:
    body = {"space": SPACE, "algorithm": "cmaes", "objectives": [{"name": "a"}, {"name": "b"}]}
    answer = api.call("PUT", api.base, body, status=422)
    assert (answer["errors"][0]["pointer"], "nsga2" in answer["detail"]) == ("/algorithm", True)


def test_the_document_names_every_algorithm_with_its_options(api: Api) -> None:
    text = api.client.get("/openapi.json").text
    for word in (*MODELLED, "n_candidates", "population_size", "sigma", "resolution"):
        assert word in text


def test_a_study_that_suggests_nothing_hands_out_what_is_enqueued(api: Api) -> None:
    api.create(space=SPACE, algorithm="enqueued", stop={"max_trials": 2})
    empty = api.ask()
    assert (empty["trials"], empty["done"], empty["reason"]) == ([], False, "waiting-for-running")
    for n in (3, 4, 5):
        api.call("POST", f"{api.base}/trials", {"params": {"n": n}}, status=201)
    handed = api.ask(count=10)["trials"]
    assert [(one["params"]["n"], one["origin"]["source"]) for one in handed] == [(3, "enqueued"), (4, "enqueued")]
    assert all("x" in one["params"] for one in handed)  # what was left out is drawn
    refused = api.call("POST", f"{api.base}/ask", {"fixed": {"n": 1}}, status=422)
    assert refused["errors"][0]["pointer"] == "/fixed"
    for one in handed:
        api.tell(one["number"], value=1.0)
    assert (api.ask()["done"], api.ask()["reason"]) == (True, "max_trials")
