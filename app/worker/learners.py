"""Meta-training jobs, and judgements of learners on other data.

A training goes in rounds: updates, a judgement on classes that it does not train on, a checkpoint. The best learner so
far is published with each, so that a cancelled training keeps it, and a running one can already be used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from app.db import artefacts, jobs, uploads
from app.db.adaptations import DATASET, LEARNER
from app.db.jobs import Address
from app.db.session import Store
from app.errors import Invalid, NotTrainedYet
from app.fewshot import dataset as datasets
from app.fewshot.dataset import Dataset, packed, unpacked
from app.fewshot.judge import Judgement, Tasks, baselines, judged
from app.fewshot.learner import FORMAT, Learner
from app.fewshot.spec import LearnerSpec, spec_of
from app.fewshot.split import Split, SplitRule, split
from app.fewshot.tasks import Pool
from app.fewshot.training import Training, widened
from app.worker.tuning import SHARE as TUNING_SHARE
from app.worker.tuning import Found, tuned
from app.worker.unit import Done, Unit

TASKS_PER_ROUND = 200  # that it learns from between two judgements
TASKS_OF_A_JUDGEMENT = 100
TASKS_OF_THE_LAST = 600
CHECK_SECONDS = 1.0
LANDING = 1 / 3  # of what it learnt until its patience was over: so long the rate goes on to fall
JUDGE_SEED = 0x1D6E


def train(unit: Unit) -> Done:
    """Meta-trains a learner: `app.api.learners` says what the body holds."""
    body = unit.body
    data = load(unit.store, unit.project_id, body["dataset"])
    parts = split(data, rule_of(body["split"]), body["seed"])

    def pools_with(options: Mapping[str, Any]) -> Pools:
        spec = spec_with(body, data, options)
        return Pools(data, parts, spec, are_ways_given="training_ways" in body["options"])

    found = tuned(unit, pools_with) if body.get("tune") else None
    course = Course(unit, pools_with(found.options if found else {}), found)
    course.restore(unit.saved())
    while not course.is_over():
        course.round()
    return course.finished()


class Pools:
    """Where tasks are drawn from, which tasks a learner is judged on, and the learner that these classes allow."""

    def __init__(self, data: Dataset, parts: Split, spec: LearnerSpec, *, are_ways_given: bool) -> None:
        self.data, self.parts = data, parts
        self.train = data.pool(parts.train).without_scarce(spec.training_shots + spec.training_queries)
        self.validation, self.tasks = judged_on(data.pool(parts.validation), spec)
        n_classes = widened(self.train, spec.augment).n_classes
        if spec.is_trained and n_classes < spec.training_ways:
            if are_ways_given or n_classes < 2:
                raise Invalid(
                    f"training draws tasks of {spec.training_ways} classes with {spec.training_shots} + "
                    f"{spec.training_queries} examples each, and {self.train.n_classes} training classes have as "
                    "many; ask for less in `options`, or upload more"
                )
            spec = replace(spec, training_ways=n_classes)
        self.spec = spec

    def shared(self) -> int:
        """Examples of validation and test that are also there to train on."""
        return self.data.n_shared((*self.parts.validation, *self.parts.test), self.parts.train)


def judged_on(pool: Pool, spec: LearnerSpec, n_episodes: int = TASKS_OF_A_JUDGEMENT) -> tuple[Pool, Tasks]:
    """Tasks as the learner is meant for, or as near as the pool allows."""
    enough = pool.without_scarce(spec.shots + 1)
    if not enough.n_classes:
        raise Invalid(f"no class that is held out has {spec.shots} examples to learn from and one to be judged on")
    ways = min(spec.ways, enough.n_classes)
    queries = min(spec.queries, enough.smallest - spec.shots)
    return enough, Tasks(ways, spec.shots, queries, n_episodes, JUDGE_SEED)


class Course:
    """One training from its first update to its last, over however many attempts."""

    def __init__(self, unit: Unit, pools: Pools, found: Found | None) -> None:
        self.unit, self.spec, self.pools, self.found = unit, pools.spec, pools, found
        share = 1.0 if found is None else 1.0 - TUNING_SHARE
        self.done_before = 1.0 - share
        self.n_episodes: int = max(1, round(share * unit.body["episodes"]))
        most: float | None = unit.body["max_seconds"]
        self.max_seconds = share * most if most else None
        self.training = Training(pools.spec, pools.train)
        self.curve: list[dict[str, Any]] = []
        self.best: Learner | None = None
        self.best_score, self.since_best, self.seconds = 0.0, 0, 0.0
        self.is_landing = False
        self.started_at, self.checked_at = time.monotonic(), time.monotonic()

    def restore(self, checkpoint: bytes | None) -> None:
        if checkpoint is None:
            return
        about, arrays = unpacked(checkpoint)
        if about.get("format") != FORMAT:  # of another version, which computed with its weights differently
            return
        self.best = Learner.from_bytes(arrays.pop("best").tobytes())
        self.curve, self.seconds = about["curve"], about["seconds"]
        self.best_score, self.since_best = about["best_score"], about["since_best"]
        self.n_episodes, self.is_landing = about["n_episodes"], about["is_landing"]
        self.training.restore(arrays)

    def elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.started_at

    def fraction(self) -> float:
        """Of the training itself."""
        done = self.training.n_episodes / self.n_episodes
        return min(1.0, max(done, self.elapsed() / self.max_seconds if self.max_seconds else 0.0))

    def progress(self) -> float:
        """Of the job; what is left after it is the last judgement."""
        return self.done_before + (0.98 - self.done_before) * self.fraction()

    def is_over(self) -> bool:
        if not self.spec.is_trained:
            return bool(self.curve)
        return bool(self.curve) and self.fraction() >= 1

    def round(self) -> None:
        """Until the next judgement; stops within an update if the time is up, within a second if it is cancelled."""
        losses: list[float] = []
        n_left_out = 0
        goal = min(self.training.n_episodes + TASKS_PER_ROUND, self.n_episodes)
        while self.spec.is_trained and self.training.n_episodes < goal and (fraction := self.fraction()) < 1:
            loss = self.training.advance(1, fraction)
            if math.isfinite(loss):
                losses.append(loss)
            else:
                n_left_out += 1
            if time.monotonic() - self.checked_at > CHECK_SECONDS:
                self.unit.progress(self.progress())
                self.checked_at = time.monotonic()
        if n_left_out:
            self.unit.progress(self.progress(), f"{n_left_out} updates had no finite slope, and changed nothing")
        self._judge(sum(losses) / len(losses) if losses else None)

    def _judge(self, loss: float | None) -> None:
        learner = self.training.learner()
        judgement, known_distance = judged(learner, self.pools.validation, self.pools.tasks)
        is_better = self.best is None or self._is_better(judgement)
        self.since_best = 0 if is_better else self.since_best + 1
        if self.since_best >= self.unit.body["patience"] and not self.is_landing:
            self._land()
        if is_better:
            self.best, self.best_score = replace(learner, known_distance=known_distance), judgement.mean
        point = {
            "episodes": self.training.n_episodes,
            "seconds": round(self.elapsed(), 3),
            "loss": loss,
            **described(judgement, self.spec.kind),
        }
        self.curve.append(point)
        assert self.best is not None  # noqa: S101  (set above)
        about = {
            "curve": self.curve,
            "seconds": self.elapsed(),
            "best_score": self.best_score,
            "since_best": self.since_best,
            "n_episodes": self.n_episodes,
            "is_landing": self.is_landing,
            "format": FORMAT,
        }
        best = self.best.to_bytes()
        self.unit.save(packed(about, self.training.checkpoint() | {"best": _bytes(best)}), self.progress())
        if is_better:
            self.unit.publish(self._result(judgement), best)

    def _land(self) -> None:
        """Ends soon, but not at once: what it learnt at a high rate is worth more after a low one."""
        self.is_landing = True
        self.n_episodes = min(self.n_episodes, round((1 + LANDING) * self.training.n_episodes))

    def _is_better(self, judgement: Judgement) -> bool:
        """The last one has the fallen rate in it, which few tasks may not show: it need only not be clearly worse."""
        gain = (judgement.mean - self.best_score) * (-1 if self.spec.kind == "regression" else 1)
        is_last = self.spec.is_trained and self.fraction() >= 1
        return gain > -judgement.half_width if is_last else gain > 0

    def _result(self, judgement: Judgement) -> dict[str, Any]:
        tasks = self.pools.tasks
        return {
            **described(judgement, self.spec.kind),
            "engine": "jax" if self.spec.is_trained else "numpy",
            "episodes": self.training.n_episodes,
            "seconds": round(self.elapsed(), 3),
            "spec": asdict(self.spec),
            "judged_on": {"ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries},
            "classes": {part: len(numbers) for part, numbers in asdict(self.pools.parts).items()},
            "duplicates_across_splits": self.pools.shared(),
            "curve": self.curve,
            "tune": None if self.found is None else asdict(self.found),
        }

    def finished(self) -> Done:
        """The best learner on many more tasks, beside what needs no meta-training."""
        assert self.best is not None  # noqa: S101  (a round came before)
        tasks = replace(self.pools.tasks, n_episodes=TASKS_OF_THE_LAST)
        judgement, known_distance = judged(self.best, self.pools.validation, tasks)
        self.unit.check()
        best = replace(self.best, known_distance=known_distance)
        result = self._result(judgement) | compared(self.pools.train, self.pools.validation, tasks, judgement)
        if self.pools.parts.test:
            pool, test_tasks = judged_on(self.pools.data.pool(self.pools.parts.test), self.spec, TASKS_OF_THE_LAST)
            result["test"] = described(judged(best, pool, test_tasks)[0], self.spec.kind)
        return Done(result, best.to_bytes())


def compared(train: Pool, pool: Pool, tasks: Tasks, judgement: Judgement) -> dict[str, Any]:
    """The baselines on the same tasks, and whether the learner beats them all."""
    found = baselines(train, pool, replace(tasks, n_episodes=min(tasks.n_episodes, TASKS_OF_A_JUDGEMENT)))
    kind = "classification" if pool.targets is None else "regression"
    means = [one.mean for one in found.values()]
    beats = judgement.mean < min(means) if kind == "regression" else judgement.mean > max(means)
    return {"baselines": {name: described(one, kind) for name, one in found.items()}, "beats_baselines": bool(beats)}


def described(judgement: Judgement, kind: str) -> dict[str, Any]:
    """A judgement on the wire."""
    low, high = judgement.mean - judgement.half_width, judgement.mean + judgement.half_width
    name = "squared_error" if kind == "regression" else "accuracy"
    return {name: judgement.mean, "interval": [low, high], "tasks": judgement.n_episodes}


def evaluate(unit: Unit) -> Done:
    """A learner on tasks of another dataset."""
    body = unit.body
    learner = Learner.from_bytes(model_of(unit.store, unit.project_id, body["learner"]))
    data = load(unit.store, unit.project_id, [body["dataset"]])
    if data.shape != learner.shape or data.kind != learner.spec.kind:
        raise Invalid(
            f"learner {body['learner']!r} reads {learner.spec.kind} examples of the shape {list(learner.shape)}, "
            f"dataset {body['dataset']!r} holds {data.kind} ones of {list(data.shape)}"
        )
    asked = replace(learner.spec, ways=body["ways"], shots=body["shots"], queries=body["queries"])
    pool, tasks = judged_on(data.pool(range(len(data.names))), asked, body["episodes"])
    unit.progress(0.1, f"{tasks.n_episodes} tasks of {tasks.ways} ways and {tasks.shots} shots")
    judgement, _ = judged(learner, pool, tasks)
    unit.check()
    found = compared(pool, pool, tasks, judgement)
    asked_for = {"ways": tasks.ways, "shots": tasks.shots, "queries": tasks.queries}
    return Done({**described(judgement, learner.spec.kind), "judged_on": asked_for, **found})


def load(store: Store, project_id: int, names: list[str]) -> Dataset:
    """One dataset, or several merged.  Raises: DatasetNotFound, Invalid."""
    with store.read(project_id) as session:
        ids = [uploads.get(session, project_id, DATASET, name).artefact_id for name in names]
    found = [Dataset.from_bytes(artefacts.read(store, project_id, one)) for one in ids]
    return found[0] if len(found) == 1 else datasets.merged(found, names)


def model_of(store: Store, project_id: int, name: str) -> bytes:
    """Raises: JobNotFound, NotTrainedYet."""
    with store.read(project_id) as session:
        job = jobs.get(session, Address(project_id, LEARNER, name)).job
    if job.model_id is None:
        raise NotTrainedYet(f"learner {name!r} is {job.state} and has learnt nothing yet", state=job.state)
    return artefacts.read(store, project_id, job.model_id)


def spec_with(body: Mapping[str, Any], data: Dataset, options: Mapping[str, Any]) -> LearnerSpec:
    """As the body says, with these options too."""
    names = ("method", "ways", "shots", "queries", "backbone", "augment", "seed")
    asked = {name: body[name] for name in names}
    return spec_of(kind=data.kind, shape=data.shape, options={**options, **body["options"]}, **asked)


def rule_of(asked: Mapping[str, Any]) -> SplitRule:
    """As it lies in the body, where tuples are lists."""
    shares = {name: tuple(one) if isinstance(one := asked[name], list) else one for name in ("validation", "test")}
    return SplitRule(**shares, by_group=asked["by"] == "group")


def _bytes(content: bytes) -> Any:
    return np.frombuffer(content, dtype=np.uint8)
