"""Architecture search through the HTTP API, with a worker in this process: what curl would do."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from starlette.testclient import TestClient

from app.main import create_app
from app.nas.data import digits
from app.nas.search import Settings, recommend, search
from app.nas.spaces import CellSpace
from app.nas.strategies import Strategy
from app.nas.table import Lookup, read
from tests.conftest import Api
from tests.worker.conftest import Worker

SPACE = {"type": "cell", "nodes": 3, "operations": ["none", "skip", "conv1x1", "conv3x3"]}
MLP = {"type": "mlp", "max_depth": 1, "widths": [4, 16], "activations": ["relu"]}
TRAIN = {
    "space": MLP,
    "strategy": {"name": "random"},
    "evaluator": {"name": "train", "dataset": "digits", "epochs": 2},
    "budget": {"evaluations": 2, "parallel": 2},
    "seed": 1,
}


def table() -> bytes:
    """Every cell of the space, three trainings each."""
    X = np.array(list(itertools.product(range(4), repeat=3)))
    rng = np.random.default_rng(0)
    y = 0.5 + 0.05 * X.sum(axis=1, keepdims=True) + 0.01 * rng.standard_normal((len(X), 3))
    file = io.BytesIO()
    np.savez(file, X=X, y=y, parameters=100.0 + 50.0 * X.sum(axis=1))
    return file.getvalue()


def upload(client: TestClient, content: bytes, name: str = "cells", file: str = "t.npz") -> Any:
    return client.post("/v1/nas/tables", data={"name": name}, files={"file": (file, content)})


def submit(api: Api, status: int = 202, **body: Any) -> dict[str, Any]:
    return api.call("POST", "/v1/nas/searches", {"name": "one", **body}, status=status)


def on_table(**more: Any) -> dict[str, Any]:
    return {
        "space": SPACE,
        "strategy": {"name": "gp", "initial": 5},
        "evaluator": {"name": "table", "table": "cells"},
        "budget": {"evaluations": 30},
        "seed": 3,
    } | more


@pytest.fixture
def running(client: TestClient, worker: Worker) -> Worker:
    """A worker on the database of `client`."""
    return worker


def finished(api: Api, worker: Worker, name: str = "one") -> dict[str, Any]:
    found: dict[str, Any] = {}

    def is_finished() -> bool:
        found.update(api.call("GET", f"/v1/nas/searches/{name}", status=200))
        return found["state"] not in ("queued", "running")

    worker.until(is_finished)
    return found


def test_a_search_on_a_table_is_what_the_search_function_gives(api: Api, client: TestClient, running: Worker) -> None:
    assert upload(client, table()).status_code == 201
    assert upload(client, table()).status_code == 200
    made = submit(api, **on_table())
    assert (made["state"], made["engine"], made["budget"]["evaluations"]) == ("queued", "dbos", 30)
    done = finished(api, running)
    assert (done["state"], done["progress"], done["result"]["evaluations"]) == ("succeeded", 1.0, 30)
    space = CellSpace(3, ("none", "skip", "conv1x1", "conv3x3"))
    lookup = Lookup.of(read(table(), "t.npz"), space)
    problem = lookup.problem(measure="parameters", penalty=0.0)
    told = search(problem, Settings(Strategy("gp", initial=5), 3, 30), lambda task: lookup.evaluate(task, 3))
    best = recommend(problem, told)
    assert best is not None
    assert done["result"]["best"]["key"] == space.key(best.genes)
    page = api.call("GET", "/v1/nas/searches/one/architectures?limit=1000", status=200)["items"]
    values = sorted((one["number"], one["value"]) for item in page for one in item["evaluations"])
    assert values == [(number, one.value) for number, one in enumerate(told, start=1)]
    assert page[0]["key"] == done["result"]["best"]["key"]
    svg = client.get(f"/v1/nas/searches/one/architectures/{page[0]['key']}/drawing")
    assert svg.headers["content-type"] == "image/svg+xml"
    warm = submit(
        api, **on_table(name="two", warm_start="auto", strategy={"name": "random"}, budget={"evaluations": 6})
    )
    assert warm["lent"][0] == {"search": "one", "key": max(page, key=mean_of)["key"]}
    assert finished(api, running, "two")["state"] == "succeeded"
    page = api.call("GET", "/v1/nas/searches/two/architectures", status=200)["items"]
    keys = {one["number"]: item["key"] for item in page for one in item["evaluations"]}
    assert [keys[number] for number in range(1, 6)] == [one["key"] for one in warm["lent"]]
    assert client.delete("/v1/nas/tables/cells").status_code == 204


def mean_of(item: dict[str, Any]) -> float:
    return float(np.mean([one["value"] for one in item["evaluations"]]))


def test_the_penalty_is_changed_after_the_search(api: Api, client: TestClient, running: Worker) -> None:
    upload(client, table())
    submit(api, **on_table())
    finished(api, running)
    sizes = [
        api.call("GET", f"/v1/nas/searches/one/pareto?penalty={penalty}", status=200)["best"]["parameters"]
        for penalty in (0, 5)
    ]
    assert sizes[0] > sizes[1]
    items = api.call("GET", "/v1/nas/searches/one/pareto", status=200)["items"]
    assert [one["complexity"] for one in items] == sorted(one["complexity"] for one in items)


def test_a_network_is_trained_downloaded_and_asked(api: Api, client: TestClient, running: Worker) -> None:
    submit(api, **TRAIN)
    refused = client.get("/v1/nas/searches/one/model")
    assert (refused.status_code, refused.json()["code"]) == (409, "not-trained")
    done = finished(api, running)
    assert done["state"] == "succeeded", done
    with zipfile.ZipFile(io.BytesIO(client.get("/v1/nas/searches/one/model").content)) as file:
        graph = json.loads(file.read("network.json"))
        exported = file.read("network.onnx")
        weights = np.load(io.BytesIO(file.read("weights.npz")), allow_pickle=False)
        n_weights = sum(weights[name].size for name in weights.files)
    assert graph["labels"] == list(range(10))
    assert n_weights == done["result"]["model"]["parameters"] == graph["parameters"]

    split = digits()
    images = (split.held_out_x * split.scale + split.centre)[:, :, :, 0]
    body = {"x": images.tolist()}
    answer = client.post("/v1/nas/searches/one/predict", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "no-worker")  # this one says where, but does not listen
    with TestClient(create_app(running.settings, is_worker=True), base_url="http://127.0.0.1:1") as at_worker:
        said = at_worker.post("/v1/nas/searches/one/predict", json=body).json()["predictions"]
        wrong = at_worker.post("/v1/nas/searches/one/predict", json={"x": [[1, 2], [3]]})
        assert wrong.status_code == 422
    assert client.get("/v1/nas/searches/one/model?format=onnx").content == exported
    (probabilities,) = ReferenceEvaluator(onnx.load_from_string(exported)).run(None, {"x": images[..., None]})
    assert [one["probabilities"]["3"] for one in said] == pytest.approx(probabilities[:, 3], abs=1e-4)
    right = [one["label"] for one in said] == split.held_out_y
    assert np.mean(right) == pytest.approx(done["result"]["model"]["accuracy"])
    assert sum(said[0]["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)


def test_a_search_is_cancelled_and_deleted_and_its_events_end_with_it(
    api: Api, client: TestClient, worker: Worker
) -> None:
    submit(api, **TRAIN | {"budget": {"evaluations": 500, "parallel": 2}})
    worker.until(lambda: api.call("GET", "/v1/nas/searches/one", status=200)["state"] == "running")
    assert client.delete("/v1/nas/searches/one").json()["code"] == "job-in-use"
    assert api.call("POST", "/v1/nas/searches/one/cancel", status=200)["state"] == "cancelled"
    events = client.get("/v1/nas/searches/one/events?after=0").text
    assert '"state": "cancelled"' in events.splitlines()[-3] + events.splitlines()[-2]
    assert client.delete("/v1/nas/searches/one").status_code == 204
    api.call("GET", "/v1/nas/searches/one", status=404)


def test_the_same_search_again_is_200_and_another_409(api: Api, client: TestClient) -> None:
    upload(client, table())
    submit(api, **on_table())
    assert submit(api, status=200, **on_table(reward={"metric": "accuracy", "penalty": 0.0}))["name"] == "one"
    assert submit(api, status=409, **on_table(seed=4))["code"] == "job-differs"
    once = {"Idempotency-Key": "k"}
    body = on_table() | {"name": None}
    first, again = (api.call("POST", "/v1/nas/searches", body, status=s, headers=once) for s in (202, 202))
    assert first["name"] == again["name"]
    assert [one["name"] for one in api.call("GET", "/v1/nas/searches", status=200)["items"]] == ["one", first["name"]]
    assert client.delete("/v1/nas/tables/cells").json()["code"] == "dataset-in-use"


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"space": {"type": "cell", "operations": ["none", "fly"]}}, "invalid-space", "/space/operations/1"),
        ({"space": SPACE | {"max_parameters": 3}}, "invalid", None),
        ({"strategy": {"name": "luck"}}, "invalid", "/strategy/name"),
        ({"strategy": {"name": "evolution", "sample": 99}}, "invalid", "/strategy/sample"),
        ({"strategy": {"name": "halving"}}, "invalid", "/strategy/name"),
        ({"evaluator": {"name": "table"}}, "invalid", "/evaluator/table"),
        ({"evaluator": {"name": "table", "table": "nowhere"}}, "dataset-not-found", None),
        ({"space": SPACE | {"operations": ["none", "skip", "conv1x1"]}}, "invalid", None),
        ({"reward": {"complexity": "flops", "penalty": 1.0}}, "invalid", None),
        ({"evaluator": {"name": "external", "shape": [8, 8, 1]}}, "invalid", "/evaluator/shape"),
        ({"evaluator": {"name": "train", "shape": [64], "classes": 10}}, "invalid", "/evaluator/shape"),
        ({"evaluator": {"name": "external", "shape": [64], "classes": 10}}, "invalid", None),
        ({"evaluator": {"name": "train", "dataset": "mine"}}, "dataset-not-found", None),
        ({"budget": {"evaluations": 0}}, "invalid", "/budget/evaluations"),
    ],
)
def test_what_is_wrong_with_a_search_is_told_before_it_runs(
    api: Api, client: TestClient, change: dict[str, Any], code: str, pointer: str | None
) -> None:
    upload(client, table())
    status = 404 if code.endswith("not-found") else 422
    said = submit(api, status=status, **on_table() | change)
    assert said["code"] == code
    if pointer is not None:
        assert pointer in [one["pointer"] for one in said["errors"]]


@pytest.mark.parametrize(
    ("content", "file", "said"),
    [
        (b"no numbers", "t.npz", "is no .npz"),
        (b"", "t.csv", "no line of names"),
        (b"1<-0,value\nskip,high\n", "t.csv", "line 2, value"),
        (b"1<-0,value\nskip,0.5,1\n", "t.csv", "line 2"),
        (b"1<-0\nskip\n", "t.csv", "line 1"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(client: TestClient, content: bytes, file: str, said: str) -> None:
    refused = upload(client, content, file=file)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-table")
    assert said in refused.json()["detail"]


def test_a_table_as_csv_says_the_same(client: TestClient, api: Api, worker: Worker) -> None:
    words = ("none", "skip", "conv1x1", "conv3x3")
    lines = [
        ",".join([*(words[i] for i in row), str(sum(row) / 10), "", str(10 + sum(row))])
        for row in itertools.product(range(4), repeat=3)
    ]
    lines.insert(0, "1<-0,2<-0,2<-1,value_1,value_2,parameters")
    assert upload(client, "\n".join(lines).encode(), file="t.csv").json()["repeats"] == 2
    submit(api, **on_table())
    assert finished(api, worker)["result"]["best"]["metric"] == pytest.approx(0.9, abs=0.05)
