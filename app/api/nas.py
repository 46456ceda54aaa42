"""Architecture search: submit it, watch it, see what it found, download the network, ask it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import File, Form, Path, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field, WithJsonSchema

from app.api.dependencies import NAME_PATTERN, CallerDep, OnceDep, StoreDep, router_of
from app.api.forward import forward
from app.api.jobs import JobName, JobOut, add_common_routes, address_of
from app.api.wire import After, Answer, Body, Limit, Page, Time, cursor, read_cursor
from app.db import artefacts, engine, jobs, uploads
from app.db.jobs import OpenJob
from app.db.keys import Caller
from app.db.session import Store
from app.db.tables import Job, JobLine, Upload
from app.errors import DatasetInUse, FieldError, Invalid, NoResultYet, NotTrained
from app.lifecycle import UNFINISHED
from app.nas import table as tables
from app.nas.graphs import drawing
from app.nas.plan import Plan
from app.nas.spaces import FIELDS
from app.nas.strategies import NAMES
from app.nas.table import Lookup
from app.nas.weights import ONNX_FILE
from app.services import inspect_search, outsource, submit
from app.services.basis import settle
from app.services.examples import shape_of, source_of
from app.services.inspect_search import Found

router = router_of("/v1/nas", tags=["architecture search"])

KIND, TABLE = "search", "table"
MAX_EVALUATIONS = 100_000
MAX_EXAMPLES = 10_000
Penalty = Annotated[
    float | None, Query(ge=0, allow_inf_nan=False, description="Rank by this penalty, without running anything again")
]
#: Read by `app.nas.spaces.space_from_json`, whose messages name the place.
SpaceIn = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "required": ["type"], "properties": {"type": {"enum": list(FIELDS)}}}),
]
StrategyIn = Annotated[
    dict[str, Any] | str,
    WithJsonSchema({"type": "object", "required": ["name"], "properties": {"name": {"enum": list(NAMES)}}}),
]


class Evaluator(Body):
    name: Literal["train", "table", "external"]
    dataset: Annotated[
        str, Field(max_length=128, description="Of `train` and `external`: digits, or one of /v1/fewshot/datasets")
    ] = "digits"
    shape: Annotated[
        list[Annotated[int, Field(ge=1, le=65_536)]] | None,
        Field(min_length=1, max_length=3, description="Of `external`, instead of `dataset`: of one of your examples"),
    ] = None
    classes: Annotated[int | None, Field(ge=2, le=1_000_000, description="Of `external`, with `shape`")] = None
    epochs: Annotated[int, Field(ge=1, le=10_000, description="Of `train`; of `external` with `halving`")] = 5
    patience: Annotated[int | None, Field(ge=1, le=10_000, description="Of `train`: epochs without improvement")] = None
    table: Annotated[str | None, Field(pattern=NAME_PATTERN, description="Of `table`: an uploaded one")] = None


class Reward(Body):
    metric: Literal["accuracy"] = "accuracy"
    complexity: Literal["parameters", "flops", "latency"] = "parameters"
    penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Budget(Body):
    evaluations: Annotated[int, Field(ge=1, le=MAX_EVALUATIONS, description="Trainings, repeats included")] = 100
    max_seconds: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    parallel: Annotated[int, Field(ge=1, le=1024)] = 1


class NewSearch(Body):
    name: Annotated[str | None, Field(pattern=NAME_PATTERN)] = None
    space: SpaceIn
    strategy: StrategyIn = Field(default_factory=lambda: {"name": "auto"})
    evaluator: Evaluator
    reward: Reward = Field(default_factory=Reward)
    budget: Budget = Field(default_factory=Budget)
    warm_start: Annotated[
        Literal["auto", "off"] | Annotated[list[Annotated[str, Field(pattern=NAME_PATTERN)]], Field(max_length=8)],
        Field(description="Start from what earlier searches over the same space found best: auto, off, or their names"),
    ] = "off"
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "digits-cells",
                    "space": {"type": "cell", "nodes": 4, "max_parameters": 200_000},
                    "strategy": {"name": "evolution", "population": 20, "sample": 5},
                    "evaluator": {"name": "train", "dataset": "digits", "epochs": 5},
                    "reward": {"metric": "accuracy", "complexity": "parameters", "penalty": 0.05},
                    "budget": {"evaluations": 100, "max_seconds": 3600, "parallel": 2},
                    "seed": 7,
                }
            ]
        }
    )

    def whole(self) -> dict[str, Any]:
        """With every setting in it, so that the same search said differently is the same."""
        said = self.model_dump(exclude={"name"})
        plan = Plan.of(said)
        if said["warm_start"] == "off":  # as in the bodies of searches that older versions took
            del said["warm_start"]
        return {**said, "space": plan.space.to_json(), "strategy": plan.strategy.to_json()}


class Lent(Answer):
    """An architecture that is tried first, since it was among the best of an earlier search."""

    key: str
    search: str


class SearchOut(JobOut):
    space: dict[str, Any]
    strategy: dict[str, Any]
    evaluator: dict[str, Any]
    reward: dict[str, Any]
    budget: dict[str, Any]
    warm_start: str | list[str] = "off"
    seed: int
    lent: Annotated[list[Lent], Field(description="What earlier searches put first, settled at submission")]

    @classmethod
    def of(cls, job: Job, log: list[JobLine] | None = None) -> SearchOut:
        lent = [] if job.basis is None else job.basis["lent"]
        return cls(**cls.fields_of(job, log), **job.body, lent=lent)


@router.post("/searches", status_code=202, summary="Submit a search", responses={200: {"model": SearchOut}})
def submit_search(body: NewSearch, caller: CallerDep, store: StoreDep, once: OnceDep, response: Response) -> SearchOut:
    """202 when new, 200 when it is there with the same body, 409 `job-differs` otherwise.

    With the evaluator `external` a study of the same name is made: ask it for architectures, tell it their accuracy.
    """
    whole = body.whole()
    check(store, caller, Plan.of(whole))
    address = address_of(caller, KIND, body.name or submit.new_name(KIND))
    submitted = submit.submit(store, address, whole, engine.LIGHT, once, _beside)
    response.status_code = 202 if submitted.created else 200
    response.headers["Location"] = f"/v1/nas/searches/{submitted.job.name}"
    return SearchOut.of(submitted.job)


def _beside(here: OpenJob) -> None:
    """What a new search needs in the transaction that makes it."""
    settle(here)
    if here.job.body["evaluator"]["name"] == "external":
        outsource.begin(here)


def check(store: Store, caller: Caller, plan: Plan) -> None:
    """That there is something to search, before a worker finds out.  Raises: Invalid, DatasetNotFound."""
    if plan.evaluator["name"] == "table":
        if plan.evaluator["table"] is None:
            raise Invalid(
                "the evaluator `table` needs the name of one; upload it with POST /v1/nas/tables",
                errors=[FieldError("/evaluator/table", "is missing")],
            )
        lookup = Lookup.of(load_table(store, caller, plan.evaluator["table"]), plan.space)
        plan.problem_of_table(lookup).check()
    else:
        with store.read(caller.project_id) as session:
            source = source_of(session, caller.project_id, plan.evaluator)
            shape, n_classes = shape_of(session, caller.project_id, plan.evaluator, source)
        plan.problem_of_networks(shape, n_classes).check()


def load_table(store: Store, caller: Caller, name: str) -> tables.Table:
    with store.read(caller.project_id) as session:
        upload = uploads.get(session, caller.project_id, TABLE, name)
    return tables.read(artefacts.read(store, caller.project_id, upload.artefact_id), str(upload.summary["file"]))


add_common_routes(router, "/searches", KIND, SearchOut)


# --- what it found ----------------------------------------------------------------------------------------------


class EvaluationOut(Answer):
    number: int
    state: str
    value: float | None
    epochs: int | None
    curve: Annotated[list[float] | None, Field(description="Accuracy after each epoch")]
    error: str | None


class ArchitectureOut(Answer):
    key: Annotated[str, Field(description="Equal for isomorphic architectures")]
    architecture: dict[str, Any]
    complexity: Annotated[float, Field(description="In [0, 1] over the space")]
    parameters: float
    mean: Annotated[float | None, Field(description="What the model believes the metric to be")]
    deviation: float | None
    reward: float | None
    evaluations: list[EvaluationOut]

    @classmethod
    def of(cls, found: Found) -> ArchitectureOut:
        return cls.model_validate(found)


@router.get("/searches/{name}/architectures", summary="Every architecture with its evaluations")
def list_architectures(
    name: JobName, caller: CallerDep, store: StoreDep, penalty: Penalty = None, limit: Limit = 100, after: After = None
) -> Page[ArchitectureOut]:
    """Distinct ones, best reward first; a snapshot."""
    start = 0 if after is None else read_cursor(after, int)[0]
    found = inspect_search.inspect(store, address_of(caller, KIND, name), penalty).found
    items = [ArchitectureOut.of(one) for one in found[start : start + limit]]
    return Page(items=items, next=cursor(start + limit) if len(found) > start + limit else None)


ArchitectureKey = Annotated[str, Path(pattern=r"^[0-9]{1,5}(-[0-9]{1,5})*$", max_length=1000)]


class SearchFront(Answer):
    items: Annotated[list[ArchitectureOut], Field(description="Metric against complexity, the smallest first")]
    best: Annotated[ArchitectureOut | None, Field(description="By reward: metric − penalty · complexity")]


@router.get("/searches/{name}/pareto", summary="The front of metric against complexity")
def search_pareto(name: JobName, caller: CallerDep, store: StoreDep, penalty: Penalty = None) -> SearchFront:
    found = inspect_search.inspect(store, address_of(caller, KIND, name), penalty)
    best = None if found.best is None else ArchitectureOut.of(found.best)
    return SearchFront(items=[ArchitectureOut.of(one) for one in found.front], best=best)


@router.get(
    "/searches/{name}/architectures/{architecture}/drawing",
    summary="An architecture as SVG",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}}},
)
def draw_architecture(name: JobName, architecture: ArchitectureKey, caller: CallerDep, store: StoreDep) -> Response:
    inspected = inspect_search.inspect(store, address_of(caller, KIND, name))
    genes = next((one.genes for one in inspected.found if one.key == architecture), None)
    if genes is None:
        raise NoResultYet(f"search {name!r} has evaluated no architecture {architecture!r}")
    return Response(drawing(inspected.plan.space.graph(genes)), media_type="image/svg+xml")


# --- the network ------------------------------------------------------------------------------------------------


def _model_of(store: Store, caller: Caller, name: str) -> str:
    """The artefact's id.  Raises: JobNotFound, Conflict."""
    with store.read(caller.project_id) as session:
        job = jobs.get(session, address_of(caller, KIND, name)).job
    if job.model_id is None:
        why = "is not trained yet" if job.state in UNFINISHED else f"is {job.state} and has no network"
        raise NotTrained(f"search {name!r} {why}; GET /v1/nas/searches/{name} tells how it stands")
    return job.model_id


