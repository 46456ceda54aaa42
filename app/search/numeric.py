"""Parameters that are numbers between two bounds: `float` and `int`.

Scales: `linear`; `log`, u = log(x / low) / log(high / low); `reverse_log`, the mirror of it with the fine resolution
near `high`, u = 1 - log-position of (low + high - x), for quantities such as a momentum of 0.9, 0.99, 0.999.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import SpaceViolation
from app.search.kinds import NEAREST, Array, Kind, others, settle
from app.search.optimum import Beta, Normal
from app.search.values import MAX_INTEGER, Value, is_number, wrong

Scale = Literal["linear", "log", "reverse_log"]

BOUND_TOLERANCE = 1e-12  # of the range: a bound that lost a digit on its way through text is still the bound
STEP_TOLERANCE = 1e-6  # of a step: 0.1 + 0.2 lies on a grid of tenths


class Numeric(Kind):
    """Floats and integers: a grid or a continuum between two bounds, on one of three scales."""

    low: Any
    high: Any
    step: Any
    scale: Scale

    def _check_numbers(self) -> None:
        if self.scale not in ("linear", "log", "reverse_log"):
            wrong("scale", f"scale must be linear, log or reverse_log, got {self.scale!r}")
        if not self.low < self.high:
            wrong("low", f"low must be below high, got [{self.low}, {self.high}]")
        if self.scale != "linear" and not self.low > 0:
            wrong("low", f"scale {self.scale} needs low > 0, got {self.low}")
        if self.scale == "reverse_log" and not math.isfinite(self.low + self.high):
            wrong("high", f"scale reverse_log needs a finite low + high, got [{self.low}, {self.high}]")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            wrong("step", f"step must lie in (0, high - low = {self.high - self.low}], got {self.step}")

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

    @property
    def is_straight(self) -> bool:
        """Whether it is a continuum whose place is its value, shifted and scaled."""
        return not self._spacing and self._log_edges is None and math.isfinite(self.high - self.low)

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
            return others(codes, self.level_codes())
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
class Float(Numeric):
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
                    wrong(name, f"{name} must be a finite number, got {value!r}")
                object.__setattr__(self, name, float(value) + 0.0)
        self._check_numbers()
        settle(self)

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
class Int(Numeric):
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
                    wrong(name, f"{name} must be an integer, got {value!r}")
                if abs(value) > MAX_INTEGER:
                    wrong(name, f"{name} must lie within ±2^53, got {value!r}")
                object.__setattr__(self, name, int(value))
        self._check_numbers()
        settle(self)

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


@dataclass(frozen=True)
class Lines:
    """Straight continua, all at once: (q,) their parameters and columns, and their bounds. As each of them alone."""

    parameters: NDArray[np.intp]
    columns: NDArray[np.intp]
    low: Array
    high: Array

    @classmethod
    def of(cls, parameters: Sequence[int], columns: Sequence[int], kinds: Sequence[Any]) -> Lines:
        bounds = np.array([(kind.low, kind.high) for kind in kinds], dtype=np.float64).reshape(-1, 2)
        return cls(np.array(parameters, dtype=np.intp), np.array(columns, dtype=np.intp), bounds[:, 0], bounds[:, 1])

    def units(self, codes: Array) -> Array:
        """(n, q) codes to places; NaN stays."""
        with np.errstate(all="ignore"):
            return np.asarray((codes - self.low) / (self.high - self.low), dtype=np.float64)

    def codes(self, units: Array) -> Array:
        """(n, q) places to legal codes; a NaN takes the middle."""
        units = np.minimum(np.maximum(np.where(np.isnan(units), 0.5, units), 0.0), 1.0)
        values = self.low * (1.0 - units) + self.high * units
        return np.minimum(np.maximum(values, self.low), self.high) + 0.0
