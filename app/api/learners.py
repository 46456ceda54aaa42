"""Few-shot learners: meta-training jobs, how they stand, and judgements of them on other data."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Response
from pydantic import AfterValidator, Field

from app.api.dependencies import NAME_PATTERN, CallerDep, OnceDep, StoreDep, router_of
from app.api.jobs import JobName, JobOut, add_common_routes, address_of
from app.api.wire import Body
from app.db import artefacts, engine, jobs, uploads
from app.db.adaptations import DATASET, EVALUATION, LEARNER
from app.db.session import Store
from app.db.tables import Job, JobLine
from app.errors import FieldError, Invalid, NotTrainedYet
from app.fewshot.dataset import unpacked
from app.fewshot.spec import MethodName, spec_of
from app.fewshot.tunable import space_of
from app.services import submit

router = router_of(tags=["few-shot"])

LEARNERS, EVALUATIONS = "/v1/fewshot/learners", "/v1/fewshot/evaluations"
Names = Annotated[list[Annotated[str, Field(pattern=NAME_PATTERN)]], Field(min_length=1, max_length=16)]
Count = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


def _share(given: float | list[str]) -> float | list[str]:
    if isinstance(given, float) and not 0 <= given <= 0.9:
        raise ValueError(f"a share lies between 0 and 0.9, got {given}")
    return given


Part = Annotated[float | list[str], AfterValidator(_share)]


class SplitBody(Body):
    """Shares of the classes (`"by": "group"`: of the groups), or names: of groups if there are any, else of classes."""

    validation: Part = 0.2
    test: Part = 0.0
    by: Literal["class", "group"] = "class"


class Options(Body):
    """What a method leaves open; left out, it is chosen to suit the method."""

    width: Annotated[int | None, Field(ge=1, le=512)] = None
    training_ways: Annotated[int | None, Field(ge=2, le=200, description="Classes of the tasks it learns from")] = None
    training_shots: Count | None = None
    training_queries: Count | None = None
    tasks_per_update: Annotated[int | None, Field(ge=1, le=256)] = None
    learning_rate: Rate | None = None
    inner_rate: Annotated[Rate | None, Field(description="Of the steps that gradient-based learners adapt by")] = None
    inner_steps: Annotated[int | None, Field(ge=0, le=50)] = None
    adapt_steps: Annotated[int | None, Field(ge=0, le=200, description="Steps once it is trained")] = None
    first_order: bool | None = None
    distance: Literal["euclidean", "cosine"] | None = None
    head: Annotated[Literal["ridge", "svm"] | None, Field(description="Of metasvm, once it is trained")] = None
    networks: Annotated[int | None, Field(ge=1, le=8, description="Trained apart, in turns; they answer together")] = (
        None
    )


class Tune(Body):
    """A study of so many short trainings first; half of the episodes and seconds are for them."""

    trials: Annotated[int, Field(ge=1, le=200)] = 20


class LearnerBody(Body):
    name: Annotated[str | None, Field(pattern=NAME_PATTERN)] = None
    method: MethodName
    dataset: Annotated[str | Names, Field(description="Of `/v1/fewshot/datasets`; several are merged")]
    ways: Annotated[int, Field(ge=2, le=200, description="Classes of the tasks it is meant for")] = 5
    shots: Count = 1
    queries: Count = 5
    backbone: Literal["conv4", "mlp", "linear", "hog"] | None = None
    augment: Annotated[
        list[Literal["rotations", "mirrors", "distortions", "noise"]] | None,
        Field(
            description="`rotations` and `mirrors` of images are new classes. Left out: all but noise, of square images"
        ),
    ] = None
    split: SplitBody = SplitBody()
    episodes: Annotated[int, Field(ge=1, le=10_000_000, description="Tasks to learn from, at most")] = 20_000
    max_seconds: Annotated[float | None, Field(gt=0, le=1e7)] = None
    patience: Annotated[
        int, Field(ge=1, le=10_000, description="Judgements without a new best, then it comes to its end")
    ] = 20
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    options: Options = Options()
    tune: Annotated[
        Tune | None, Field(description="Lets a study find `options`, started ahead by what earlier learners taught")
    ] = None

    def stored(self) -> dict[str, Any]:
        body = self.model_dump(mode="json", exclude={"name"} if self.tune else {"name", "tune"})
        body["dataset"] = [self.dataset] if isinstance(self.dataset, str) else self.dataset
        body["options"] = {name: value for name, value in body["options"].items() if value is not None}
        return body


class LearnerOut(JobOut):
    method: str
    dataset: list[str]
    ways: int
    shots: int
    result: Annotated[
        dict[str, Any] | None,
        Field(
            description="Of the best so far: accuracy on held-out classes with its 95 % interval, the learning curve, "
            "and when it is done the baselines beside it; null before the first judgement"
        ),
    ]

    @classmethod
    def of(cls, job: Job, log: list[JobLine] | None = None) -> LearnerOut:
        named = {name: job.body[name] for name in ("method", "dataset", "ways", "shots")}
        return cls(**JobOut.fields_of(job, log), **named)


@router.post(LEARNERS, status_code=202, summary="Meta-train a learner")
def train_learner(body: LearnerBody, caller: CallerDep, store: StoreDep, once: OnceDep) -> LearnerOut:
    """A job: watch it under its name. The best learner so far works while it runs, and stays if it is cancelled."""
    stored = body.stored()
    _check(store, caller.project_id, stored)
    address = address_of(caller, LEARNER, body.name or submit.new_name(LEARNER))
    return LearnerOut.of(submit.submit(store, address, stored, engine.HEAVY, once).job)


def _check(store: Store, project_id: int, body: dict[str, Any]) -> None:
    """What can be told before a worker has it.  Raises: DatasetNotFound, Invalid."""
    with store.read(project_id) as session:
        found = [uploads.get(session, project_id, DATASET, name).summary for name in body["dataset"]]
    for summary, name in zip(found, body["dataset"], strict=True):
        if (summary["shape"], summary["kind"]) != (found[0]["shape"], found[0]["kind"]):
            raise Invalid(f"dataset {name!r} holds examples of another shape or kind; only equal ones can be merged")
    spec = spec_of(
        kind=found[0]["kind"],
        shape=found[0]["shape"],
        **{
            name: body[name]
            for name in ("method", "ways", "shots", "queries", "backbone", "augment", "seed", "options")
        },
    )
    if body.get("tune"):
        space_of(spec.method, spec.backbone, body["options"])
    n_classes = sum(summary["classes"] for summary in found)
    largest = max(summary["largest_class"] for summary in found)
    if spec.shots >= largest:
        detail = f"a task needs {spec.shots} examples and one more of each class, and none has more than {largest}"
        raise Invalid(detail, errors=[FieldError("/shots", detail)])
    if spec.kind == "classification" and spec.ways > 4 * n_classes:
        detail = f"tasks of {spec.ways} classes cannot be drawn from {n_classes}"
        raise Invalid(detail, errors=[FieldError("/ways", detail)])


add_common_routes(router, LEARNERS, LEARNER, LearnerOut)


@router.get(
    f"{LEARNERS}/{{name}}/model",
    summary="Download a learner",
    response_class=Response,
    responses={200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}},
)
def download_learner(name: JobName, caller: CallerDep, store: StoreDep) -> Response:
    """A zip of `weights.npz` and `learner.json`; 409 `not-trained-yet` before the first judgement."""
    with store.read(caller.project_id) as session:
        job = jobs.get(session, address_of(caller, LEARNER, name)).job
    if job.model_id is None:
        raise NotTrainedYet(f"learner {name!r} is {job.state} and has learnt nothing yet", state=job.state)
    about, arrays = unpacked(artefacts.read(store, caller.project_id, job.model_id))
    weights, whole = io.BytesIO(), io.BytesIO()
    np.savez(weights, allow_pickle=False, **arrays)
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("learner.json", json.dumps(about | {"result": job.result}, indent=1))
        archive.writestr("weights.npz", weights.getvalue())
    headers = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return Response(whole.getvalue(), media_type="application/zip", headers=headers)


class EvaluateBody(Body):
    name: Annotated[str | None, Field(pattern=NAME_PATTERN)] = None
    dataset: Annotated[str, Field(pattern=NAME_PATTERN)]
    ways: Annotated[int, Field(ge=2, le=200)] = 5
    shots: Count = 1
    queries: Count = 5
    episodes: Annotated[int, Field(ge=2, le=10_000)] = 600


class EvaluationOut(JobOut):
    learner: str
    dataset: str

    @classmethod
    def of(cls, job: Job, log: list[JobLine] | None = None) -> EvaluationOut:
        return cls(**JobOut.fields_of(job, log), learner=job.body["learner"], dataset=job.body["dataset"])


@router.post(f"{LEARNERS}/{{name}}/evaluate", status_code=202, summary="Judge a learner on another dataset")
def evaluate_learner(
    name: JobName, body: EvaluateBody, caller: CallerDep, store: StoreDep, once: OnceDep
) -> EvaluationOut:
    """A job: the accuracy on new tasks with its 95 % interval, beside the baselines'; at `/v1/fewshot/evaluations`."""
    with store.read(caller.project_id) as session:
        job = jobs.get(session, address_of(caller, LEARNER, name)).job
        uploads.get(session, caller.project_id, DATASET, body.dataset)
    if job.model_id is None:
        raise NotTrainedYet(f"learner {name!r} is {job.state} and has learnt nothing yet", state=job.state)
    stored = body.model_dump(mode="json", exclude={"name"}) | {"learner": name}
    address = address_of(caller, EVALUATION, body.name or submit.new_name(EVALUATION))
    return EvaluationOut.of(submit.submit(store, address, stored, engine.HEAVY, once).job)


add_common_routes(router, EVALUATIONS, EVALUATION, EvaluationOut)
