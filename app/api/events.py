"""What happens in a study, as Server-Sent Events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select

from app.api.dependencies import AddressDep, StoreDep, authenticate, router_of
from app.api.wire import stream_of
from app.db import studies
from app.db.reclaim import reading
from app.db.session import Store
from app.db.studies import Address
from app.db.tables import Event
from app.errors import Invalid, NotFound, Unauthenticated

router = router_of("/v1/studies/{study}", tags=["events"])

#: Kept for those who come back: this many, this long (see app.services.upkeep).
POLL_SECONDS = 0.5
COMMENT_SECONDS = 15.0
AT_ONCE = 500
TYPES = (
    *(f"trial.{what}" for what in ("created", "started", "reported", "finished", "released", "expired", "removed")),
    "study.updated",
    "reset",
)


@router.get(
    "/events",
    summary="Watch a study",
    response_class=StreamingResponse,
    responses=stream_of(*TYPES),
)
async def watch(
    request: Request,
    address: AddressDep,
    store: StoreDep,
    last_event_id: Annotated[str | None, Header(max_length=32, description="Go on after this event")] = None,
    after: Annotated[
        int | None, Query(ge=0, le=2**53, description="The same, for clients that cannot set headers")
    ] = None,
) -> StreamingResponse:
    """`trial.created`, `.started`, `.reported`, `.finished`, `.released`, `.expired`, `.removed`, `study.updated`.

    Without an id from now on. Events that are gone already are announced by one `reset`: read the study again.
    """
    if last_event_id is not None and not last_event_id.isdecimal():
        raise Invalid(f"Last-Event-ID must be the id of an event, got {last_event_id!r}")
    since = int(last_event_id) if last_event_id else after
    revision, oldest, uid = await run_sync(_where_it_stands, store, address)
    start = revision if since is None else since
    is_gone = since is not None and (since > revision or (since < revision and (oldest is None or since + 1 < oldest)))
    stream = _stream(
        request, store, Address(address.project_id, address.name, uid), revision if is_gone else start, is_gone
    )
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


def _where_it_stands(store: Store, address: Address) -> tuple[int, int | None, str]:
    with reading(store, address) as here:
        oldest = here.session.execute(
            select(func.min(Event.revision)).where(Event.study_id == here.study.id)
        ).scalar_one()
        return here.study.revision, oldest, here.study.uid


def _news(store: Store, address: Address, revision: int) -> Sequence[Event]:
    with reading(store, address) as here:
        return studies.events_after(here.session, here.study.id, revision, AT_ONCE)


async def _stream(request: Request, store: Store, address: Address, revision: int, is_gone: bool) -> AsyncIterator[str]:
    closing: asyncio.Event = request.app.state.closing
    # an id without data is no event, but a client that is cut off before the first one knows where to go on
    yield f"id: {revision}\nretry: 2000\n: watching {address.name}\n\n"
    if is_gone:
        yield _frame("reset", revision, {"study": address.name, "number": None, "state": None, "revision": revision})
    quiet = 0.0
    while not closing.is_set():
        try:
            await authenticate(request)  # a key that is revoked sees nothing more, on a stream neither
            events = await run_sync(_news, store, address, revision)
        except (NotFound, Unauthenticated):
            return
        for event in events:
            revision = event.revision
            data = {"study": address.name, "number": event.number, "state": event.state, "revision": revision}
            yield _frame(event.type, revision, data)
        if len(events) == AT_ONCE:
            continue
        quiet = 0.0 if events else quiet + POLL_SECONDS
        if quiet >= COMMENT_SECONDS:
            quiet = 0.0
            yield ": still here\n\n"
        try:
            await asyncio.wait_for(closing.wait(), POLL_SECONDS)
        except TimeoutError:
            continue


def _frame(kind: str, revision: int, data: dict[str, Any]) -> str:
    return f"id: {revision}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
