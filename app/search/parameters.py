"""The kinds of parameter: what each may be, and its place on the unit interval.

Every kind speaks three languages. *Native*: the JSON value a user sees. *Code*: a float64, the value itself for
numbers and the position in the list for choices; conditions and constraints are evaluated on codes. *Unit*: a float64
of [0, 1] for the model; a kind with n levels owns n bins, and a level's unit is its place in its bin, so that a uniform
draw gives every level of a linear scale the same chance.

Scales: `linear`; `log`, u = log(x / low) / log(high / low); `reverse_log`, the mirror of it with the fine resolution
near `high`, u = 1 - log-position of (low + high - x), for quantities such as a momentum of 0.9, 0.99, 0.999.
"""

from __future__ import annotations

import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from app.errors import FieldError, InvalidSearchSpace, SpaceViolation
from app.search.optimum import Beta, Normal, Prior, Weights, read

Array = NDArray[np.float64]
Value = bool | int | float | str
Scale = Literal["linear", "log", "reverse_log"]

MAX_INTEGER = 2**53
MAX_TEXT = 128
BOUND_TOLERANCE = 1e-12  # of the range: a bound that lost a digit on its way through text is still the bound
MAX_ALIASES = 16
MAX_LISTED = 10_000  # choices or values of one parameter
NEAREST = np.array([-2.0, -1.0, 1.0, 2.0])  # levels
STEP_TOLERANCE = 1e-6  # of a step: 0.1 + 0.2 lies on a grid of tenths


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


