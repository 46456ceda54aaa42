"""Few-shot learners at work: adapt to a task, keep the adaptation, ask it, add to it.

A process with the worker role answers; an API process forwards to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request, Response
from pydantic import Field, model_validator

from app.api.dependencies import NAME_PATTERN, CallerDep, StoreDep, router_of
from app.api.forward import forward
from app.api.jobs import JobName, address_of
from app.api.wire import After, Answer, Body, Limit, Page, Time, cursor, read_cursor
from app.db import adaptations, jobs
from app.db.adaptations import LEARNER
from app.db.session import Store
from app.db.tables import Adaptation
from app.services import adapt as service

router = router_of("/v1/fewshot/learners/{name}", tags=["few-shot"])

AdaptationName = Annotated[str, Path(pattern=NAME_PATTERN, description="The adaptation's name")]
T = TypeVar("T")
Label = str | int | float | bool
Base64 = Annotated[str | None, Field(description="The same arrays as an .npz, in base64: smaller and faster")]


class Examples(Body):
    x: Annotated[list[Any] | None, Field(description="Nested lists, one per example")] = None
    npz: Base64 = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Examples:
        if (self.x is None) == (self.npz is None):
            raise ValueError("give x, or npz with an array x")
        return self


class LabelledExamples(Examples):
    y: Annotated[list[Any] | None, Field(description="The label of each; of a regression its value")] = None


class AdaptBody(Body):
    support: LabelledExamples
    query: Examples


class SupportBody(Body):
    support: LabelledExamples


class PredictBody(Body):
    query: Examples
    unknown_distance: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False, description="Farther than this from every class is `unknown`")
    ] = None


class TaskPrediction(Answer):
    label: Annotated[Label | None, Field(description="As it was given; null of a regression")]
    probabilities: dict[str, float] | None
    value: Annotated[float | None, Field(description="Of a regression")]
    distance: Annotated[float | None, Field(description="From the nearest class's mean, in the learner's features")]
    unknown: Annotated[
        bool | None, Field(description="Farther than 95 % of the examples of known classes were; null: not known yet")
    ]


class TaskPredictions(Answer):
    predictions: list[TaskPrediction]


class AdaptationOut(Answer):
    name: str
    learner: str
    examples: int
    labels: Annotated[list[Label], Field(description="Empty of a regression")]
    counts: Annotated[list[int], Field(description="Examples of each label")]
    created_at: Time
    changed_at: Time

    @classmethod
    def of(cls, learner: str, row: Adaptation) -> AdaptationOut:
        summary: dict[str, Any] = dict(row.summary)
        return cls(name=row.name, learner=learner, created_at=row.created_at, changed_at=row.changed_at, **summary)


@dataclass(frozen=True)
class LearnerCall:
    """A call about one learner: a process with the worker role answers it, an API process forwards it to one."""

    request: Request
    store: Store
    address: jobs.Address
    content: bytes

    def answered(self, answer: Callable[[Store, jobs.Address], T]) -> T | Response:
        """Raises: JobNotFound, NoWorker, and what the answer raises."""
        if self.request.app.state.is_worker:
            return answer(self.store, self.address)
        with self.store.read(self.address.project_id) as session:
            jobs.get(session, self.address)  # that there is no such learner needs no worker
        return forward(self.request, self.store, self.content)


async def learner_call(request: Request, name: JobName, caller: CallerDep, store: StoreDep) -> LearnerCall:
    return LearnerCall(request, store, address_of(caller, LEARNER, name), await request.body())


LearnerCallDep = Annotated[LearnerCall, Depends(learner_call)]


def _predictions(found: list[service.Answer]) -> TaskPredictions:
    return TaskPredictions(predictions=[TaskPrediction.model_validate(one) for one in found])


@router.post("/adapt", summary="Adapt to a task and predict", response_model=TaskPredictions)
def adapt_learner(body: AdaptBody, call: LearnerCallDep) -> Any:
    """Support set in, predictions for the queries out; nothing is kept. Any number of classes and examples of each."""
    support, query = body.support.model_dump(), body.query.model_dump()
    return call.answered(lambda store, address: _predictions(service.adapt(store, address, support, query)))


@router.put("/adaptations/{adaptation}", summary="Keep an adaptation", response_model=AdaptationOut)
def keep_adaptation(adaptation: AdaptationName, body: SupportBody, call: LearnerCallDep, response: Response) -> Any:
    """The support set under a name; 201 if it is new, else in place of the one before."""

    def kept(store: Store, address: jobs.Address) -> AdaptationOut:
        row, is_new = service.keep(store, address, adaptation, body.support.model_dump())
        response.status_code = 201 if is_new else 200
        return AdaptationOut.of(address.name, row)

    return call.answered(kept)


@router.post("/adaptations/{adaptation}/predict", summary="Predict with an adaptation", response_model=TaskPredictions)
def predict_with_adaptation(adaptation: AdaptationName, body: PredictBody, call: LearnerCallDep) -> Any:
    query, limit = body.query.model_dump(), body.unknown_distance
    return call.answered(lambda store, address: _predictions(service.predict(store, address, adaptation, query, limit)))


@router.patch("/adaptations/{adaptation}/support", summary="Add classes or examples", response_model=AdaptationOut)
def extend_adaptation(adaptation: AdaptationName, body: SupportBody, call: LearnerCallDep) -> Any:
    support = body.support.model_dump()
    return call.answered(
        lambda store, address: AdaptationOut.of(address.name, service.extend(store, address, adaptation, support))
    )


@router.get("/adaptations", summary="List a learner's adaptations")
def list_adaptations(
    name: JobName, caller: CallerDep, store: StoreDep, limit: Limit = 100, after: After = None
) -> Page[AdaptationOut]:
    """By name."""
    last = None if after is None else read_cursor(after, str)[0]
    with store.read(caller.project_id) as session:
        learner = jobs.get(session, address_of(caller, LEARNER, name))
        found = adaptations.page(session, learner, after=last, limit=limit + 1)
        items = [AdaptationOut.of(name, row) for row in found[:limit]]
    return Page(items=items, next=cursor(items[-1].name) if len(found) > limit else None)


@router.get("/adaptations/{adaptation}", summary="What an adaptation has learnt from")
def get_adaptation(name: JobName, adaptation: AdaptationName, caller: CallerDep, store: StoreDep) -> AdaptationOut:
    with store.read(caller.project_id) as session:
        learner = jobs.get(session, address_of(caller, LEARNER, name))
        return AdaptationOut.of(name, adaptations.get(learner, adaptation))


@router.delete("/adaptations/{adaptation}", status_code=204, summary="Delete an adaptation")
def delete_adaptation(name: JobName, adaptation: AdaptationName, caller: CallerDep, store: StoreDep) -> Response:
    with store.write(caller.project_id) as session:
        learner = jobs.get(session, address_of(caller, LEARNER, name), lock=True)
        adaptations.remove(learner, adaptations.get(learner, adaptation, lock=True))
    return Response(status_code=204)
