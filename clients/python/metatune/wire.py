"""What goes over the wire: a call as plain data, and how its body is written.

Building a call and reading its answer are kept apart from sending it. The synchronous and the asynchronous client
share all of that, and differ only in the sender.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

ANSWER_SECONDS = 60.0
PAGE = 200
STUDIES = "/v1/studies"

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One call. Sent again as it stands, headers included, so a retried creation keeps its Idempotency-Key."""

    method: str
    path: str
    json: Any = None
    #: Fields and files (name and content) of a form, in place of JSON.
    form: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retryable: bool = True
    answer_seconds: float = ANSWER_SECONDS
    #: The answer is no JSON: hand its text on.
    is_text: bool = False
    #: The answer is a file: hand its bytes on.
    is_bytes: bool = False

    @property
    def content(self) -> bytes | None:
        if self.json is None:
            return None
        return json.dumps(plain(self.json), allow_nan=False, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read."""

    request: Request
    read: Callable[[Any], T]


def creating(path: str, body: Any, answer_seconds: float = ANSWER_SECONDS, **query: Any) -> Request:
    """A POST that makes something: its key, made once, lets the server recognise it when it comes again."""
    headers = {"Idempotency-Key": os.urandom(16).hex()}
    return Request("POST", path, json=body, query=query, headers=headers, answer_seconds=answer_seconds)


def page_of(path: str, query: Mapping[str, Any], after: str | None) -> Request:
    """One page of a list: the first, or the one behind the cursor."""
    return Request("GET", path, query=given(**query, limit=PAGE, after=after))


def study_path(study: str, *rest: str | int) -> str:
    return "/".join([STUDIES, quote(study, safe=""), *map(str, rest)])


def tagged(tags: Mapping[str, str] | None) -> dict[str, str]:
    """As a list's query says it: `tag.team=vision`."""
    return {f"tag.{name}": value for name, value in (tags or {}).items()}


def given(**fields: Any) -> dict[str, Any]:
    """Only the fields that were given: what is left out, the server decides."""
    return {name: value for name, value in fields.items() if value is not None}


def as_given(answer: Any) -> Any:
    """Reads an answer that is handed on as it came."""
    return answer


def plain(value: Any) -> Any:
    """The value in JSON's own types: scalars of numeric libraries unwrapped, non-finite numbers as words."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not isinstance(value, (str, int, float)) and getattr(value, "shape", None) == ():  # a NumPy or Torch scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
