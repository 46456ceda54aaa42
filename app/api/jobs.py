"""What every kind of job answers alike: how it stands, its list, its events, cancel and delete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.api.dependencies import NAME_PATTERN, CallerDep, StoreDep, authenticate
from app.api.events import COMMENT_SECONDS, POLL_SECONDS
from app.api.wire import After, Answer, Limit, Page, Time, cursor, read_cursor, stream_of
from app.db import jobs
from app.db.jobs import Address
from app.db.keys import Caller
from app.db.session import Store
from app.db.tables import Job, JobLine
from app.errors import Invalid, NotFound, Unauthenticated
from app.lifecycle import UNFINISHED, JobState
from app.services import submit

ENGINE = "dbos"
JobName = Annotated[str, Path(pattern=NAME_PATTERN, description="The job's name")]


class LogLine(Answer):
    at: Time
    line: str


class JobOut(Answer):
    name: str
    state: JobState
    progress: Annotated[float, Field(ge=0, le=1)]
    attempts: Annotated[int, Field(description="How often a worker took it up; more than one: a worker died or left")]
    error: str | None
    engine: Literal["dbos"]
    result: Annotated[dict[str, Any] | None, Field(description="What it came to; null until it succeeded")]
    log: Annotated[list[LogLine], Field(description="The last lines; empty in lists")]
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def fields_of(cls, job: Job, log: list[JobLine] | None = None) -> dict[str, Any]:
        return {
            "name": job.name,
            "state": job.state,
            "progress": job.progress,
            "attempts": job.attempts,
            "error": job.error,
            "engine": ENGINE,
            "result": job.result,
            "log": [LogLine(at=one.at, line=one.line) for one in log or []],
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
        }


def address_of(caller: Caller, kind: str, name: str) -> Address:
    return Address(caller.project_id, kind, name, by=caller.by)


def page_of(
    store: Store, caller: Caller, kind: str, *, state: str | None, after: str | None, limit: int
) -> tuple[list[Job], str | None]:
    last = None if after is None else read_cursor(after, str)[0]
    with store.read(caller.project_id) as session:
        found = jobs.page(session, caller.project_id, kind, state=state, after=last, limit=limit + 1)
    return list(found[:limit]), cursor(found[limit - 1].name) if len(found) > limit else None


def add_common_routes(router: APIRouter, prefix: str, kind: str, answer: type[Any]) -> None:
    """The routes below `prefix` that every kind has; `answer.of(job, log)` makes the kind's own answer."""

    @router.get(prefix, summary=f"List {kind} jobs", response_model=Page[answer])  # type: ignore[valid-type]
    def list_jobs(
        caller: CallerDep,
        store: StoreDep,
        state: Annotated[JobState | None, Query()] = None,
        limit: Limit = 100,
        after: After = None,
    ) -> Page[Any]:
        """By name."""
        found, following = page_of(store, caller, kind, state=state, after=after, limit=limit)
        return Page(items=[answer.of(job) for job in found], next=following)

    @router.get(f"{prefix}/{{name}}", summary=f"How a {kind} job stands", response_model=answer)
    def get_job(name: JobName, caller: CallerDep, store: StoreDep) -> Any:
        with store.read(caller.project_id) as session:
            here = jobs.get(session, address_of(caller, kind, name))
            return answer.of(here.job, jobs.log_tail(session, here.job.id))

    @router.post(f"{prefix}/{{name}}/cancel", summary=f"Cancel a {kind} job", response_model=answer)
    def cancel_job(name: JobName, caller: CallerDep, store: StoreDep) -> Any:
        """What runs of it stops within an epoch; a finished one stays as it is."""
        return answer.of(submit.cancel(store, address_of(caller, kind, name)))

    @router.delete(f"{prefix}/{{name}}", status_code=204, summary=f"Delete a {kind} job and what it made")
    def delete_job(name: JobName, caller: CallerDep, store: StoreDep) -> Response:
        """409 `job-in-use` while it is queued or running."""
        submit.remove(store, address_of(caller, kind, name))
        return Response(status_code=204)

    @router.get(
        f"{prefix}/{{name}}/events",
        summary=f"Watch a {kind} job",
        response_class=StreamingResponse,
        responses=stream_of("job.updated"),
    )
    async def watch_job(
        request: Request,
        name: JobName,
        caller: CallerDep,
        store: StoreDep,
        last_event_id: Annotated[str | None, Header(max_length=32, description="Go on after this event")] = None,
        after: Annotated[int | None, Query(ge=0, le=2**53, description="The same, without headers")] = None,
    ) -> StreamingResponse:
        """`job.updated` with state and progress whenever they change; ends with the job. Ids go up, with gaps."""
        if last_event_id is not None and not last_event_id.isdecimal():
            raise Invalid(f"Last-Event-ID must be the id of an event, got {last_event_id!r}")
        address = address_of(caller, kind, name)
        job = await run_sync(_look, store, address)
        since = int(last_event_id) if last_event_id else after
        stream = _stream(request, store, address, job.uid, -1 if since is None else since)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


def _look(store: Store, address: Address) -> Job:
    with store.read(address.project_id) as session:
        return jobs.get(session, address).job


async def _stream(request: Request, store: Store, address: Address, uid: str, revision: int) -> AsyncIterator[str]:
    closing: asyncio.Event = request.app.state.closing
    yield f"retry: 2000\n: watching {address.name}\n\n"
    quiet = 0.0
    while not closing.is_set():
        try:
            await authenticate(request)  # a key that is revoked sees nothing more, on a stream neither
            job = await run_sync(_look, store, address)
        except (NotFound, Unauthenticated):
            return
        if job.uid != uid:
            return  # deleted, and the name taken by another
        if job.revision > revision:
            revision, quiet = job.revision, 0.0
            data = {"job": job.name, "state": job.state, "progress": job.progress, "revision": revision}
            yield f"id: {revision}\nevent: job.updated\ndata: {json.dumps(data)}\n\n"
        if job.state not in UNFINISHED:
            return
        quiet += POLL_SECONDS
        if quiet >= COMMENT_SECONDS:
            quiet = 0.0
            yield ": still here\n\n"
        try:
            await asyncio.wait_for(closing.wait(), POLL_SECONDS)
        except TimeoutError:
            continue
