"""Every error as `application/problem+json` (RFC 9457): families of `app.errors` by ancestry, in one table."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import errors
from app.definition import escape
from app.errors import AppError, FieldError

logger = logging.getLogger("metatune.problems")

STATUS: dict[type[AppError], int] = {
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Invalid: 422,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotAcceptable: 406,
    errors.Unavailable: 503,
    errors.TooLarge: 413,
    errors.NumericalError: 503,
}
#: The `code` of an answer that the framework made.
CODES = {
    400: "bad-request",
    404: "no-such-route",
    405: "method-not-allowed",
    415: "unsupported-media-type",
    431: "headers-too-large",
    500: "internal-error",
}
MEDIA_TYPE = "application/problem+json"
#: Longer inputs are cut when a message shows them.
SHOWN = 120


class FieldProblem(BaseModel):
    pointer: str = Field(description="A JSON pointer into the body, or the name of a query parameter or header")
    detail: str


class Problem(BaseModel):
    """RFC 9457, with a short `code` that a script can test."""

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["study-differs"])
    errors: list[FieldProblem] | None = None

    model_config = {"extra": "allow"}


class BadBody(HTTPException):
    """A body that cannot be read; an HTTPException, since FastAPI turns other errors of `json()` into its own 400."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, detail)
        self.code = code


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field_errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    body = _body(status, code, detail, field_errors, extra)
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _body(
    status: int, code: str, detail: str, field_errors: Iterable[FieldError], extra: Mapping[str, Any]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": printable(detail),
        "code": code,
    }
    found = [{"pointer": printable(error.pointer), "detail": printable(error.detail)} for error in field_errors]
    if found:
        body["errors"] = found
    body.update({name: plain(value) for name, value in extra.items()})
    return body


def problem_body(error: AppError) -> dict[str, Any]:
    """An error of ours as the problem document alone."""
    return _body(status_of(error), error.code, error.detail, error.errors, error.extra)


def status_of(error: AppError) -> int:
    return next(STATUS[family] for family in type(error).__mro__ if family in STATUS)


def plain(value: Any) -> Any:
    """A value that JSON can say: no lone surrogates, no non-finite numbers."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Mapping):
        return {printable(str(name)): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def of_app_error(error: AppError) -> JSONResponse:
    headers: dict[str, str] = {}
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    elif isinstance(error, errors.NumericalError):
        headers["Retry-After"] = "1"
    elif isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="metatune"'
    return JSONResponse(problem_body(error), status_of(error), headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Registers the handlers: ours, the framework's 4xx, payload validation, a lost database, and the unexpected."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _invalid_payload)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(ClientDisconnect, _caller_left)
    for lost in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(lost, _database_lost)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(Exception, _unexpected)


async def _app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)  # noqa: S101  (registered for it)
    return of_app_error(error)


async def _framework_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = getattr(error, "code", None) or CODES.get(error.status_code, "http-error")
    detail = str(error.detail)
    if code == "no-such-route":
        detail = f"there is nothing at {request.url.path}; /docs lists every path"
    elif code == "method-not-allowed":
        allowed = (error.headers or {}).get("Allow", "")
        detail = f"{request.method} does not go with {request.url.path}" + (f"; it takes {allowed}" if allowed else "")
    return problem(error.status_code, code, detail, headers=error.headers)


async def _caller_left(request: Request, error: Exception) -> JSONResponse:
    """Nobody hears it; but log and metrics must not call it our mistake."""
    return problem(400, "cut-off", "the connection ended before the body did")


async def _invalid_payload(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [field_error(one) for one in error.errors()]
    found = list(dict.fromkeys(found))
    first = found[0]
    where = first.pointer or "the body"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return problem(422, "invalid", f"{where}: {first.detail}{more}", field_errors=found[:100])


def field_error(one: Mapping[str, Any]) -> FieldError:
    """One of Pydantic's errors, with a JSON pointer for its place and the value that was given."""
    origin, *steps = [str(step) for step in one["loc"]]
    pointer = "".join(f"/{escape(step)}" for step in steps) if origin == "body" else f"{origin}:{'.'.join(steps)}"
    detail = str(one["msg"]).removeprefix("Value error, ")
    if one["type"] == "extra_forbidden":
        return FieldError(printable(pointer), "there is no such field here; /docs lists them")
    given = one.get("input")
    if one["type"] != "missing" and (given is None or isinstance(given, (bool, int, float, str))):
        shown = repr(given)
        detail += f", got {shown if len(shown) <= SHOWN else shown[:SHOWN] + '…'}"
    return FieldError(printable(pointer), printable(detail))


async def _database_lost(request: Request, error: Exception) -> JSONResponse:
    reason = str(error.orig if isinstance(error, DBAPIError) else error)
    logger.warning("the database does not answer", extra={"error": type(error).__name__, "reason": reason})
    detail = "the database does not answer"
    if isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):  # whose few words give nothing away
        detail = f"the database's file does not serve ({reason})"
    detail += "; nothing was changed, try again"
    return problem(503, "database-unavailable", detail, headers={"Retry-After": "2"})


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)  # noqa: S101
    if error.connection_invalidated:
        return await _database_lost(request, error)
    if isinstance(error, IntegrityError):  # two calls at once, such as one Idempotency-Key for two studies
        logger.warning("two calls were in each other's way", exc_info=error)
        detail = "another call was in the way at the same moment; nothing was changed, try again"
        return problem(503, "collision", detail, headers={"Retry-After": "1"})
    return await _unexpected(request, error)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("unexpected error", exc_info=error)
    request_id = getattr(request.state, "request_id", None)
    return problem(
        500,
        "internal-error",
        "the server made a mistake; it is in its log under this request id",
        request_id=request_id,
    )
