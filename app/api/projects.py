"""Projects: walls between teams. Their own keys see theirs, a key of the instance sees and makes all."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from sqlalchemy.exc import IntegrityError

from app.api.dependencies import NAME_PATTERN, CallerDep, OnceDep, StoreDep, router_of
from app.api.wire import After, Answer, Body, Limit, Page, Time, cursor, read_cursor
from app.db import idempotency, keys
from app.db.idempotency import Once
from app.db.session import EVERY_PROJECT, Store
from app.errors import Forbidden

router = router_of("/v1/projects", tags=["access"])


class NewProject(Body):
    name: Annotated[str, Field(pattern=NAME_PATTERN)]

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "vision"}]})


class ProjectOut(Answer):
    name: str
    created_at: Time


@router.post("", status_code=201, summary="Make a project")
def make_project(body: NewProject, caller: CallerDep, store: StoreDep, once: OnceDep) -> ProjectOut:
    """With a key of the instance; then make keys for it."""
    if not caller.is_instance:
        raise Forbidden(
            "projects are made with a key of the instance (metatune-server keys create --instance) "
            "or on the command line (metatune-server projects create)"
        )
    try:
        return _make(store, body.name, caller.by, once)
    except IntegrityError:  # another call made it between our look and our insert, perhaps this very one
        return _make(store, body.name, caller.by, once)


def _make(store: Store, name: str, by: str, once: Once | None) -> ProjectOut:
    with store.write(EVERY_PROJECT) as session:
        before = idempotency.remembered(session, once)
        if before is not None:
            return ProjectOut.model_validate(keys.project(session, before["name"]))
        made = keys.make_project(session, name, by=by)
        idempotency.remember(session, once, {"name": made.name}, made.created_at)
        return ProjectOut.model_validate(made)


@router.get("", summary="List projects")
def list_projects(caller: CallerDep, store: StoreDep, limit: Limit = 100, after: After = None) -> Page[ProjectOut]:
    """The calling key's own; to a key of the instance every one."""
    last = 0 if after is None else read_cursor(after, int)[0]
    with store.read(caller.project_id) as session:
        own = None if caller.is_instance else caller.project_id
        found = keys.projects(session, only=own, after=last, limit=limit + 1)
    items = [ProjectOut.model_validate(project) for project in found[:limit]]
    return Page(items=items, next=cursor(found[limit - 1].id) if len(found) > limit else None)
