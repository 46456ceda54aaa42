"""The words that several resources say on the wire: names, numbers, times, pages."""

from __future__ import annotations

import base64
import json
import math
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from app.errors import Invalid

Item = TypeVar("Item")

MAX_EXACT = 2**53


class Body(BaseModel):
    """What callers send: unknown fields are refused by name, types are taken as they are."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


def stream_of(*events: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that sends these Server-Sent Events, each as a client's library hands it out."""
    data = {"type": "string", "contentMediaType": "application/json"}
    fields = {"id": {"type": "string"}, "event": {"enum": list(events)}, "data": data}
    return {200: {"content": {"text/event-stream": {"schema": {"type": "object", "properties": fields}}}}}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


#: RFC 3339 in UTC with microseconds.
Time = Annotated[
    datetime,
    PlainSerializer(_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _aware(given: Any) -> Any:
    if not isinstance(given, str):
        raise ValueError("a time is text in RFC 3339, like 2026-01-31T12:00:00Z")
    at = datetime.fromisoformat(given)
    if at.tzinfo is None:
        raise ValueError("a time needs its zone; end it with Z for UTC")
    try:
        return at.astimezone(UTC)
    except OverflowError as problem:
        raise ValueError("a time must lie in the years 1 to 9999 of UTC") from problem


GivenTime = Annotated[datetime, BeforeValidator(_aware), WithJsonSchema({"type": "string", "format": "date-time"})]

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _measured(given: Any) -> Any:
    """Numbers, and the three words that stand for those JSON has no token for."""
    if isinstance(given, str):
        if given.lower() not in _WORDS:
            raise ValueError('a measured value is a number, or "nan", "inf", "-inf"')
        return _WORDS[given.lower()]
    if isinstance(given, int) and not isinstance(given, bool):
        try:
            return float(given)
        except OverflowError:
            return math.inf if given > 0 else -math.inf
    return given


#: A told value; may be non-finite, which records the trial as failed.
Measured = Annotated[
    float,
    BeforeValidator(_measured),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "enum": ["nan", "inf", "-inf"]}]}),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _word(given: str) -> str:
    """Raises: ValueError."""
    text = unicodedata.normalize("NFC", given)
    if not 1 <= len(text) <= 128 or not text.isprintable():
        raise ValueError("a name is 1 to 128 printable characters")
    return text


#: Names of parameters, objectives, outcomes and tags.
Word = Annotated[str, AfterValidator(_word), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 128})]
Text = Annotated[str, Field(max_length=10_000)]
Uid = Annotated[
    str | None, Field(max_length=64, description="Refuse with 409 `study-replaced` if the name means another study now")
]
Lease = Annotated[str | None, Field(max_length=128, description="The token that the trial was handed out with")]


def _small(given: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(given)) > 65_536:
        raise ValueError("metadata may have 64 KiB as JSON; keep large things elsewhere and store their address")
    finite: dict[str, Any] = _finite_json(given)
    return finite


def _finite_json(value: Any) -> Any:
    """Bare NaN and Infinity tokens become the words that stand for them: stored JSON has no such tokens."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _finite_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite_json(item) for item in value]
    return value


Metadata = Annotated[dict[str, Any], AfterValidator(_small)]


class Page(Answer, Generic[Item]):
    items: list[Item]
    next: Annotated[str | None, Field(description="Pass it as `after` for the next page; null: this was the last")] = (
        None
    )


Limit = Annotated[int, Query(ge=1, le=1000, description="Items per page")]
After = Annotated[str | None, Query(max_length=1024, description="The `next` of the page before")]


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _is_ours(part: Any) -> bool:
    """Nothing that the database could choke on."""
    if isinstance(part, str):
        return part.isprintable()
    if isinstance(part, int):
        return not isinstance(part, bool) and abs(part) <= MAX_EXACT
    return part is None or math.isfinite(part)


def read_cursor(after: str, *kinds: type | tuple[type, ...]) -> list[Any]:
    """The parts of a cursor.  Raises: Invalid, if it is not one of ours."""
    try:
        parts: Any = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        fits = isinstance(parts, list) and len(parts) == len(kinds)
        if fits and all(isinstance(part, kind) and _is_ours(part) for part, kind in zip(parts, kinds, strict=True)):
            return list(parts)
    except (ValueError, UnicodeError):
        pass
    raise Invalid(f"after={after[:60]!r} is no cursor of this list; take it from `next` of a page")
