"""Parameters that are one of a list: `ordinal`, `categorical`, `bool` and, with a list of one, `fixed`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from app.errors import SpaceViolation
from app.search.kinds import NEAREST, Array, Kind, levels_at, others, settle
from app.search.optimum import Beta, Normal, Weights
from app.search.values import Value, check_value, is_number, json_identity, listed, shown, wrong


class Listed(Kind):
    """Kinds with a list of values: position k of n sits at (k + 1/2) / n."""

    @property
    @abstractmethod
    def levels(self) -> tuple[Value, ...]: ...

    @property
    def n_levels(self) -> int:
        return len(self.levels)

    @cached_property
    def _positions(self) -> dict[tuple[str, Value], int]:
        return {json_identity(level): k for k, level in enumerate(self.levels)}

    def level_codes(self) -> Array:
        return np.array([self.code(level) for level in self.levels])

    def neighbours(self, codes: Array, most: int) -> Array:
        levels = self.level_codes()
        if not (self.is_ordered and len(levels) > most):
            return others(codes, levels)
        own = np.argmin(np.abs(levels - codes[:, None]), axis=1)  # of a NaN, whatever
        near = own[:, None] + NEAREST.astype(np.intp)
        is_there = (near >= 0) & (near < len(levels)) & ~np.isnan(codes)[:, None]
        return np.where(is_there, levels[np.clip(near, 0, len(levels) - 1)], np.nan)

    def _position(self, value: Any) -> int | None:
        if not isinstance(value, bool | int | float | str):
            return None
        return self._positions.get(json_identity(value))

    def _own(self, value: Any) -> Value:
        """The listed value equal to `value`, else `value` itself (one of another version of the space)."""
        position = self._position(value)
        return value if position is None else self.levels[position]

    def canonical(self, value: Any) -> Value:
        position = self._position(value)
        if position is None:
            raise SpaceViolation(f"must be one of {shown(self.levels)}, got {value!r}")
        return self.levels[position]


@dataclass(frozen=True)
class Ordinal(Listed):
    """One of a sorted list of numbers, kept native; equal steps for the model, whatever the gaps."""

    values: tuple[int | float, ...]
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: int | float | None = None
    prior: Normal | Beta | Weights | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["ordinal"] = "ordinal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", listed("values", self.values))
        for k, value in enumerate(self.values):
            if not is_number(value):
                wrong(f"values/{k}", f"an ordinal's values are numbers, got {value!r}")
        if any(a >= b for a, b in zip(self.values, self.values[1:], strict=False)):
            wrong("values", f"values must be sorted and distinct, got {shown(self.values)}")
        settle(self)

    @property
    def levels(self) -> tuple[Value, ...]:
        return self.values

    @cached_property
    def _numbers(self) -> Array:
        return np.array(self.values, dtype=np.float64)

    def code(self, value: Any) -> float:
        return float(value) if is_number(value) and math.isfinite(value) else math.nan

    def native(self, code: float) -> Value:
        return self.values[int(np.argmin(np.abs(self._numbers - code)))]

    def units(self, codes: Array) -> Array:
        """A number between two values lies between their places; one outside them a full bin outside."""
        n = self.n_levels
        places = np.interp(codes, self._numbers, (np.arange(n) + 0.5) / n, left=-0.5 / n, right=1.0 + 0.5 / n)
        return np.where(np.isnan(codes), np.nan, places)

    def codes(self, units: Array) -> Array:
        return levels_at(units, self._numbers)


@dataclass(frozen=True)
class Categorical(Listed):
    """One of a list of choices without order; its code is the position in the list."""

    choices: tuple[Value, ...]
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: Value | None = None
    prior: Weights | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["categorical"] = "categorical"

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", listed("choices", self.choices))
        settle(self)

    @property
    def is_numeric(self) -> bool:
        return False

    @property
    def levels(self) -> tuple[Value, ...]:
        return self.choices

    def code(self, value: Any) -> float:
        position = self._position(value)
        return math.nan if position is None else float(position)

    def native(self, code: float) -> Value:
        return self.choices[int(code)]

    def units(self, codes: Array) -> Array:
        return (codes + 0.5) / self.n_levels

    def codes(self, units: Array) -> Array:
        return levels_at(units, np.arange(self.n_levels, dtype=np.float64))


@dataclass(frozen=True)
class Bool(Listed):
    """True or false."""

    when: Mapping[str, tuple[Value, ...]] | None = None
    default: bool | None = None
    prior: Weights | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["bool"] = "bool"

    def __post_init__(self) -> None:
        settle(self)

    @property
    def is_numeric(self) -> bool:
        return False

    @property
    def levels(self) -> tuple[Value, ...]:
        return (False, True)

    def code(self, value: Any) -> float:
        return float(value) if isinstance(value, bool) else math.nan

    def native(self, code: float) -> bool:
        return bool(code)

    def units(self, codes: Array) -> Array:
        return (codes + 0.5) / 2

    def codes(self, units: Array) -> Array:
        return levels_at(units, np.arange(2, dtype=np.float64))


@dataclass(frozen=True)
class Fixed(Listed):
    """A constant handed out with every configuration; it has no column in the model."""

    value: Value
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: Value | None = None
    type: Literal["fixed"] = "fixed"

    def __post_init__(self) -> None:
        check_value("value", self.value)
        settle(self)
        object.__setattr__(self, "default", None)

    @property
    def is_numeric(self) -> bool:
        return is_number(self.value)

    @property
    def levels(self) -> tuple[Value, ...]:
        return (self.value,)

    def code(self, value: Any) -> float:
        return self._own_code if self._position(value) is not None else math.nan

    @cached_property
    def _own_code(self) -> float:
        return float(self.value) if is_number(self.value) else 0.0

    def native(self, code: float) -> Value:
        return self.value

    def units(self, codes: Array) -> Array:
        return np.where(np.isnan(codes), np.nan, 0.5)

    def codes(self, units: Array) -> Array:
        return np.where(np.isnan(units), np.nan, self._own_code)
