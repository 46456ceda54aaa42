"""Learners at work: adaptations over HTTP, on both databases."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from app.db import artefacts
from app.db.session import EVERY_PROJECT
from app.db.tables import Adaptation, Artefact, Job
from app.fewshot.learner import Learner
from app.services.adapt import Shelf
from tests.api.fewshot import LEARNERS, FewShot, count, npz, queries, support


def test_adapting_answers_labels_as_they_were_given(trained: FewShot) -> None:
    given = support()
    for labels in (["a", "b", "c"], [1, 2, 3], [True, "x", 2.5]):
        named = given | {"y": [labels[int(name[-1])] for name in given["y"]]}
        found = trained.ask("POST", "/adapt", {"support": named, "query": queries()})["predictions"]
        assert [one["label"] for one in found] == labels
        assert [type(one["label"]) for one in found] == [type(label) for label in labels]
        assert all(sum(one["probabilities"].values()) == pytest.approx(1) for one in found)
        assert set(found[0]["probabilities"]) == {
            str(label).lower() if label is True else str(label) for label in labels
        }


def test_nested_lists_and_base64_say_the_same(trained: FewShot) -> None:
    given, asked = support(), queries()
    plain = trained.ask("POST", "/adapt", {"support": given, "query": asked})
    packed = {
        "support": {"npz": base64.b64encode(npz(x=np.array(given["x"], np.float32), y=np.array(given["y"]))).decode()},
        "query": {"npz": base64.b64encode(npz(x=np.array(asked["x"], np.float32))).decode()},
    }
    for one, other in zip(plain["predictions"], trained.ask("POST", "/adapt", packed)["predictions"], strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"support": {"x": [[1, 2, 3, 4]], "y": ["a", "b"]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/y"),
        ({"support": {"x": [[1, 2, 3]], "y": ["a"]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/x"),
        ({"support": {"x": [[1, 2, 3, 4]], "y": ["a"]}, "query": {"x": [[1, 2], [3]]}}, "/query/x"),
        ({"support": {"x": [[1, 2, 3, 4]], "y": [None]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/y/0"),
        ({"support": {"x": [[1, 2, 3, 4]], "y": [["a"]]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/y/0"),
        ({"support": {"x": [[1, 2, 3, "4"]], "y": ["a"]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/x"),
        ({"support": {"x": [[1, 2, 3, 1e999]], "y": ["a"]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/x/0"),
        ({"support": {"x": [[1, 2, 3, 4]] * 2, "y": [1, "1"]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/y"),
        ({"support": {"npz": "%%%"}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/npz"),
        ({"support": {"x": [[1, 2, 3, 4]]}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/y"),
        ({"support": {"x": [], "y": []}, "query": {"x": [[1, 2, 3, 4]]}}, "/support/x"),
        ({"support": {}, "query": {"x": [[1, 2, 3, 4]]}}, "/support"),
    ],
)
def test_a_bad_task_is_refused_at_its_place(trained: FewShot, body: dict[str, Any], pointer: str) -> None:
    import json

    response = trained.worker.post(
        f"{LEARNERS}/one/adapt", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == pointer, response.text


def test_an_adaptation_is_kept_asked_and_extended(trained: FewShot) -> None:
    path = "/adaptations/mine"
    kept = trained.ask("PUT", path, {"support": support(2)}, 201)
    assert (kept["labels"], kept["counts"], kept["examples"]) == (["class 0", "class 1"], [2, 2], 4)
    before = trained.ask("POST", f"{path}/predict", {"query": queries()})["predictions"]
    assert {one["label"] for one in before} == {"class 0", "class 1"}
    third = {name: values[4:] for name, values in support().items()}
    more = {name: values + support(1)[name][:1] for name, values in third.items()}
    extended = trained.ask("PATCH", f"{path}/support", {"support": more})
    assert (extended["labels"], extended["counts"]) == (["class 0", "class 1", "class 2"], [3, 2, 2])
    after = trained.ask("POST", f"{path}/predict", {"query": queries()})["predictions"]
    assert [one["label"] for one in after] == ["class 0", "class 1", "class 2"]
    assert trained.call("GET", f"{LEARNERS}/one{path}", status=200) == extended
    assert trained.call("GET", f"{LEARNERS}/one/adaptations", status=200)["items"] == [extended]
    assert trained.ask("PUT", path, {"support": support(2)})["counts"] == [2, 2]
    assert count(trained.store, Artefact) == 3  # dataset, learner, one support set
    trained.call("DELETE", f"{LEARNERS}/one{path}", status=204)
    assert (count(trained.store, Adaptation), count(trained.store, Artefact)) == (0, 2)


def test_what_is_far_from_every_class_is_unknown(trained: FewShot) -> None:
    trained.ask("PUT", "/adaptations/mine", {"support": support()}, 201)
    near, far = queries(1), {"x": [[40.0, -40.0, 40.0, -40.0]]}
    for query, strict in ((near, False), (far, False), (near, True)):
        body = {"query": query} | ({"unknown_distance": 1e-9} if strict else {})
        (found,) = trained.ask("POST", "/adaptations/mine/predict", body)["predictions"]
        assert found["unknown"] == (strict or found["distance"] > known_distance(trained))


def known_distance(few: FewShot) -> float:
    with few.store.read(EVERY_PROJECT) as session:
        model_id = session.scalars(select(Job.model_id).where(Job.name == "one")).one()
    assert model_id is not None
    known = Learner.from_bytes(artefacts.read(few.store, 1, model_id)).known_distance
    assert known is not None
    return known


def test_an_api_process_without_a_worker_says_so(trained: FewShot) -> None:
    body = {"support": support(), "query": queries()}
    response = trained.client.post(f"{LEARNERS}/one/adapt", json=body)
    assert (response.status_code, response.json()["code"]) == (503, "no-worker")


def test_a_shelf_keeps_the_last_things() -> None:
    shelf, made = Shelf(), []
    for number in [*range(70), 69, 0]:
        shelf.get((str(number),), lambda number=number: made.append(number))  # type: ignore[misc]
    assert made == [*range(70), 0]
