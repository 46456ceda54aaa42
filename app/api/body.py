"""Reading JSON from strangers.

`StrictRoute` gives every route a request whose body is `application/json`, not too deep, without NUL or lone surrogates
in its strings, and whose numbers too large for a double are infinite instead of an error. `UPLOADS` take files instead.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.api.problems import BadBody

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

#: Where POST takes a file, as multipart/form-data, up to the size of an artefact.
UPLOADS: Final = frozenset({"/v1/nas/tables", "/v1/fewshot/datasets"})
#: What a form may have beside the file.
FORM_BYTES = 64 * 1024

_MAX_DIGITS = 20  # longer integers are beyond every double that is exact; some are beyond every double
_UNSAFE = re.compile("[\x00\ud800-\udfff]")


class StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            settings = self.app.state.settings
            self._json = parse(
                await self.body(), max_depth=settings.max_json_depth, max_values=settings.max_json_values
            )
        return self._json


class Unusual(Exception):
    """The framework is to read the request; see `app.api.shortcut`."""


Shortcut = Callable[[Request], Coroutine[Any, Any, Response]]
#: By endpoint, what reads and answers its usual requests; it raises `Unusual` for others, before it has done anything.
_SHORTCUTS: dict[Callable[..., Any], Shortcut] = {}


def with_shortcut(shortcut: Shortcut) -> Callable[[Endpoint], Endpoint]:
    """Stands between the route and its endpoint."""

    def note(endpoint: Endpoint) -> Endpoint:
        _SHORTCUTS[endpoint] = shortcut
        return endpoint

    return note


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle, shortcut = super().get_route_handler(), _SHORTCUTS.get(self.endpoint)

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            for text in itertools.chain.from_iterable(request.query_params.multi_items()):
                _check_text(text)
            if request.method != "GET":
                _check_encoding(request)
                if request.method == "POST" and request.url.path in UPLOADS:
                    _check_form(request)
                else:
                    await _check_content_type(request)
            if shortcut is not None:
                with contextlib.suppress(Unusual):
                    return await shortcut(request)
            return await handle(request)

        return strict


def _check_encoding(request: Request) -> None:
    """Raises: BadBody. A packed body is never unpacked: it could be a bomb."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise BadBody(
            415,
            "unsupported-encoding",
            f"bodies are taken as they are, not packed with {encoding[:60]}; send plain JSON",
        )


async def _check_content_type(request: Request) -> None:
    """Raises: BadBody, 415 with the flag that curl needs."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        return
    if await request.body():
        raise BadBody(
            415,
            "unsupported-media-type",
            f"the body must be application/json, not {media_type or 'without a type'}; "
            "with curl add -H 'Content-Type: application/json'",
        )


def _check_form(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise BadBody(
            415,
            "unsupported-media-type",
            f"a file comes as multipart/form-data, not {media_type or 'without a type'}; "
            "with curl: -F name=mine -F file=@mine.npz",
        )


def parse(body: bytes, *, max_depth: int, max_values: int) -> Any:
    """Raises: BadBody; 400 for what is no JSON, 422 for JSON that no call of ours takes."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadBody(
            400, "unreadable-json", f"the body is not UTF-8: {problem.reason} at byte {problem.start}"
        ) from problem
    # Before it is parsed: a list of empty lists takes thirty times its length in memory. Each value but the first
    # follows a comma, or what opens a list or object; those in strings are counted too, which no honest body notices.
    if text.count(",") + text.count("[") + text.count("{") >= max_values:
        raise BadBody(422, "too-wide", f"JSON may hold {max_values} values; send less at a time")
    try:
        value = json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as problem:
        raise BadBody(
            400,
            "unreadable-json",
            f"the body is not JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}",
        ) from problem
    except RecursionError as problem:
        raise BadBody(422, "too-deep", f"JSON may be nested {max_depth} deep") from problem
    _check(value, max_depth)
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _check(value: Any, max_depth: int) -> None:
    level = [value]
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                for name in item:
                    _check_text(name)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        level = below
    raise BadBody(422, "too-deep", f"JSON may be nested {max_depth} deep")


def _check_text(text: str) -> None:
    if _UNSAFE.search(text):
        shown = text[:60].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
        raise BadBody(422, "unsafe-text", f"strings hold neither NUL nor lone surrogates, got {shown!r}")
