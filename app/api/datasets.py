"""Datasets of many classes, or of many regression tasks: uploads for few-shot learners and architecture searches."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import File, Form, Path, Request, Response, UploadFile
from pydantic import Field

from app.api.dependencies import NAME_PATTERN, CallerDep, StoreDep, router_of
from app.api.wire import After, Answer, Limit, Page, Time, cursor, read_cursor
from app.db import uploads
from app.db.adaptations import DATASET
from app.db.tables import Upload
from app.fewshot import reading
from app.services.forget import forget_dataset

router = router_of("/v1/fewshot/datasets", tags=["few-shot"])

DatasetName = Annotated[str, Path(pattern=NAME_PATTERN, description="The dataset's name")]


class DatasetOut(Answer):
    name: str
    kind: Annotated[str, Field(description="`classification`, or with a column `task`, `regression`")]
    examples: int
    shape: Annotated[list[int], Field(description="Of one example")]
    dtype: str
    classes: Annotated[int, Field(description="Or tasks of a regression")]
    smallest_class: int
    largest_class: int
    groups: int | None
    duplicates: Annotated[int, Field(description="Examples that are there twice, to the last bit")]
    created_at: Time

    @classmethod
    def of(cls, upload: Upload) -> DatasetOut:
        fields: dict[str, Any] = dict(upload.summary)
        return cls(name=upload.name, created_at=upload.created_at, **fields)


@router.post("", status_code=201, summary="Upload a dataset", response_model=DatasetOut)
def upload_dataset(
    request: Request,
    response: Response,
    caller: CallerDep,
    store: StoreDep,
    name: Annotated[str, Form(pattern=NAME_PATTERN, description="1–128 of A-Z a-z 0-9 . _ -")],
    file: Annotated[UploadFile, File(description="`.npz` (`x`, `y`, optional `group`, `task`), `.csv` or `.parquet`")],
) -> DatasetOut:
    """Classes form the meta-dataset: `y` says the class of each row of `x`, `group` for example its alphabet.

    With `task`, each named task is a regression of `y`. In tables every other column is a number of `x`. The same file
    again is 200; another one under the same name 409 `dataset-differs`.
    """
    most = request.app.state.settings.max_artefact_bytes
    found = reading.read(file.file, most=most)
    kept, is_new = uploads.keep(
        store, caller.project_id, DATASET, name, found.to_bytes(), found.summary(), most=most, by=caller.by
    )
    response.status_code = 201 if is_new else 200
    return DatasetOut.of(kept)


@router.get("", summary="List datasets")
def list_datasets(caller: CallerDep, store: StoreDep, limit: Limit = 100, after: After = None) -> Page[DatasetOut]:
    """By name."""
    last = None if after is None else read_cursor(after, str)[0]
    with store.read(caller.project_id) as session:
        found = uploads.page(session, caller.project_id, DATASET, after=last, limit=limit + 1)
        items = [DatasetOut.of(one) for one in found[:limit]]
    return Page(items=items, next=cursor(items[-1].name) if len(found) > limit else None)


@router.get("/{name}", summary="What is in a dataset")
def get_dataset(name: DatasetName, caller: CallerDep, store: StoreDep) -> DatasetOut:
    with store.read(caller.project_id) as session:
        return DatasetOut.of(uploads.get(session, caller.project_id, DATASET, name))


@router.delete("/{name}", status_code=204, summary="Delete a dataset")
def delete_dataset(name: DatasetName, caller: CallerDep, store: StoreDep) -> Response:
    """409 `dataset-in-use` while an unfinished job needs it."""
    forget_dataset(store, caller.project_id, name, by=caller.by)
    return Response(status_code=204)