@router.get(
    "/searches/{name}/model",
    summary="The best network, trained again",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                media: {"schema": {"type": "string", "format": "binary"}}
                for media in ("application/zip", "application/octet-stream")
            }
        }
    },
)
def download_model(
    name: JobName, caller: CallerDep, store: StoreDep, format: Annotated[Literal["zip", "onnx"], Query()] = "zip"
) -> Response:
    """A zip of weights.npz, network.json and network.onnx, or the last alone; 409 until it is trained again."""
    model_id = _model_of(store, caller, name)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format}"'}
    if format == "zip":
        content = artefacts.pieces(store, caller.project_id, model_id)
        return StreamingResponse(content, media_type="application/zip", headers=headers)
    with zipfile.ZipFile(io.BytesIO(artefacts.read(store, caller.project_id, model_id))) as file:
        if ONNX_FILE not in file.namelist():
            raise NotTrained(f"search {name!r} was trained before networks were exported as ONNX; search again")
        return Response(file.read(ONNX_FILE), media_type="application/octet-stream", headers=headers)


class Predict(Body):
    x: Annotated[list[Any], Field(min_length=1, max_length=MAX_EXAMPLES, description="Examples, in their own units")]


class Predicted(Answer):
    label: Any
    probabilities: dict[str, float]


