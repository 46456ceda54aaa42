"""Searches that remote scripts evaluate, and searches on examples that were uploaded: what curl would do."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.nas.plan import Plan
from app.nas.problem import Task
from app.nas.search import recommend, search
from tests.conftest import Api
from tests.worker.conftest import Worker
from tests.worker.test_searches import MLP, finished, submit

OUTSIDE = {
    "space": {"type": "mlp", "max_depth": 2, "widths": [4, 8, 16], "activations": ["relu", "tanh"]},
    "strategy": {"name": "gp", "initial": 4},
    "evaluator": {"name": "external", "shape": [20], "classes": 3},
    "reward": {"complexity": "parameters", "penalty": 0.1},
    "budget": {"evaluations": 9, "parallel": 2},
    "seed": 5,
}


def accuracy(widths: list[int]) -> float:
    return 0.5 + 0.02 * sum(widths) - 0.0008 * sum(widths) ** 2


def ask(api: Api, worker: Worker, **more: Any) -> dict[str, Any]:
    """As a script does: again, while there is nothing to do."""
    said: dict[str, Any] = {}

    def is_answered() -> bool:
        said.update(api.call("POST", "/v1/studies/one/ask", more, status=200))
        return bool(said["trials"] or said["done"])

    worker.until(is_answered)
    return said


def test_a_script_asks_for_architectures_and_tells_its_scores(api: Api, client: TestClient, worker: Worker) -> None:
    submit(api, **OUTSIDE)
    study = api.call("GET", "/v1/studies/one", status=200)
    assert (study["algorithm"], study["objectives"]) == (
        "enqueued",
        [{"name": "accuracy", "direction": "maximize"}],
    )
    widths, curves, hands = [], {}, 0
    while not (said := ask(api, worker))["done"]:
        (trial,) = said["trials"]
        architecture, params = trial["metadata"]["architecture"], trial["params"]
        assert architecture["widths"] == [params[f"width_{i}"] for i in range(1, params["depth"] + 1)]
        n, lease = trial["number"], trial["lease"]["token"]
        value = accuracy(architecture["widths"])
        curves[n] = [value / 2, value]
        for step, one in enumerate(curves[n], start=1):
            body = {"step": step, "value": one, "lease": lease}
            api.call("POST", f"/v1/studies/one/trials/{n}/report", body, status=200)
        api.call("POST", f"/v1/studies/one/trials/{n}/tell", {"value": value, "lease": lease}, status=200)
        widths.append(architecture["widths"])
        hands += 1
    assert (hands, said["reason"]) == (9, "stopped")
    done = finished(api, worker)
    assert (done["state"], done["result"]["evaluations"], done["result"]["model"]) == ("succeeded", 9, None)

    plan = Plan.of(done)
    problem = plan.problem_of_networks((20,), 3)

    def told_by_hand(task: Task) -> float:
        return accuracy(problem.space.describe(task.genes)["widths"])

    told = search(problem, plan.settings(), told_by_hand)
    assert [problem.space.describe(one.genes)["widths"] for one in told] == widths
    best = recommend(problem, told)
    assert best is not None
    assert done["result"]["best"]["key"] == problem.space.key(best.genes)
    items = api.call("GET", "/v1/nas/searches/one/architectures?limit=1000", status=200)["items"]
    assert {one["number"]: one["curve"] for item in items for one in item["evaluations"]} == curves
    assert client.get("/v1/nas/searches/one/model").json()["code"] == "not-trained"


def test_what_a_script_could_not_train_is_a_failed_evaluation_and_a_pruned_one_counts_as_far_as_it_came(
    api: Api, worker: Worker
) -> None:
    submit(api, **OUTSIDE | {"strategy": "random", "budget": {"evaluations": 4, "parallel": 4}})
    trials = []
    while len(trials) < 4:  # all at once: as many as may be under way
        trials += ask(api, worker, count=4)["trials"]
    assert api.call("POST", "/v1/studies/one/ask", {}, status=200)["reason"] == "waiting-for-running"
    a, b, c, d = (f"/v1/studies/one/trials/{trial['number']}" for trial in trials)
    api.call("POST", f"{a}/tell", {"state": "failed", "reason": "out of memory"}, status=200)
    api.call("POST", f"{b}/report", {"step": 1, "value": 0.25}, status=200)
    api.call("POST", f"{b}/tell", {"state": "pruned"}, status=200)
    api.call("POST", f"{c}/tell", {"value": "nan"}, status=200)
    api.call("POST", f"{d}/tell", {"value": 0.75}, status=200)
    assert finished(api, worker)["result"]["best"]["metric"] == 0.75
    items = api.call("GET", "/v1/nas/searches/one/architectures", status=200)["items"]
    told = sorted((one["number"], one["state"], one["value"]) for item in items for one in item["evaluations"])
    assert told == [(1, "failed", None), (2, "succeeded", 0.25), (3, "failed", None), (4, "succeeded", 0.75)]
    assert "out of memory" in str([one["error"] for item in items for one in item["evaluations"]])


def test_scripts_of_a_cancelled_search_are_told_that_it_is_over(api: Api, client: TestClient, worker: Worker) -> None:
    submit(api, **OUTSIDE)
    assert ask(api, worker)["trials"]
    api.call("POST", "/v1/nas/searches/one/cancel", status=200)
    said = api.call("POST", "/v1/studies/one/ask", {}, status=200)
    assert (said["done"], said["reason"]) == (True, "stopped")
    assert api.call("POST", "/v1/studies/one/trials/1/tell", {"value": 0.5}, status=200)["state"] == "complete"


def test_a_search_whose_study_was_deleted_fails_and_says_so(api: Api, client: TestClient, worker: Worker) -> None:
    submit(api, **OUTSIDE)
    ask(api, worker)
    assert client.delete("/v1/studies/one").is_success
    done = finished(api, worker)
    assert done["state"] == "failed"
    assert "study 'one'" in done["error"]


def test_a_search_takes_over_no_study_that_is_there(api: Api) -> None:
    api.call("PUT", "/v1/studies/one", {"space": {"x": {"type": "float", "low": 0, "high": 1}}}, status=201)
    assert submit(api, status=409, **OUTSIDE)["code"] == "name-taken"
    api.call("GET", "/v1/nas/searches/one", status=404)
    submit(api, name="two", **{name: value for name, value in OUTSIDE.items() if name != "name"})
    assert submit(api, status=200, **OUTSIDE | {"name": "two"})["name"] == "two"


def uploaded(x: Any, y: Any, client: TestClient, **more: Any) -> Any:
    file = io.BytesIO()
    np.savez(file, x=x, y=y, **more)
    return client.post("/v1/fewshot/datasets", data={"name": "mine"}, files={"file": ("d.npz", file.getvalue())})


def on_mine(**more: Any) -> dict[str, Any]:
    evaluator = {"name": "train", "dataset": "mine", "epochs": 8}
    return {"space": MLP, "strategy": "random", "evaluator": evaluator, "budget": {"evaluations": 1}} | more


def test_a_search_trains_on_an_uploaded_dataset(api: Api, client: TestClient, worker: Worker) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(["cat", "dog", "emu"], 60)
    x = rng.normal(size=(180, 2)) * [1.0, 1000.0]  # features in units of their own
    x[:, 0] += 4.0 * (y == "dog")
    x[:, 1] += 4000.0 * (y == "emu")
    assert uploaded(x, y, client).status_code == 201
    submit(api, **on_mine())
    assert client.delete("/v1/fewshot/datasets/mine").json()["code"] == "dataset-in-use"
    done = finished(api, worker)
    assert done["state"] == "succeeded", done
    assert done["result"]["model"]["accuracy"] > 0.8
    assert done["result"]["model"]["held_out_examples"] == 36
    with TestClient(create_app(worker.settings, is_worker=True), base_url="http://127.0.0.1:1") as at_worker:
        body = {"x": [[4.0, 0.0], [0.0, 4000.0]]}
        said = at_worker.post("/v1/nas/searches/one/predict", json=body).json()["predictions"]
    assert [one["label"] for one in said] == ["dog", "emu"]


@pytest.mark.parametrize(
    ("x", "y", "task", "space", "said"),
    [
        ((20, 3), ["a"] * 18 + ["b"] * 2, None, MLP, "has 2 examples"),
        ((20, 3), list(range(20)), ["a"] * 10 + ["b"] * 10, MLP, "regression"),
        ((20, 3), ["a", "b"] * 10, None, {"type": "cell", "nodes": 3}, "needs images"),
    ],
)
def test_a_dataset_that_does_not_suit_is_refused_before_it_runs(
    api: Api, client: TestClient, x: tuple[int, ...], y: list[Any], task: list[str] | None, space: Any, said: str
) -> None:
    more = {} if task is None else {"task": np.array(task)}
    made = uploaded(np.random.default_rng(1).normal(size=x), np.array(y), client, **more)
    assert made.status_code == 201, made.text
    assert said in submit(api, status=422, **on_mine(space=space))["detail"]
