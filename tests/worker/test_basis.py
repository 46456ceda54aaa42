"""What a search builds on is settled when it is submitted: which examples a name means, and what earlier ones lend."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.db import jobs, keys
from app.db.jobs import Address
from app.db.session import EVERY_PROJECT, Store
from app.nas.network import Network
from app.nas.plan import Plan
from app.nas.problem import Problem, Task
from app.nas.spaces import Genes, space_from_json
from app.services.basis import LENT, basis_of
from app.worker.evaluations import task_of
from tests.conftest import Api

CELLS = {"type": "cell", "nodes": 3}
BODY = {
    "space": CELLS,
    "strategy": {"name": "random"},
    "evaluator": {"name": "train", "dataset": "digits", "epochs": 1},
    "budget": {"evaluations": 12},
}


def submit(api: Api, name: str, status: int = 202, **more: Any) -> dict[str, Any]:
    return api.call("POST", "/v1/nas/searches", {"name": name, **BODY, **more}, status=status)


def best_first(n: int, seed: int = 0) -> list[Genes]:
    space, rng = space_from_json(CELLS), np.random.default_rng(seed)
    found: dict[Genes, None] = {}
    while len(found) < n:
        found[space.sample(rng)] = None
    return list(found)


def searched(store: Store, name: str, ranking: list[Genes], *, space: Any = CELLS, project: str = "default") -> None:
    """A search that is over, with an evaluation of each; the first are the best."""
    with store.read(EVERY_PROJECT) as session:
        project_id = keys.project(session, project).id
    reward = {"metric": "accuracy", "complexity": "parameters", "penalty": 0.0}
    budget = {"evaluations": len(ranking), "parallel": 1}
    body = {**BODY, "space": space_from_json(space).to_json(), "reward": reward, "budget": budget, "seed": 0}
    problem = Problem.of_networks(Plan.of(body).space, (8, 8, 1), 10, measure=Network.parameters, penalty=0.0)
    with store.write(project_id) as session:
        here = jobs.insert(session, Address(project_id, "search", name), body, "light")
        parts = jobs.add_parts(here, [(i, task_of(problem, Task(genes))) for i, genes in enumerate(ranking, start=1)])
        for i, part in enumerate(parts):
            part.state, part.result = "succeeded", {"value": 1.0 - i / 100}
        here.move("running")
        here.move("succeeded")


def lent(said: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["search"], one["key"]) for one in said["lent"]]


def key(genes: Genes) -> str:
    return space_from_json(CELLS).key(genes)


def test_earlier_searches_over_the_same_space_lend_their_best_in_turns(api: Api, store: Store) -> None:
    first, second = best_first(12, 1), best_first(12, 2)
    searched(store, "first", first)
    searched(store, "second", second, space={**CELLS, "channels": 4, "max_parameters": 10**6})
    others = ["none", "skip", "conv1x1", "conv5x5", "avgpool3x3"]
    searched(store, "other", best_first(12, 3), space={**CELLS, "operations": others})
    searched(store, "short", best_first(3, 4))
    assert submit(api, "cold")["lent"] == []
    warm = submit(api, "warm", warm_start="auto")
    assert lent(warm)[:2] == [("second", key(second[0])), ("first", key(first[0]))]
    assert len(lent(warm)) == LENT == len({k for _, k in lent(warm)})
    assert {name for name, _ in lent(warm)} == {"first", "second"}
    named = submit(api, "named", warm_start=["first"])
    assert lent(named) == [("first", key(genes)) for genes in first[:LENT]]
    assert named["warm_start"] == ["first"]


def test_what_was_lent_stays_whatever_becomes_of_the_lender(api: Api, client: TestClient, store: Store) -> None:
    searched(store, "first", best_first(12, 1))
    before = submit(api, "warm", warm_start="auto")
    searched(store, "later", best_first(12, 2))
    assert client.delete("/v1/nas/searches/first").status_code == 204
    assert submit(api, "warm", status=200, warm_start="auto")["lent"] == before["lent"]
    assert submit(api, "warm", status=409)["code"] == "job-differs"


@pytest.mark.parametrize(
    ("name", "said"), [("nowhere", "no earlier search"), ("mlp", "another space"), ("one", "no ear")]
)
def test_a_lender_that_cannot_lend_is_named(api: Api, store: Store, name: str, said: str) -> None:
    searched(store, "mlp", [(0, 0, 0, 0, 0)], space={"type": "mlp"})
    refused = submit(api, "one", status=422, warm_start=[name])
    assert said in refused["detail"]
    assert refused["errors"][0]["pointer"] == "/warm_start/0"
    api.call("GET", "/v1/nas/searches/one", status=404)


def test_nothing_is_lent_over_the_wall_between_projects(api: Api, store: Store) -> None:
    with store.write(EVERY_PROJECT) as session:
        keys.make_project(session, "theirs", by="test")
    searched(store, "first", best_first(12, 1), project="theirs")
    assert submit(api, "warm", warm_start="auto")["lent"] == []
    assert "no earlier" in submit(api, "named", status=422, warm_start=["first"])["detail"]


def examples(store: Store, name: str) -> str | None:
    with store.read(EVERY_PROJECT) as session:
        project_id = keys.project(session, "default").id
    with store.read(project_id) as session:
        return basis_of(jobs.get(session, Address(project_id, "search", name))).examples


def test_a_dataset_of_ones_own_comes_before_the_bundled_one_of_its_name(
    api: Api, client: TestClient, store: Store
) -> None:
    submit(api, "before")
    file = io.BytesIO()
    np.savez(file, x=np.random.default_rng(0).normal(size=(30, 3)), y=np.arange(30) % 3)
    made = client.post("/v1/fewshot/datasets", data={"name": "digits"}, files={"file": ("d.npz", file.getvalue())})
    assert made.status_code == 201
    assert "needs images" in submit(api, "cells", status=422)["detail"]
    submit(api, "after", space={"type": "mlp", "max_depth": 1, "widths": [4]})
    assert examples(store, "before") == "bundled"
    assert examples(store, "after") != "bundled"
