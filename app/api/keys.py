"""Keys: make one for somebody else, see which there are, take one back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Response
from pydantic import ConfigDict, Field

from app.api.dependencies import NAME_PATTERN, CallerDep, OnceDep, StoreDep, router_of
from app.api.wire import After, Answer, Body, Limit, Page, Time, cursor, read_cursor
from app.db import keys
from app.db.keys import Scope
from app.db.tables import ApiKey
from app.services import issue_key

router = router_of("/v1/keys", tags=["access"])

#: What a caller reads who did not hear the first answer.
TOLD = (
    "this call made the key before, and told its text then; only a hash of it is kept. If nobody heard it, revoke "
    "this key (DELETE /v1/keys/<id>) and make another under a new Idempotency-Key"
)
TEN_YEARS = 10 * 365 * 86_400
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="The part between the two _ of the key")]


class NewKey(Body):
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10, description="At most those of the calling key")]
    name: Annotated[str, Field(max_length=128, description="What it is for")] = ""
    project: Annotated[
        str | None, Field(pattern=NAME_PATTERN, description="The calling key's; a key of the instance may name any")
    ] = None
    expires_in_seconds: Annotated[
        float | None, Field(ge=1, le=TEN_YEARS, description="Left out: never, or with the calling key")
    ] = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"scopes": ["read", "write"], "name": "cluster"}]})


class KeyOut(Answer):
    id: str
    project: str
    name: str
    scopes: list[Scope]
    instance: Annotated[bool, Field(description="Makes projects, and keys for any of them")]
    created_at: Time
    expires_at: Time | None
    last_used_at: Annotated[Time | None, Field(description="To the minute or so")]
    revoked_at: Time | None

    @classmethod
    def of(cls, row: ApiKey, project: str) -> KeyOut:
        return cls(
            id=row.id,
            project=project,
            name=row.name,
            scopes=row.scopes,
            instance=row.is_instance,
            created_at=row.created_at,
            expires_at=row.expires_at,
            last_used_at=row.last_used_at,
            revoked_at=row.revoked_at,
        )


class KeyMade(KeyOut):
    key: Annotated[
        str | None,
        Field(description="Shown only now; null when an Idempotency-Key repeats the call: only a hash is kept"),
    ]
    note: Annotated[str | None, Field(description="What to do where `key` is null")] = None


@router.post("", status_code=201, summary="Make a key")
def make_key(body: NewKey, caller: CallerDep, store: StoreDep, once: OnceDep) -> KeyMade:
    """Up to the scopes, the project and the lifetime of the calling key. The first key is made on the command line."""
    made = issue_key.issue(
        store,
        caller,
        body.scopes,
        name=body.name,
        project=body.project,
        lasts=None if body.expires_in_seconds is None else timedelta(seconds=body.expires_in_seconds),
        once=once,
    )
    return KeyMade(**KeyOut.of(made.key, made.project).model_dump(), key=made.text, note=None if made.text else TOLD)


@router.get("", summary="List keys")
def list_keys(caller: CallerDep, store: StoreDep, limit: Limit = 100, after: After = None) -> Page[KeyOut]:
    """Those of the project, revoked and expired ones too; to a key of the instance those of every project."""
    last = None if after is None else read_cursor(after, str)[0]
    with store.read(caller.project_id) as session:
        own = None if caller.is_instance else caller.project_id
        found = keys.page(session, project_id=own, after=last, limit=limit + 1)
    items = [KeyOut.of(row, project) for row, project in found[:limit]]
    return Page(items=items, next=cursor(items[-1].id) if len(found) > limit else None)


@router.delete("/{key}", status_code=204, summary="Revoke a key")
def revoke_key(key: KeyId, caller: CallerDep, store: StoreDep) -> Response:
    """From now on it is good for nothing, on every replica; its row stays, so that the audit log can be read."""
    issue_key.revoke(store, caller, key)
    return Response(status_code=204)
