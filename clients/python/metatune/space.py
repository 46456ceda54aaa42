"""Parameters of a search space, in the words of the HTTP contract.

Each function returns the plain dictionary that the server reads, so a space can as well be written by hand
or loaded from a file. `when` makes a parameter conditional: `{"kernel": ["poly"]}` keeps it out of `params`
wherever the kernel is another one. `default` is an optional good first guess. `prior` says where the best value is
believed to lie (`normal`, `beta`, `weights`): the search begins there, and forgets it as results come in. `aliases` are
other names under which past studies may know the parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from metatune.wire import given

Scalar: TypeAlias = bool | int | float | str
Scale: TypeAlias = Literal["linear", "log", "reverse_log"]
When: TypeAlias = Mapping[str, Sequence[Scalar]]
Parameter: TypeAlias = dict[str, Any]
Prior: TypeAlias = Mapping[str, Any]


def float_(
    low: float,
    high: float,
    *,
    scale: Scale | None = None,
    step: float | None = None,
    default: float | None = None,
    when: When | None = None,
    prior: Prior | None = None,
    aliases: Sequence[str] | None = None,
) -> Parameter:
    """A real number in [low, high]; `scale="log"` where factors matter more than differences (linear if left out)."""
    return _parameter(
        "float", aliases, low=low, high=high, scale=scale, step=step, default=default, when=when, prior=prior
    )


def int_(
    low: int,
    high: int,
    *,
    scale: Scale | None = None,
    step: int | None = None,
    default: int | None = None,
    when: When | None = None,
    prior: Prior | None = None,
    aliases: Sequence[str] | None = None,
) -> Parameter:
    """A whole number in [low, high], both included."""
    return _parameter(
        "int", aliases, low=low, high=high, scale=scale, step=step, default=default, when=when, prior=prior
    )


def ordinal(
    values: Sequence[float],
    *,
    default: float | None = None,
    when: When | None = None,
    prior: Prior | None = None,
    aliases: Sequence[str] | None = None,
) -> Parameter:
    """One of some numbers, given in rising order: `ordinal([16, 32, 64, 128])`."""
    return _parameter("ordinal", aliases, values=list(values), default=default, when=when, prior=prior)


def categorical(
    choices: Sequence[Scalar],
    *,
    default: Scalar | None = None,
    when: When | None = None,
    prior: Prior | None = None,
    aliases: Sequence[str] | None = None,
) -> Parameter:
    """One of some things that have no order."""
    return _parameter("categorical", aliases, choices=list(choices), default=default, when=when, prior=prior)


def bool_(
    *,
    default: bool | None = None,
    when: When | None = None,
    prior: Prior | None = None,
    aliases: Sequence[str] | None = None,
) -> Parameter:
    """True or false."""
    return _parameter("bool", aliases, default=default, when=when, prior=prior)


def fixed(value: Scalar, *, when: When | None = None) -> Parameter:
    """Always this value; it is handed out with the others."""
    return _parameter("fixed", value=value, when=when)


def normal(mean: float, std: float) -> Prior:
    """The best value is about `mean`, one `std` away at mean + std; on a log scale, as far below as that is above."""
    return {"type": "normal", "mean": mean, "std": std}


def beta(alpha: float, beta: float) -> Prior:
    """A beta distribution over the range, from low to high on the parameter's scale."""
    return {"type": "beta", "alpha": alpha, "beta": beta}


def weights(weights: Sequence[float]) -> Prior:
    """How likely each choice is the best, in their order: `[4, 1, 1]` expects the first."""
    return {"type": "weights", "weights": list(weights)}


def _parameter(kind: str, aliases: Sequence[str] | None = None, **fields: Any) -> Parameter:
    return {"type": kind, **given(**fields, aliases=None if aliases is None else list(aliases))}