class Predictions(Answer):
    predictions: list[Predicted]


@router.post("/searches/{name}/predict", summary="Ask the network", response_model=Predictions)
def predict(name: JobName, body: Predict, request: Request, caller: CallerDep, store: StoreDep) -> Any:
    """Answered by a process with the worker role; 503 `no-worker` if none is alive."""
    model_id = _model_of(store, caller, name)
    if not request.app.state.is_worker:
        return forward(request, store, body.model_dump_json().encode())
    from app.nas.weights import Trained

    trained = Trained.unpack(artefacts.read(store, caller.project_id, model_id))
    return Predictions(predictions=_predictions(trained.labels, trained.probabilities(_array(body.x))))


def _array(x: list[Any]) -> Any:
    try:
        return np.array(x, dtype=np.float32)
    except (ValueError, TypeError) as problem:
        raise Invalid(
            "x is a list of examples of numbers, all of one shape", errors=[FieldError("/x", "is no array of numbers")]
        ) from problem


def _predictions(labels: Sequence[Any], probabilities: Any) -> list[Predicted]:
    return [
        Predicted(
            label=labels[int(row.argmax())],
            probabilities={str(label): float(p) for label, p in zip(labels, row, strict=True)},
        )
        for row in probabilities
    ]


# --- tables -----------------------------------------------------------------------------------------------------


