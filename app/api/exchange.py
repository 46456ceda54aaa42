"""A study out of the server and in again: export, import, copy."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.api.dependencies import NAME_PATTERN, AddressDep, CallerDep, OnceDep, StoreDep, address_of, router_of
from app.api.studies import StudyOut
from app.api.trials import with_uid
from app.api.wire import Body, Uid
from app.db.reclaim import reading
from app.db.studies import Address
from app.errors import NotAvailableYet
from app.services import exchange
from app.services.exchange import StudyDocument

router = router_of("/v1/studies", tags=["exchange"])

NewName = Annotated[str | None, Query(pattern=NAME_PATTERN, description="Import under this name instead")]


@router.get(
    "/{study}/export",
    summary="Export a study",
    response_model=StudyDocument,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def export_study(
    address: AddressDep, store: StoreDep, format: Annotated[Literal["json", "csv", "parquet"], Query()] = "json"
) -> Response:
    """json: everything but the lease tokens, imports back to the same study. csv: one line a trial."""
    if format == "parquet":
        raise NotAvailableYet("format=parquet is not available yet; there are json, csv")
    with reading(store, address):
        pass  # leases that ran out are counted first
    whole = exchange.export(store, address)
    if format == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{whole.name}.csv"'}
        return StreamingResponse(exchange.csv_lines(whole), media_type="text/csv; charset=utf-8", headers=headers)
    return JSONResponse(whole.model_dump(mode="json"))


@router.post("/import", status_code=201, summary="Import an exported study")
def import_study(
    body: StudyDocument, caller: CallerDep, store: StoreDep, once: OnceDep, name: NewName = None
) -> StudyOut:
    """The same study, the same numbers, all or nothing; 409 `name-taken` if the name exists."""
    here = exchange.import_study(store, address_of(caller, name or body.name), body, once=once)
    with reading(store, Address(caller.project_id, here.study.name)) as opened:
        return StudyOut.of(opened)


class CopyBody(Body):
    name: Annotated[str, Query(pattern=NAME_PATTERN)]
    study_uid: Uid = None


@router.post("/{study}/copy", status_code=201, summary="Copy a study under another name")
def copy_study(address: AddressDep, body: CopyBody, store: StoreDep, once: OnceDep) -> StudyOut:
    """With its trials and their numbers; what was running waits in the copy."""
    here = exchange.copy(store, with_uid(address, body.study_uid), name=body.name, once=once)
    with reading(store, Address(address.project_id, here.study.name)) as opened:
        return StudyOut.of(opened)
