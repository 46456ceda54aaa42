"""Parameters of a search space, in the words of the HTTP contract.

Each function returns the plain dictionary that the server reads, so a space can as well be written by hand
or loaded from a file. `when` makes a parameter conditional: `{"kernel": ["poly"]}` keeps it out of `params`
wherever the kernel is another one. `default` is an optional good first guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from metatune.wire import given

Scalar: TypeAlias = bool | int | float | str
Scale: TypeAlias = Literal["linear", "log", "reverse_log"]
When: TypeAlias = Mapping[str, Sequence[Scalar]]
Parameter: TypeAlias = dict[str, Any]


def float_(
    low: float,
    high: float,
    *,
    scale: Scale | None = None,
    step: float | None = None,
    default: float | None = None,
    when: When | None = None,
) -> Parameter:
    """A real number in [low, high]; `scale="log"` where factors matter more than differences (linear if left out)."""
    return _parameter("float", low=low, high=high, scale=scale, step=step, default=default, when=when)


def int_(
    low: int,
    high: int,
    *,
    scale: Scale | None = None,
    step: int | None = None,
    default: int | None = None,
    when: When | None = None,
) -> Parameter:
    """A whole number in [low, high], both included."""
    return _parameter("int", low=low, high=high, scale=scale, step=step, default=default, when=when)


def ordinal(values: Sequence[float], *, default: float | None = None, when: When | None = None) -> Parameter:
    """One of some numbers, given in rising order: `ordinal([16, 32, 64, 128])`."""
    return _parameter("ordinal", values=list(values), default=default, when=when)


def categorical(choices: Sequence[Scalar], *, default: Scalar | None = None, when: When | None = None) -> Parameter:
    """One of some things that have no order."""
    return _parameter("categorical", choices=list(choices), default=default, when=when)


def bool_(*, default: bool | None = None, when: When | None = None) -> Parameter:
    """True or false."""
    return _parameter("bool", default=default, when=when)


def fixed(value: Scalar, *, when: When | None = None) -> Parameter:
    """Always this value; it is handed out with the others."""
    return _parameter("fixed", value=value, when=when)


def _parameter(kind: str, **fields: Any) -> Parameter:
    return {"type": kind, **given(**fields)}
