"""The JSON values that parameters take, and the texts that name them.

Each check names the wrong place by a JSON pointer below the parameter, such as `/choices/2`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from app.errors import FieldError, InvalidSearchSpace

Value = bool | int | float | str

MAX_INTEGER = 2**53
MAX_TEXT = 128
MAX_ALIASES = 16
MAX_LISTED = 10_000  # choices or values of one parameter


def is_number(value: Any) -> bool:
    """Whether a value is a JSON number: `True` is none, nor is an integer too large for a double."""
    if type(value) is float:  # nearly all are
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not isinstance(value, int) or abs(value) < 2**1023


def json_identity(value: Value) -> tuple[str, Value]:
    """What makes two choices the same: their JSON type and value; 1 and 1.0 are one number, `true` is none."""
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, str):
        return "string", value
    return "number", value


def text_problem(text: str) -> str | None:
    """What is wrong with a name or a string choice, or None: 1-128 characters, no NUL, no lone surrogate."""
    if not 1 <= len(text) <= MAX_TEXT:
        return f"must have 1 to {MAX_TEXT} characters, got {len(text)}"
    if "\0" in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        return f"must hold neither NUL nor lone surrogates, got {text!r}"
    return None


def name_problem(name: Any) -> str | None:
    """What is wrong with a parameter's name, or None: 1-128 printable characters, NFC."""
    if not isinstance(name, str):
        return f"must be a string, got {name!r}"
    problem = text_problem(name)
    if problem is None and not name.isprintable():
        problem = f"must be printable, got {name!r}"
    if problem is None and unicodedata.normalize("NFC", name) != name:
        problem = f"must be in Unicode's NFC form, got {name!r}"
    return problem


def escape(name: str) -> str:
    """A name as one segment of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def wrong(field: str, detail: str) -> NoReturn:
    raise InvalidSearchSpace(detail, errors=[FieldError("/" + field, detail)])


def check_value(field: str, value: Any) -> None:
    if not isinstance(value, bool | int | float | str):
        wrong(field, f"must be a string, a number or a boolean, got {value!r}")
    if isinstance(value, str):
        problem = text_problem(value)
        if problem is not None:
            wrong(field, problem)
    elif isinstance(value, float) and not math.isfinite(value):
        wrong(field, f"must be finite, got {value!r}")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        wrong(field, f"integers must lie within ±2^53, got {value!r}")


def listed(field: str, values: Any) -> tuple[Value, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        wrong(field, f"{field} must be a list, got {values!r}")
    if not values:
        wrong(field, f"{field} must not be empty")
    if len(values) > MAX_LISTED:
        wrong(field, f"{field} may list {MAX_LISTED} values, got {len(values)}")
    seen: set[tuple[str, Value]] = set()
    for k, value in enumerate(values):
        check_value(f"{field}/{k}", value)
        if json_identity(value) in seen:
            wrong(f"{field}/{k}", f"{value!r} is in the list twice")
        seen.add(json_identity(value))
    return tuple(values)


def names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence) or len(given) > MAX_ALIASES:
        wrong("aliases", f"aliases must be a list of at most {MAX_ALIASES} names, got {given!r}")
    for k, name in enumerate(given):
        problem = name_problem(name)
        if problem is not None:
            wrong(f"aliases/{k}", problem)
    return tuple(dict.fromkeys(given))


def shown(values: Sequence[Value]) -> str:
    shown = ", ".join(repr(value) for value in values[:10])
    return f"[{shown}{', …' if len(values) > 10 else ''}]"
