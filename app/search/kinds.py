"""What all kinds of parameter share: their values, and the place of each on the unit interval.

Every kind speaks three languages. *Native*: the JSON value a user sees. *Code*: a float64, the value itself for
numbers and the position in the list for choices; conditions and constraints are evaluated on codes. *Unit*: a float64
of [0, 1] for the model; a kind with n levels owns n bins, and a level's unit is its place in its bin, so that a uniform
draw gives every level of a linear scale the same chance.

Scales: `linear`; `log`, u = log(x / low) / log(high / low); `reverse_log`, the mirror of it with the fine resolution
near `high`, u = 1 - log-position of (low + high - x), for quantities such as a momentum of 0.9, 0.99, 0.999.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SpaceViolation
from app.search.optimum import Prior, read
from app.search.values import Value, escape, listed, names, wrong

Array = NDArray[np.float64]

NEAREST = np.array([-2.0, -1.0, 1.0, 2.0])  # levels


class Kind(ABC):
    """What all kinds share. `n_levels` is None for a continuum.

    prior: what is believed of the best value.  aliases: what past studies may call the parameter.
    """

    when: Mapping[str, tuple[Value, ...]] | None
    prior: Prior | None = None
    aliases: tuple[str, ...] = ()

    @property
    @abstractmethod
    def n_levels(self) -> int | None: ...

    @property
    def is_numeric(self) -> bool:
        return True

    @property
    def is_ordered(self) -> bool:
        """Whether nearness on the unit interval means likeness."""
        return self.is_numeric

    @abstractmethod
    def canonical(self, value: Any) -> Value:
        """The legal native value that `value` means. Raises: SpaceViolation, with what would be right."""

    @abstractmethod
    def code(self, value: Any) -> float:
        """The code of a value of any version of the space; NaN where it means nothing here. Never raises."""

    def codes_of_values(self, values: Sequence[Any]) -> Array:
        """(n,) codes of n values, as `code`."""
        return np.array([self.code(value) for value in values], dtype=np.float64)

    @abstractmethod
    def native(self, code: float) -> Value:
        """The native value of a legal code."""

    @abstractmethod
    def units(self, codes: Array) -> Array:
        """(n,) codes to (n,) places on the unit interval; outside [0, 1] for numbers outside the bounds; NaN stays."""

    @abstractmethod
    def codes(self, units: Array) -> Array:
        """(n,) places, clipped to [0, 1], to (n,) legal codes; NaN stays."""

    @abstractmethod
    def level_codes(self) -> Array:
        """(n_levels,) every legal code in order. Raises: TypeError on a continuum."""

    @abstractmethod
    def neighbours(self, codes: Array, most: int) -> Array:
        """(n, w) codes of the other levels for (n,) codes; of an ordered kind with more than `most` levels the four
        nearest. NaN where there is none."""


def settle(parameter: Any) -> None:
    """The last part of every `__post_init__`: `when` becomes a dict of tuples, `default` a canonical value."""
    when = parameter.when
    if when is not None:
        if not isinstance(when, Mapping) or not when:
            wrong("when", f"when must name at least one parent with its values, got {when!r}")
        object.__setattr__(
            parameter, "when", {name: listed(f"when/{escape(str(name))}", v) for name, v in when.items()}
        )
    if parameter.default is not None:
        try:
            object.__setattr__(parameter, "default", parameter.canonical(parameter.default))
        except SpaceViolation as error:
            wrong("default", f"default {error.detail}")
    if parameter.type != "fixed":
        object.__setattr__(parameter, "aliases", names(parameter.aliases))
        if parameter.prior is not None:
            object.__setattr__(parameter, "prior", read(parameter, parameter.prior))


def others(codes: Array, levels: Array) -> Array:
    """(n, m) all levels but the own of (n,) codes, that one NaN, as all are of a NaN."""
    own = codes[:, None]
    return np.where((levels == own) | np.isnan(own), np.nan, levels)


def levels_at(units: Array, levels: Array) -> Array:
    """The level whose bin holds each place; NaN stays."""
    missing = np.isnan(units)
    k = np.floor(np.where(missing, 0.0, units) * len(levels))
    k = np.minimum(np.maximum(k, 0), len(levels) - 1).astype(np.intp)
    return np.where(missing, np.nan, levels[k])
