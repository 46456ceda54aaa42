"""The audit log of a project."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field

from app.api.dependencies import CallerDep, StoreDep, router_of
from app.api.wire import After, Answer, Limit, Page, Time, cursor, read_cursor
from app.db import audit

router = router_of("/v1/audit", tags=["access"])


class AuditOut(Answer):
    id: int
    at: Time
    by: Annotated[str, Field(description="A key's id; `open`, `command line` or `server`, where there was none")]
    action: Annotated[str, Field(examples=["trial.corrected"])]
    target: Annotated[str, Field(description="The address below /v1", examples=["studies/digits-svm/trials/3"])]
    details: dict[str, Any]


@router.get("", summary="Who did what by hand")
def read_audit(
    caller: CallerDep,
    store: StoreDep,
    by: Annotated[str | None, Query(max_length=32, description="Only what this key did")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[AuditOut]:
    """The newest first; whatever was created, changed, corrected or deleted, but for the loop of ask and tell."""
    before = None if after is None else read_cursor(after, int)[0]
    with store.read(caller.project_id) as session:
        found = audit.page(session, caller.project_id, by=by, before=before, limit=limit + 1)
    items = [AuditOut.model_validate(entry) for entry in found[:limit]]
    return Page(items=items, next=cursor(items[-1].id) if len(found) > limit else None)
