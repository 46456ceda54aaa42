"""The short way into the calls that are made for every trial.

Decision: of ask and tell, a request in its usual form (no query, a path and a body that fit) is read here, by the types
that the route declares; every other goes the framework's way, which has the words for whatever is wrong with it.
Context: the framework works out anew for every request how its parameters are to be read: of a pair of ask and tell
about a third of what the event loop has to do.
Price: such a route has two ways in, which have to agree (tests/api/test_shortcut.py).
"""

from __future__ import annotations

import re
from typing import TypeVar

from fastapi import Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from app.api.body import Unusual
from app.api.dependencies import NAME_PATTERN, address_of, once
from app.api.wire import Answer, Body
from app.db.idempotency import Once
from app.db.studies import Address

Given = TypeVar("Given", bound=Body)

_NAME = re.compile(NAME_PATTERN)
_NUMBER = re.compile(r"[1-9][0-9]{0,14}")


def usual_address(request: Request) -> Address:
    """Raises: Unusual."""
    name: str = request.path_params["study"]
    if request.scope["query_string"] or not _NAME.fullmatch(name):
        raise Unusual
    return address_of(request.state.caller, name)


def usual_number(request: Request) -> int:
    """Of a trial.  Raises: Unusual."""
    text: str = request.path_params["number"]
    if not _NUMBER.fullmatch(text):
        raise Unusual
    return int(text)


async def usual_once(request: Request) -> Once | None:
    """Raises: Unusual, Invalid."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Unusual
    return await once(request, key)


async def usual_body(request: Request, kind: type[Given], default: Given | None = None) -> Given:
    """The default is what no bytes say.  Raises: Unusual, BadBody."""
    try:
        if await request.body():
            return kind.model_validate(await request.json())
    except (ValidationError, ClientDisconnect) as problem:
        raise Unusual from problem
    if default is None:
        raise Unusual
    return default


def answer_to(answer: Answer | Response) -> Response:
    """As the framework makes it of what a route returns, where that is of the class which the route declares."""
    if isinstance(answer, Response):
        return answer
    return Response(answer.model_dump_json(), media_type="application/json")
