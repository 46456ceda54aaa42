"""Few-shot learners that are trained and tuned over HTTP, on both databases, as a worker's engine runs them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from app.db.tables import Artefact, Job
from app.fewshot.judge import Judgement
from app.fewshot.learner import Learner
from app.fewshot.training import Training
from app.worker.kinds import KINDS
from app.worker.unit import Cancelled, Unit
from tests.api.fewshot import DATASETS, LEARNERS, FewShot, clusters, count, npz, queries, support


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


def test_a_learner_is_judged_on_another_dataset(trained: FewShot) -> None:
    trained.upload("others", content=npz(**clusters(seed=3)))
    body = {"name": "shift", "dataset": "others", "ways": 4, "shots": 2, "episodes": 50}
    assert trained.call("POST", f"{LEARNERS}/one/evaluate", body, status=202)["state"] == "queued"
    done = trained.run("shift", "evaluation")
    assert done["result"]["tasks"] == 50
    assert done["result"]["judged_on"] == {"ways": 4, "shots": 2, "queries": 5}
    assert 0.25 < done["result"]["accuracy"] <= 1
    assert done["learner"] == "one"


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