class TableOut(Answer):
    name: str
    rows: int
    genes: int
    repeats: int
    measures: list[str]
    best: float
    created_at: Time

    @classmethod
    def of(cls, upload: Upload) -> TableOut:
        known = {name: upload.summary[name] for name in ("rows", "genes", "repeats", "measures", "best")}
        return cls(name=upload.name, created_at=upload.created_at, **known)


@router.post("/tables", status_code=201, summary="Upload a table", responses={200: {"model": TableOut}})
def upload_table(
    request: Request,
    caller: CallerDep,
    store: StoreDep,
    response: Response,
    name: Annotated[str, Form(pattern=NAME_PATTERN)],
    file: Annotated[UploadFile, File(description="csv or npz of evaluated architectures")],
) -> TableOut:
    """For the evaluator `table`. The same content again is 200, another under the name 409 `dataset-differs`."""
    content = file.file.read()
    kind = "table.csv" if (file.filename or "").lower().endswith(".csv") else "table.npz"
    summary = {**tables.read(content, kind).summary(), "file": kind}
    upload, is_new = uploads.keep(
        store,
        caller.project_id,
        TABLE,
        name,
        content,
        summary,
        most=request.app.state.settings.max_artefact_bytes,
        by=caller.by,
    )
    response.status_code = 201 if is_new else 200
    return TableOut.of(upload)


@router.get("/tables", summary="List tables")
def list_tables(caller: CallerDep, store: StoreDep, limit: Limit = 100, after: After = None) -> Page[TableOut]:
    """By name."""
    last = None if after is None else read_cursor(after, str)[0]
    with store.read(caller.project_id) as session:
        found = uploads.page(session, caller.project_id, TABLE, after=last, limit=limit + 1)
    items = [TableOut.of(one) for one in found[:limit]]
    return Page(items=items, next=cursor(items[-1].name) if len(found) > limit else None)


@router.delete("/tables/{name}", status_code=204, summary="Delete a table")
def delete_table(name: JobName, caller: CallerDep, store: StoreDep) -> Response:
    """409 `dataset-in-use` while a search on it is queued or running."""
    with store.write(caller.project_id) as session:
        upload = uploads.get(session, caller.project_id, TABLE, name)
        for job in jobs.unfinished_of(session, caller.project_id, KIND):
            if job.body["evaluator"].get("table") == name:
                raise DatasetInUse(f"table {name!r} is in use by search {job.name!r}, which is {job.state}")
        uploads.remove(session, upload, by=caller.by)
    return Response(status_code=204)
