"""What routes are given: who calls, the store, the study's address.

Denied by default: `router_of` makes guarded routes only, and `PUBLIC` alone names those that need no key. A guarded
route asks who calls before it reads the body, or strangers could have theirs parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from sqlalchemy import Connection

from app.api.body import StrictRoute
from app.api.gather import Gather
from app.db import keys
from app.db.idempotency import Once
from app.db.keys import Caller, Uses
from app.db.session import Store
from app.db.studies import Address
from app.errors import Forbidden, Invalid, Unauthenticated
from app.settings import Settings

#: Routes that answer without a key, by their exact template. Everything else needs one as soon as one exists.
PUBLIC: Final = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
#: What stands here; else GET routes need `read` and others `write`.
SCOPES: Final[dict[tuple[str, str], keys.Scope]] = {
    ("DELETE", "/v1/studies/{study}"): "admin",
    ("DELETE", "/v1/studies/{study}/trials/{number}"): "admin",
    ("POST", "/v1/studies/{study}/predict"): "read",
    ("POST", "/v1/recommend"): "read",
    ("POST", "/v1/knowledge/import"): "admin",
    ("DELETE", "/v1/knowledge/{study}"): "admin",
    ("POST", "/v1/nas/searches/{name}/predict"): "read",
    ("DELETE", "/v1/nas/searches/{name}"): "admin",
    ("DELETE", "/v1/nas/tables/{name}"): "admin",
    ("DELETE", "/v1/fewshot/datasets/{name}"): "admin",
    ("DELETE", "/v1/fewshot/learners/{name}"): "admin",
    ("DELETE", "/v1/fewshot/learners/{name}/adaptations/{adaptation}"): "admin",
    ("DELETE", "/v1/fewshot/evaluations/{name}"): "admin",
    ("POST", "/v1/fewshot/learners/{name}/adapt"): "read",
    ("POST", "/v1/fewshot/learners/{name}/adaptations/{adaptation}/predict"): "read",
    ("GET", "/v1/keys"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("DELETE", "/v1/keys/{key}"): "admin",
    ("POST", "/v1/projects"): "admin",
    ("GET", "/v1/audit"): "admin",
}

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
Name = Annotated[str, Path(pattern=NAME_PATTERN, description="The study's name", examples=["digits-svm"])]
Number = Annotated[int, Path(ge=1, le=2**53, description="The trial's number", examples=[12])]
StudyUid = Annotated[
    str | None, Query(max_length=64, description="Refuse with 409 `study-replaced` if the name means another study now")
]


def scope_of(method: str, route: str) -> keys.Scope:
    return SCOPES.get((method, route), "read" if method in ("GET", "HEAD") else "write")


async def authenticate(request: Request) -> None:
    """Finds out who calls, and whether they may.  Raises: Unauthenticated, Forbidden."""
    route = request.scope["route"].path
    settings: Settings = request.app.state.settings
    if route in PUBLIC or (route == "/metrics" and settings.metrics_open):
        return
    authorization = request.headers.get("authorization")
    caller = await request.app.state.callers.submit(None, authorization)
    needed = scope_of(request.method, route)
    if needed not in caller.scopes:
        raise Forbidden(
            f"this key may {', '.join(sorted(caller.scopes)) or 'nothing'}; this call needs the scope {needed!r}",
            needed=needed,
        )
    request.state.caller = caller


def callers(store: Store, settings: Settings, uses: Uses) -> Gather[None, str | None, Caller]:
    """The look-up of callers by their `Authorization`: calls that arrive together share one, and none is remembered."""

    def look_up(_: None, authorizations: list[str | None]) -> list[Caller | Exception]:
        with store.glance() as connection:
            everybody = keys.open_caller(connection) if settings.auth != "required" else None
            known = {given: everybody or _caller(connection, given) for given in set(authorizations)}
        for caller in known.values():
            if isinstance(caller, Caller) and caller.key_id is not None:
                uses.note(caller.key_id)
        return [known[given] for given in authorizations]

    return Gather(look_up, threads=1, at_once=256)


def _caller(connection: Connection, authorization: str | None) -> Caller | Exception:
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return Unauthenticated("a key is needed: send the header 'Authorization: Bearer <key>'")
    return keys.find(connection, key.strip()) or Unauthenticated(
        "this key is not valid, or not any more; make one with: metatune-server keys create"
    )


class GuardedRoute(StrictRoute):
    """Every route of ours."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            await authenticate(request)
            return await handle(request)

        return guarded


def router_of(prefix: str = "", *, tags: Sequence[str] = ()) -> APIRouter:
    """For the routes of one part.

    They are complete as they stand there, and the application takes them as they are: those of an included router are
    analysed once more when the first request comes, and matched twice for every request.
    """
    return APIRouter(prefix=prefix, tags=[*tags], route_class=GuardedRoute)


async def current_caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def current_store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


CallerDep = Annotated[Caller, Depends(current_caller)]
StoreDep = Annotated[Store, Depends(current_store)]


async def study_address(request: Request, study: Name, study_uid: StudyUid = None) -> Address:
    return address_of(request.state.caller, study, study_uid)


def address_of(caller: Caller, study: str, study_uid: str | None = None) -> Address:
    return Address(caller.project_id, study, study_uid, by=caller.by)


AddressDep = Annotated[Address, Depends(study_address)]


async def once(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="The same call again under the same key takes effect once"),
    ] = None,
) -> Once | None:
    """The call under its `Idempotency-Key`, if it has one."""
    if idempotency_key is None:
        return None
    if not idempotency_key.isprintable():
        raise Invalid("an Idempotency-Key is 1 to 255 printable characters")
    body = await request.json() if await request.body() else None
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Once(request.state.caller.project_id, idempotency_key, request.method, path, body)


OnceDep = Annotated[Once | None, Depends(once)]
