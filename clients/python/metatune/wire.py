"""What goes over the wire: a request as plain data, and how its body is written.

Building a request is kept apart from sending it, so that an asynchronous client needs a second sender and
nothing else.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Request:
    """One call. Sent again as it stands, headers included, so a retried creation keeps its Idempotency-Key."""

    method: str
    path: str
    json: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    retryable: bool = True
    answer_seconds: float = ANSWER_SECONDS

    @property
    def content(self) -> bytes | None:
        if self.json is None:
            return None
        return json.dumps(plain(self.json), allow_nan=False, separators=(",", ":")).encode()


def creating(path: str, body: Any, answer_seconds: float = ANSWER_SECONDS) -> Request:
    """A POST that makes something: its key, made once, lets the server recognise it when it comes again."""
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    return Request("POST", path, json=body, headers=headers, answer_seconds=answer_seconds)


def study_path(study: str, *rest: str | int) -> str:
    return "/".join(["/v1/studies", quote(study, safe=""), *map(str, rest)])


def given(**fields: Any) -> dict[str, Any]:
    """Only the fields that were given: what is left out, the server decides."""
    return {name: value for name, value in fields.items() if value is not None}


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
