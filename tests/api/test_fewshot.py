"""Few-shot learners over HTTP, on both databases; jobs are run by the test, as a worker's engine runs them."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from app.db import artefacts, jobs
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Adaptation, Artefact, Job, Upload
from app.fewshot.judge import Judgement
from app.fewshot.learner import Learner
from app.fewshot.training import Training
from app.main import create_app
from app.services.adapt import Shelf
from app.settings import Settings
from app.worker.kinds import KINDS
from app.worker.unit import Cancelled, Unit, begin
from tests.conftest import Api

DATASETS, LEARNERS = "/v1/fewshot/datasets", "/v1/fewshot/learners"
SMALL = {"width": 8, "training_ways": 3, "training_shots": 1, "training_queries": 2, "tasks_per_update": 1}


def clusters(n_classes: int = 12, n_examples: int = 8, seed: int = 0, spread: float = 0.3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_classes, 1, 4)) + spread * rng.standard_normal((n_classes, n_examples, 4))
    return {"x": x.reshape(-1, 4).astype(np.float32), "y": np.repeat(np.arange(n_classes), n_examples)}


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class FewShot(Api):
    """The calls of this part; `worker` is the application as a worker serves it."""

    def __init__(self, client: TestClient, worker: TestClient, store: Store) -> None:
        super().__init__(client)
        self.worker, self.store = worker, store

    def upload(self, name: str = "clusters", status: int = 201, content: bytes | None = None) -> dict[str, Any]:
        files = {"file": ("data", npz(**clusters()) if content is None else content)}
        response = self.client.post(DATASETS, data={"name": name}, files=files)
        assert response.status_code == status, response.text
        return dict(response.json())

    def train(self, name: str = "one", status: int = 202, **body: Any) -> dict[str, Any]:
        whole = {"name": name, "method": "prototypical", "dataset": "clusters", "ways": 3, "episodes": 4} | body
        whole["options"] = SMALL | body.get("options", {})
        return self.call("POST", LEARNERS, whole, status=status)

    def begun(self, kind: str, name: str) -> Unit:
        with self.store.read(EVERY_PROJECT) as session:
            uid = jobs.get(session, jobs.Address(1, kind, name)).job.uid
        unit = begin(self.store, "test", uid, None, 2**28)
        assert unit is not None
        return unit

    def run(self, name: str = "one", kind: str = "learner") -> dict[str, Any]:
        unit = self.begun(kind, name)
        unit.finish(KINDS[kind].run(unit))
        return self.call("GET", f"/v1/fewshot/{kind}s/{name}", status=200)

    def ask(self, method: str, path: str, body: Any, status: int = 200) -> dict[str, Any]:  # type: ignore[override]
        """Of the worker."""
        response = self.worker.request(method, f"{LEARNERS}/one{path}", json=body)
        assert response.status_code == status, response.text
        return dict(response.json())


@pytest.fixture
def few(client: TestClient, store: Store, database_url: str) -> Iterator[FewShot]:
    app = create_app(Settings(database=database_url), is_worker=True)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as worker:
        yield FewShot(client, worker, store)


@pytest.fixture
def trained(few: FewShot) -> FewShot:
    few.upload()
    few.train()
    few.run()
    return few


def support(ways: int = 3, shots: int = 2) -> dict[str, Any]:
    data = clusters(seed=1, spread=0.01)
    rows = [8 * way + shot for way in range(ways) for shot in range(shots)]
    return {"x": data["x"][rows].tolist(), "y": [f"class {data['y'][row]}" for row in rows]}


def queries(ways: int = 3) -> dict[str, Any]:
    return {"x": clusters(seed=1, spread=0.01)["x"][[8 * way + 5 for way in range(ways)]].tolist()}


def count(store: Store, table: Any) -> int:
    with store.read(EVERY_PROJECT) as session:
        return int(session.execute(select(func.count()).select_from(table)).scalar_one())


def test_a_dataset_is_uploaded_listed_and_deleted(few: FewShot) -> None:
    made = few.upload()
    assert (made["kind"], made["examples"], made["classes"], made["shape"]) == ("classification", 96, 12, [4])
    assert few.upload(status=200) == made
    assert few.upload(status=409, content=npz(**clusters(seed=2)))["code"] == "dataset-differs"
    assert few.call("GET", DATASETS, status=200)["items"] == [made]
    assert few.call("GET", f"{DATASETS}/clusters", status=200) == made
    few.call("DELETE", f"{DATASETS}/clusters", status=204)
    assert few.call("GET", f"{DATASETS}/clusters", status=404)["code"] == "dataset-not-found"
    assert (count(few.store, Upload), count(few.store, Artefact)) == (0, 0)


def bomb() -> bytes:
    """A megabyte that says it is 64 gigabytes of zeros."""
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**34,)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(2**20))
        archive.writestr("y.npy", npz(a=np.arange(3))[:100])
    return buffer.getvalue()


def swelling() -> bytes:
    """An array that goes on long after its header says it ends."""
    buffer, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (4, 2)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(2**24))
        archive.writestr("y.npy", b"")
    return buffer.getvalue()


good = clusters()
not_finite = good["x"].copy()
not_finite[7, 1] = np.nan
BAD: dict[str, tuple[bytes, str, str]] = {
    "objects": (npz(x=good["x"], y=good["y"].astype(object)), "/y", "objects"),
    "a bomb": (bomb(), "/x", "unpacked"),
    "one that swells": (swelling(), "/x", "more"),
    "one class": (npz(x=good["x"], y=np.zeros(96, int)), "/y", "1 classes"),
    "nan": (npz(x=not_finite, y=good["y"]), "/x", "row 7"),
    "lengths": (npz(x=good["x"], y=good["y"][:-1]), "/y", "96 examples and y 95"),
    "no y": (npz(x=good["x"]), "/y", "no array 'y'"),
    "words": (npz(x=good["x"].astype(str), y=good["y"]), "/x", "numbers"),
    "scarce": (npz(x=good["x"], y=np.arange(96)), "/y", "2 examples at least"),
    "scalars": (npz(x=good["x"][:, 0], y=good["y"]), "/x", "vectors"),
    "empty": (npz(x=good["x"][:0], y=good["y"][:0]), "/x", "no values"),
    "groups": (npz(x=good["x"], y=good["y"], group=np.zeros((96, 2))), "/group", "one value per example"),
    "a torn zip": (npz(**good)[:500], "/file", "unpacked"),
    "a pickle": (b"\x80\x04\x95\x00", "/file", "neither"),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0", "/file", "cannot be read|UTF-8|y"),
    "nothing": (b"", "/y", "columns"),
    "csv, no y": (b"a,b\n1,2\n", "/y", "`y`"),
    "csv, words": (b"a,y\n1,2\nfoo,3\n", "/a", "line 3"),
    "csv, short": (b"a,b,y\n1,2\n", "/file", "line 2"),
    "csv, nan": (b"a,y\n1,1\nnan,1\n2,2\n3,2\n", "/x", "row 1"),
    "csv, header alone": (b"a,y\n", "/file", "no rows"),
    "csv, twice": (b"a,a,y\n1,2,3\n", "/file", "two columns"),
    "csv, latin": ("ä,y\n1,2\n".encode("latin-1"), "/file", "UTF-8"),
    "parquet, torn": (b"PAR1" + bytes(40), "/file", "parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_dataset_is_refused_in_words_and_leaves_nothing(few: FewShot, case: str) -> None:
    content, pointer, words = BAD[case]
    body = few.upload(status=422, content=content)
    assert body["code"] == "invalid-dataset"
    assert body["errors"][0]["pointer"] == pointer, body
    assert any(word in body["detail"] for word in words.split("|")), body
    assert (count(few.store, Upload), count(few.store, Artefact)) == (0, 0)


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(few: FewShot) -> None:
    headers = {"Content-Length": str(2 * 2**30), "Content-Type": "multipart/form-data; boundary=x"}
    response = few.client.post(DATASETS, content=b"--x", headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too-large")
    assert count(few.store, Artefact) == 0


def test_a_file_that_goes_on_beyond_the_limit_is_refused_on_its_way(store: Store, database_url: str) -> None:
    """As curl sends what it reads from a pipe: nobody said how long it would be."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.npz"\r\n\r\nPK\x03\x04'
        for _ in range(100):
            sent += 2**12
            yield bytes(2**12)

    app = create_app(Settings(database=database_url, max_body_bytes=1024, max_artefact_bytes=2**14))
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        response = client.post(DATASETS, content=pieces(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "too-large")
    assert str(2**14 + 2**16) in response.json()["detail"]
    assert (count(store, Upload), count(store, Artefact)) == (0, 0)


def test_a_study_tunes_a_learner_and_starts_the_next_one_ahead(few: FewShot) -> None:
    few.upload()
    studies = []
    for name, n_trials in (("one", 5), ("two", 1)):  # five results are what a study teaches from
        few.train(name, tune={"trials": n_trials}, episodes=10, options={"distance": "cosine"})
        result = few.run(name)["result"]
        assert result["spec"]["learning_rate"] == result["tune"]["options"]["learning_rate"]
        assert result["spec"]["distance"] == "cosine"
        assert result["episodes"] == 5  # the other half went to the trials
        study = few.call("GET", f"/v1/studies/{result['tune']['study']}", status=200)
        assert (study["counts"]["complete"], study["space"].keys()) == (n_trials, {"learning_rate"})
        studies.append(study["name"])
    sources = few.call("GET", f"/v1/studies/{studies[1]}/prior", status=200)["sources"]
    assert [source["study"] for source in sources] == [studies[0]]


def test_what_cannot_be_tuned_is_refused(few: FewShot) -> None:
    few.upload(content=npz(x=np.arange(12 * 8 * 100).reshape(96, 10, 10) % 251, y=np.repeat(np.arange(12), 8)))
    assert "hog" in few.train(status=422, tune={"trials": 3}, backbone="hog")["detail"]
    fixed = {"learning_rate": 1e-3, "distance": "cosine"}
    assert "leave one of them out" in few.train(status=422, tune={"trials": 3}, options=fixed)["detail"]
    assert few.train(status=422, tune={"trials": 0})["errors"][0]["pointer"] == "/tune/trials"


def test_a_tuning_that_was_cut_short_goes_on_with_the_same_study(few: FewShot, monkeypatch: pytest.MonkeyPatch) -> None:
    few.upload()
    few.train(tune={"trials": 2}, episodes=8, options={"learning_rate": 1e-3})
    calls: list[str] = []

    def dies_at_the_second(unit: Unit, fraction: float, line: str | None = None) -> None:
        calls.append(line or "")
        if len(calls) == 2:
            raise OSError("the worker died")

    with monkeypatch.context() as patched:
        patched.setattr(Unit, "progress", dies_at_the_second)
        unit = few.begun("learner", "one")
        with pytest.raises(OSError, match="died"):
            KINDS["learner"].run(unit)
    result = few.run()["result"]
    study = few.call("GET", f"/v1/studies/{result['tune']['study']}", status=200)
    assert study["counts"]["complete"] == 2
    assert study["counts"].get("running", 0) == 0


def test_a_learner_is_trained_watched_and_downloaded(few: FewShot) -> None:
    few.upload()
    options = {"networks": 2}
    queued = few.train(options=options)
    assert (queued["state"], queued["result"]) == ("queued", None)
    assert few.train(options=options) | {"log": []} == queued | {"log": []}
    assert few.train(status=409, ways=4)["code"] == "job-differs"
    done = few.run()
    result = done["result"]
    assert (done["state"], done["progress"]) == ("succeeded", 1.0)
    assert result["interval"][0] <= result["accuracy"] <= result["interval"][1]
    assert result["tasks"] == 600
    assert result["curve"][-1]["episodes"] == 4
    assert set(result["baselines"]) >= {"nearest-centroid-raw", "logistic-regression-pca"}
    assert result["beats_baselines"] == all(
        result["accuracy"] > one["accuracy"] for one in result["baselines"].values()
    )
    assert result["classes"] == {"train": 10, "validation": 2, "test": 0}
    response = few.client.get(f"{LEARNERS}/one/model")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["learner.json", "weights.npz"]
        with np.load(io.BytesIO(archive.read("weights.npz")), allow_pickle=False) as weights:
            assert [weights[f"network{i}/dense0.w"].shape for i in (0, 1)] == [(4, 8)] * 2


def test_a_learner_that_is_not_trained_yet_says_so(few: FewShot) -> None:
    few.upload()
    few.train()
    assert few.call("GET", f"{LEARNERS}/one/model", status=409)["code"] == "not-trained-yet"
    assert few.ask("POST", "/adapt", {"support": support(), "query": queries()}, 409)["code"] == "not-trained-yet"
    assert few.call("DELETE", f"{DATASETS}/clusters", status=409)["code"] == "dataset-in-use"


def test_a_worker_that_dies_leaves_a_checkpoint_from_which_the_next_goes_on(few: FewShot) -> None:
    few.upload()
    body = {"episodes": 600, "seed": 5, "options": {"networks": 2}}
    few.train(**body)
    few.train("two", **body)
    whole = few.run("two")["result"]
    from app.worker.learners import train

    class Killed(Exception):
        pass

    first = few.begun("learner", "one")
    real = first.save

    def save(checkpoint: bytes, fraction: float) -> None:
        real(checkpoint, fraction)
        raise Killed

    first.save = save  # type: ignore[method-assign]
    with pytest.raises(Killed):
        train(first)
    resumed = few.run()["result"]
    assert [point["episodes"] for point in resumed["curve"]] == [200, 400, 600]
    for one, other in zip(resumed["curve"], whole["curve"], strict=True):
        assert (one["accuracy"], one["loss"]) == pytest.approx((other["accuracy"], other["loss"]))
    assert resumed["accuracy"] == whole["accuracy"]


def test_whose_patience_is_over_lets_the_rate_fall_before_it_ends(
    few: FewShot, monkeypatch: pytest.MonkeyPatch
) -> None:
    few.upload()
    few.train(patience=1, episodes=100_000, options={"learning_rate": 1e-12})  # so that nothing gets better
    fractions: list[float] = []
    real = Training.advance

    def advance(training: Training, n_updates: int, fraction: float = 0.0) -> float:
        fractions.append(fraction)
        return real(training, n_updates, fraction)

    monkeypatch.setattr(Training, "advance", advance)
    result = few.run()["result"]
    assert [point["episodes"] for point in result["curve"]] == [200, 400, 533]
    assert fractions[399] == pytest.approx(399 / 100_000)
    assert fractions[400] == pytest.approx(0.75, abs=1e-3)
    assert fractions[-1] == pytest.approx(532 / 533)


@pytest.mark.parametrize(("last", "kept"), [(0.89, 1), (0.87, 0)])
def test_the_last_learner_stays_unless_it_is_clearly_worse_than_an_earlier_one(
    few: FewShot, monkeypatch: pytest.MonkeyPatch, last: float, kept: int
) -> None:
    few.upload()
    few.train(episodes=202)
    scores, seen = [0.9, last, 0.9], []

    def judged(learner: Learner, *_: Any) -> tuple[Judgement, float]:
        seen.append(learner.networks[0]["dense0.w"])
        return Judgement(scores[len(seen) - 1], 0.02, 100), 1.0

    monkeypatch.setattr("app.worker.learners.judged", judged)
    result = few.run()["result"]
    assert [point["accuracy"] for point in result["curve"]] == [0.9, last]
    assert [np.array_equal(seen[2], weights) for weights in seen[:2]] == [kept == 0, kept == 1]


def test_cancelling_keeps_the_best_so_far(few: FewShot) -> None:
    few.upload()
    few.train(episodes=100_000)
    unit = few.begun("learner", "one")
    from app.worker.learners import train

    real = unit.publish

    def publish(result: Any, model: bytes) -> None:
        real(result, model)
        few.call("POST", f"{LEARNERS}/one/cancel", {}, status=200)

    unit.publish = publish  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        train(unit)
    there = few.call("GET", f"{LEARNERS}/one", status=200)
    assert there["state"] == "cancelled"
    assert there["result"]["curve"]
    few.ask("POST", "/adapt", {"support": support(), "query": queries()})
    few.call("DELETE", f"{LEARNERS}/one", status=204)
    assert count(few.store, Artefact) == 1  # the dataset's


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


def test_a_learner_is_judged_on_another_dataset(trained: FewShot) -> None:
    trained.upload("others", content=npz(**clusters(seed=3)))
    body = {"name": "shift", "dataset": "others", "ways": 4, "shots": 2, "episodes": 50}
    assert trained.call("POST", f"{LEARNERS}/one/evaluate", body, status=202)["state"] == "queued"
    done = trained.run("shift", "evaluation")
    assert done["result"]["tasks"] == 50
    assert done["result"]["judged_on"] == {"ways": 4, "shots": 2, "queries": 5}
    assert 0.25 < done["result"]["accuracy"] <= 1
    assert done["learner"] == "one"


def test_datasets_are_merged_and_split_by_name(few: FewShot) -> None:
    few.upload()
    few.upload("others", content=npz(**clusters(seed=3)))
    few.train(dataset=["clusters", "others"], split={"validation": ["others"]})
    assert few.run()["result"]["classes"] == {"train": 12, "validation": 12, "test": 0}


def test_regressions_are_learnt_from_named_tasks(few: FewShot) -> None:
    rng = np.random.default_rng(0)
    x, slopes = rng.uniform(-1, 1, (20, 12)), rng.uniform(-2, 2, (20, 1))
    lines = "y,task,a\n" + "\n".join(
        f"{slopes[i, 0] * x[i, j]},line {i},{x[i, j]}" for i in range(20) for j in range(12)
    )
    assert few.upload(content=lines.encode())["kind"] == "regression"
    assert few.train(status=422)["code"] == "invalid"
    few.train(method="maml", shots=5, options={"training_ways": 2, "tasks_per_update": 2})
    result = few.run()["result"]
    assert result["squared_error"] > 0
    assert "mean" in result["baselines"]
    (found,) = few.ask("POST", "/adapt", {"support": {"x": [[0.5], [1]], "y": [1, 2]}, "query": {"x": [[0.2]]}})[
        "predictions"
    ]
    assert isinstance(found["value"], float)
    assert found["label"] is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"dataset": "nowhere"}, "nowhere"),
        ({"backbone": "conv4"}, "needs images"),
        ({"method": "maml", "options": {"networks": 2}}, "`networks` is 1"),
        ({"augment": ["rotations"]}, "square images"),
        ({"method": "transformer"}, "prototypical"),
        ({"shots": 9}, "9 examples"),
        ({"ways": 100}, "100 classes"),
        ({"split": {"validation": 2.0}}, "between 0 and 0.9"),
        ({"tune": {"trials": 0}}, "/tune/trials"),
        ({"options": {"magic": 1}}, "magic"),
    ],
)
def test_a_learner_that_cannot_be_is_refused_before_a_worker_has_it(
    few: FewShot, body: dict[str, Any], words: str
) -> None:
    few.upload()
    found = few.train(status=404 if "dataset" in body else 422, **body)
    assert words in str(found)
    assert count(few.store, Job) == 0


def test_a_split_that_cannot_be_fails_in_words(few: FewShot) -> None:
    few.upload()
    few.train(split={"validation": ["atlantis"]})
    unit = few.begun("learner", "one")
    with pytest.raises(Exception, match="atlantis"):
        KINDS["learner"].run(unit)


def test_an_api_process_without_a_worker_says_so(trained: FewShot) -> None:
    body = {"support": support(), "query": queries()}
    response = trained.client.post(f"{LEARNERS}/one/adapt", json=body)
    assert (response.status_code, response.json()["code"]) == (503, "no-worker")


def test_a_shelf_keeps_the_last_things() -> None:
    shelf, made = Shelf(), []
    for number in [*range(70), 69, 0]:
        shelf.get((str(number),), lambda number=number: made.append(number))  # type: ignore[misc]
    assert made == [*range(70), 0]