class _Numeric(Kind):
    """Floats and integers: a grid or a continuum between two bounds, on one of three scales."""

    low: Any
    high: Any
    step: Any
    scale: Scale

    def _check_numbers(self) -> None:
        if self.scale not in ("linear", "log", "reverse_log"):
            _wrong("scale", f"scale must be linear, log or reverse_log, got {self.scale!r}")
        if not self.low < self.high:
            _wrong("low", f"low must be below high, got [{self.low}, {self.high}]")
        if self.scale != "linear" and not self.low > 0:
            _wrong("low", f"scale {self.scale} needs low > 0, got {self.low}")
        if self.scale == "reverse_log" and not math.isfinite(self.low + self.high):
            _wrong("high", f"scale reverse_log needs a finite low + high, got [{self.low}, {self.high}]")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            _wrong("step", f"step must lie in (0, high - low = {self.high - self.low}], got {self.step}")

    @property
    def _spacing(self) -> float:
        """Distance between levels; 0 on a continuum."""
        return float(self.step or 0.0)

    @cached_property
    def _n_steps(self) -> int:
        """Number of steps from low to the last level that is not above high."""
        step = self._spacing
        if isinstance(self, Int):
            return int((self.high - self.low) // int(step))
        n_steps: int = math.floor((self.high - self.low) / step + STEP_TOLERANCE)
        return n_steps

    @cached_property
    def _decimals(self) -> int | None:
        """Decimal places of the levels, so that low + 3 * 0.1 is 0.3; None where they have too many."""
        places = max(-int(Decimal(repr(float(x))).normalize().as_tuple().exponent) for x in (self.low, self._spacing))
        return max(places, 0) if places <= 15 and abs(self.high) < 1e8 and abs(self.low) < 1e8 else None

    @property
    def n_levels(self) -> int | None:
        return None if not self._spacing else self._n_steps + 1

    @cached_property
    def _edges(self) -> tuple[float, float]:
        """The native values at u = 0 and u = 1: the bounds, or half a step outside the first and last level."""
        step = self._spacing
        if not step:
            return float(self.low), float(self.high)
        low, high = float(self.low), float(self.low) + self._n_steps * step
        if self.scale == "linear":
            return low - step / 2, high + step / 2
        margin = min(step / 2, low / 2)  # a log axis must not reach zero
        return (low - margin, high + step / 2) if self.scale == "log" else (low - step / 2, high + margin)

    @cached_property
    def _mirror(self) -> float:
        """low + high of the legal values: reverse_log is log of (this - x)."""
        return float(self.low) + (
            float(self.high) if not self._spacing else float(self.low) + self._n_steps * self._spacing
        )

    @cached_property
    def _log_edges(self) -> tuple[float, float] | None:
        """Logarithms of the edges of the (mirrored) log axis; None if linear, or too narrow to tell apart."""
        if self.scale == "linear":
            return None
        first, last = self._edges
        if self.scale == "reverse_log":
            first, last = self._mirror - last, self._mirror - first
        edges = (float(np.log(first)), float(np.log(last)))
        return edges if edges[1] > edges[0] else None

    def units(self, codes: Array) -> Array:
        first, last = self._edges
        with np.errstate(all="ignore"):
            if self._log_edges is None:
                span = last - first
                if math.isfinite(span):
                    return (codes - first) / span
                return (codes / 2 - first / 2) / (last / 2 - first / 2)
            mirrored = self._mirror - codes if self.scale == "reverse_log" else codes
            positions = (np.log(mirrored) - self._log_edges[0]) / (self._log_edges[1] - self._log_edges[0])
            positions = np.where(np.isfinite(positions), positions, np.nan)
            return 1.0 - positions if self.scale == "reverse_log" else positions

    def codes(self, units: Array) -> Array:
        units = np.minimum(np.maximum(units, 0.0), 1.0)
        first, last = self._edges
        if self._log_edges is None:
            values = first * (1.0 - units) + last * units
        else:
            positions = 1.0 - units if self.scale == "reverse_log" else units
            values = np.exp(self._log_edges[0] * (1.0 - positions) + self._log_edges[1] * positions)
            if self.scale == "reverse_log":
                values = self._mirror - values
        if self._spacing:
            return self._on_grid(values)
        if self._log_edges is not None:  # exp(log(bound)) is not always the bound
            values = np.where(units <= 0.0, self.low, np.where(units >= 1.0, self.high, values))
        return np.minimum(np.maximum(values, float(self.low)), float(self.high)) + 0.0

    def _on_grid(self, values: Array) -> Array:
        """The nearest legal level of each value."""
        step = self._spacing
        k = np.minimum(np.maximum(np.rint((values - float(self.low)) / step), 0.0), float(self._n_steps))
        levels = float(self.low) + k * step
        if self._decimals is not None:
            levels = np.round(levels, self._decimals)
        return np.minimum(np.maximum(levels, float(self.low)), float(self.high)) + 0.0

    def level_codes(self) -> Array:
        if not self._spacing:
            raise TypeError("a continuous parameter has no levels")
        return self._on_grid(float(self.low) + np.arange(self._n_steps + 1, dtype=np.float64) * self._spacing)

    def neighbours(self, codes: Array, most: int) -> Array:
        if self._n_steps < most:
            return _others(codes, self.level_codes())
        near = codes[:, None] + self._spacing * NEAREST
        edge = 0.25 * self._spacing
        last = float(self.low) + self._n_steps * self._spacing
        return np.where((near > self.low - edge) & (near < last + edge), self._on_grid(near), np.nan)

    def code(self, value: Any) -> float:
        return float(value) if is_number(value) and math.isfinite(value) else math.nan

    def codes_of_values(self, values: Sequence[Any]) -> Array:
        if set(map(type, values)) != {float}:
            return super().codes_of_values(values)
        codes = np.array(values, dtype=np.float64)
        codes[~np.isfinite(codes)] = np.nan
        return codes

    def _within(self, value: Any) -> float:
        """The finite number `value`, pulled onto a bound that it misses by a rounding error. Raises: SpaceViolation."""
        if not is_number(value) or not math.isfinite(value):
            raise SpaceViolation(f"must be a finite number in [{self.low}, {self.high}], got {value!r}")
        slack = BOUND_TOLERANCE * (self.high - self.low) if math.isfinite(self.high - self.low) else 0.0
        if not self.low - slack <= value <= self.high + slack:
            raise SpaceViolation(f"must lie in [{self.low}, {self.high}], got {value!r}")
        return float(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Float(_Numeric):
    """A real number of [low, high], or of low, low + step, low + 2 step, ... up to high."""

    low: float
    high: float
    scale: Scale = "linear"
    step: float | None = None
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: float | None = None
    prior: Normal | Beta | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["float"] = "float"

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is not None or name != "step":
                if not is_number(value) or not math.isfinite(value):
                    _wrong(name, f"{name} must be a finite number, got {value!r}")
                object.__setattr__(self, name, float(value) + 0.0)
        self._check_numbers()
        _settle(self)

    def canonical(self, value: Any) -> float:
        number = self._within(value)
        if not self._spacing:
            return number + 0.0
        level = float(self._on_grid(np.array([number]))[0])
        if abs(level - number) > STEP_TOLERANCE * self._spacing:
            raise SpaceViolation(
                f"must be {self.low} plus a multiple of {self.step}, got {value!r}; the nearest is {level!r}"
            )
        return level

    def native(self, code: float) -> float:
        return float(code)


@dataclass(frozen=True)
class Int(_Numeric):
    """An integer of low, low + step, ... up to high; the step is 1 unless given."""

    low: int
    high: int
    scale: Scale = "linear"
    step: int | None = None
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: int | None = None
    prior: Normal | Beta | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["int"] = "int"

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if value is not None or name != "step":
                if not is_number(value) or not math.isfinite(value) or value != int(value):
                    _wrong(name, f"{name} must be an integer, got {value!r}")
                if abs(value) > MAX_INTEGER:
                    _wrong(name, f"{name} must lie within ±2^53, got {value!r}")
                object.__setattr__(self, name, int(value))
        self._check_numbers()
        _settle(self)

    @property
    def _spacing(self) -> float:
        return float(self.step or 1)

    @property
    def n_levels(self) -> int:
        return self._n_steps + 1

    @cached_property
    def _decimals(self) -> int | None:
        return None

    def canonical(self, value: Any) -> int:
        if not is_number(value) or not math.isfinite(value) or value != int(value):
            raise SpaceViolation(f"must be an integer in [{self.low}, {self.high}], got {value!r}")
        if not self.low <= value <= self.high:
            raise SpaceViolation(f"must lie in [{self.low}, {self.high}], got {value!r}")
        if (int(value) - self.low) % (self.step or 1):
            raise SpaceViolation(f"must be {self.low} plus a multiple of {self.step}, got {value!r}")
        return int(value)

    def native(self, code: float) -> int:
        return int(code)


class _Listed(Kind):
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
            return _others(codes, levels)
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
            raise SpaceViolation(f"must be one of {_shown(self.levels)}, got {value!r}")
        return self.levels[position]


@dataclass(frozen=True)
class Ordinal(_Listed):
    """One of a sorted list of numbers, kept native; equal steps for the model, whatever the gaps."""

    values: tuple[int | float, ...]
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: int | float | None = None
    prior: Normal | Beta | Weights | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["ordinal"] = "ordinal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _listed("values", self.values))
        for k, value in enumerate(self.values):
            if not is_number(value):
                _wrong(f"values/{k}", f"an ordinal's values are numbers, got {value!r}")
        if any(a >= b for a, b in zip(self.values, self.values[1:], strict=False)):
            _wrong("values", f"values must be sorted and distinct, got {_shown(self.values)}")
        _settle(self)

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
        return _levels_at(units, self._numbers)


@dataclass(frozen=True)
class Categorical(_Listed):
    """One of a list of choices without order; its code is the position in the list."""

    choices: tuple[Value, ...]
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: Value | None = None
    prior: Weights | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["categorical"] = "categorical"

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", _listed("choices", self.choices))
        _settle(self)

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
        return _levels_at(units, np.arange(self.n_levels, dtype=np.float64))


@dataclass(frozen=True)
class Bool(_Listed):
    """True or false."""

    when: Mapping[str, tuple[Value, ...]] | None = None
    default: bool | None = None
    prior: Weights | None = None
    aliases: tuple[str, ...] = ()
    type: Literal["bool"] = "bool"

    def __post_init__(self) -> None:
        _settle(self)

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
        return _levels_at(units, np.arange(2, dtype=np.float64))


@dataclass(frozen=True)
class Fixed(_Listed):
    """A constant handed out with every configuration; it has no column in the model."""

    value: Value
    when: Mapping[str, tuple[Value, ...]] | None = None
    default: Value | None = None
    type: Literal["fixed"] = "fixed"

    def __post_init__(self) -> None:
        _check_value("value", self.value)
        _settle(self)
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


Parameter = Float | Int | Ordinal | Categorical | Bool | Fixed
KINDS: dict[str, type[Parameter]] = {
    "float": Float, "int": Int, "ordinal": Ordinal, "categorical": Categorical, "bool": Bool, "fixed": Fixed,
}  # fmt: skip


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


def _wrong(field: str, detail: str) -> NoReturn:
    raise InvalidSearchSpace(detail, errors=[FieldError("/" + field, detail)])


def _check_value(field: str, value: Any) -> None:
    if not isinstance(value, bool | int | float | str):
        _wrong(field, f"must be a string, a number or a boolean, got {value!r}")
    if isinstance(value, str):
        problem = text_problem(value)
        if problem is not None:
            _wrong(field, problem)
    elif isinstance(value, float) and not math.isfinite(value):
        _wrong(field, f"must be finite, got {value!r}")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        _wrong(field, f"integers must lie within ±2^53, got {value!r}")


def _listed(field: str, values: Any) -> tuple[Value, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        _wrong(field, f"{field} must be a list, got {values!r}")
    if not values:
        _wrong(field, f"{field} must not be empty")
    if len(values) > MAX_LISTED:
        _wrong(field, f"{field} may list {MAX_LISTED} values, got {len(values)}")
    seen: set[tuple[str, Value]] = set()
    for k, value in enumerate(values):
        _check_value(f"{field}/{k}", value)
        if json_identity(value) in seen:
            _wrong(f"{field}/{k}", f"{value!r} is in the list twice")
        seen.add(json_identity(value))
    return tuple(values)


def _settle(parameter: Any) -> None:
    """The last part of every `__post_init__`: `when` becomes a dict of tuples, `default` a canonical value."""
    when = parameter.when
    if when is not None:
        if not isinstance(when, Mapping) or not when:
            _wrong("when", f"when must name at least one parent with its values, got {when!r}")
        object.__setattr__(
            parameter, "when", {name: _listed(f"when/{escape(str(name))}", v) for name, v in when.items()}
        )
    if parameter.default is not None:
        try:
            object.__setattr__(parameter, "default", parameter.canonical(parameter.default))
        except SpaceViolation as error:
            _wrong("default", f"default {error.detail}")
    if parameter.type != "fixed":
        object.__setattr__(parameter, "aliases", _names(parameter.aliases))
        if parameter.prior is not None:
            object.__setattr__(parameter, "prior", read(parameter, parameter.prior))


def _names(given: Any) -> tuple[str, ...]:
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sequence) or len(given) > MAX_ALIASES:
        _wrong("aliases", f"aliases must be a list of at most {MAX_ALIASES} names, got {given!r}")
    for k, name in enumerate(given):
        problem = name_problem(name)
        if problem is not None:
            _wrong(f"aliases/{k}", problem)
    return tuple(dict.fromkeys(given))


def escape(name: str) -> str:
    """A name as one segment of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _others(codes: Array, levels: Array) -> Array:
    """(n, m) all levels but the own of (n,) codes, that one NaN, as all are of a NaN."""
    own = codes[:, None]
    return np.where((levels == own) | np.isnan(own), np.nan, levels)


def _levels_at(units: Array, levels: Array) -> Array:
    """The level whose bin holds each place; NaN stays."""
    missing = np.isnan(units)
    k = np.clip(np.floor(np.where(missing, 0.0, units) * len(levels)), 0, len(levels) - 1).astype(np.intp)
    return np.where(missing, np.nan, levels[k])


def _shown(values: Sequence[Value]) -> str:
    shown = ", ".join(repr(value) for value in values[:10])
    return f"[{shown}{', …' if len(values) > 10 else ''}]"
