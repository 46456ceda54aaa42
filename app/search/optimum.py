"""Where a user believes the optimum to lie: what the `prior` of a parameter says, and how a search leans on it.

The belief multiplies the acquisition and fades with every result: log α(x) + (β / n) log π(x). A small part of π is
uniform, so that where the belief sees nothing the search is only slowed, never shut out.

Source: Hvarfner et al. 2022, "πBO: Augmenting acquisition functions with user beliefs for Bayesian optimization".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from app.errors import FieldError, InvalidSearchSpace
from app.search.constraints import Array

if TYPE_CHECKING:
    from app.search.parameters import Parameter
    from app.search.space import SearchSpace
    from app.search.values import Value

STRENGTH = 5.0  # β: after so many results the belief weighs as much as the acquisition; the paper's tenth of 50 trials
DOUBT = 0.05  # part of the belief that is uniform
EDGE = 1e-3  # a beta density may be infinite at the ends of its range, but not this far from them
N_CELLS = 512


@dataclass(frozen=True)
class Normal:
    """The best value is about `mean`; one `std` away is at mean + std (of a reverse_log scale at mean − std), and as
    far in the other direction on the parameter's scale."""

    mean: float
    std: float
    type: Literal["normal"] = "normal"

    def problems(self, kind: Parameter) -> list[FieldError]:
        low, high = _bounds(kind)
        if not _is_finite(self.mean) or not low <= self.mean <= high:
            return [FieldError("/mean", f"mean must lie in [{low}, {high}], got {self.mean!r}")]
        if not _is_finite(self.std) or not self.std > 0 or not self._reach(kind) > 0:
            return [FieldError("/std", f"std must be above 0, got {self.std!r}")]
        return []

    def _center(self, kind: Parameter) -> float:
        return float(kind.units(np.array([float(self.mean)]))[0])

    def _reach(self, kind: Parameter) -> float:
        """One standard deviation, in cube edges."""
        with np.errstate(all="ignore"):
            below, above = kind.units(np.array([self.mean - self.std, self.mean + self.std])) - self._center(kind)
        if kind.type == "ordinal":  # beyond its last value it has no scale
            return float(max(-below, above))
        return float(-below if getattr(kind, "scale", "linear") == "reverse_log" else above)

    def likeliest(self, kind: Parameter) -> Value:
        if kind.n_levels is None:
            return float(self.mean)
        return kind.native(kind.codes(np.array([self._center(kind)]))[0])

    def log(self, kind: Parameter, units: Array) -> Array:
        return np.asarray(-0.5 * ((units - self._center(kind)) / self._reach(kind)) ** 2, dtype=np.float64)

    def slope(self, kind: Parameter, units: Array) -> Array:
        return np.asarray((self._center(kind) - units) / self._reach(kind) ** 2, dtype=np.float64)


@dataclass(frozen=True)
class Beta:
    """A beta distribution over the parameter's range, from low (0) to high (1) on its own scale."""

    alpha: float
    beta: float
    type: Literal["beta"] = "beta"

    def problems(self, kind: Parameter) -> list[FieldError]:
        return [
            FieldError(f"/{name}", f"{name} must be above 0 and at most 1000, got {value!r}")
            for name, value in (("alpha", self.alpha), ("beta", self.beta))
            if not _is_finite(value) or not 0 < value <= 1000
        ]

    @property
    def _mode(self) -> float:
        """Of several equal ones that nearest to the middle, but for a density that is highest at both ends."""
        a, b = self.alpha - 1.0, self.beta - 1.0
        if a >= 0 and b >= 0:
            return a / (a + b) if a + b > 0 else 0.5
        return 0.0 if a <= b else 1.0

    def likeliest(self, kind: Parameter) -> Value:
        return kind.native(kind.codes(np.array([self._mode]))[0])

    def log(self, kind: Parameter, units: Array) -> Array:
        def density(inside: Array) -> Array:
            return np.asarray((self.alpha - 1.0) * np.log(inside) + (self.beta - 1.0) * np.log1p(-inside))

        highest = density(np.clip(self._mode, EDGE, 1.0 - EDGE))
        return density(np.clip(units, EDGE, 1.0 - EDGE)) - highest

    def slope(self, kind: Parameter, units: Array) -> Array:
        inside = np.clip(units, EDGE, 1.0 - EDGE)
        slope = (self.alpha - 1.0) / inside - (self.beta - 1.0) / (1.0 - inside)
        return np.where(inside == units, slope, 0.0)


@dataclass(frozen=True)
class Weights:
    """How much more likely one value is the best than another: a number for each, in the parameter's order."""

    weights: Sequence[float]
    type: Literal["weights"] = "weights"

    def __post_init__(self) -> None:
        given: Any = self.weights
        if isinstance(given, list):
            object.__setattr__(self, "weights", tuple(given))

    def problems(self, kind: Parameter) -> list[FieldError]:
        n = len(getattr(kind, "levels", ()))
        if not isinstance(self.weights, tuple) or len(self.weights) != n:
            return [FieldError("/weights", f"must be a list of {n} numbers, one for each value, got {self.weights!r}")]
        errors = [
            FieldError(f"/weights/{k}", f"must be a number of at least 0, got {weight!r}")
            for k, weight in enumerate(self.weights)
            if not _is_finite(weight) or weight < 0
        ]
        return errors or ([] if max(self.weights) > 0 else [FieldError("/weights", "one of them must be above 0")])

    def likeliest(self, kind: Parameter) -> Value:
        return kind.native(kind.level_codes()[int(np.argmax(self.weights))])

    def log(self, kind: Parameter, units: Array) -> Array:
        n = len(self.weights)
        shares = np.array(self.weights, dtype=np.float64) / max(self.weights)
        at = np.clip(np.floor(np.where(np.isnan(units), 0.0, units) * n), 0, n - 1).astype(np.intp)
        with np.errstate(divide="ignore"):
            return np.where(np.isnan(units), np.nan, np.log(shares)[at])

    def slope(self, kind: Parameter, units: Array) -> Array:
        return np.zeros(len(units))


Prior = Normal | Beta | Weights
#: By the type of a parameter, what may be believed of it.
LEGAL: Mapping[str, Mapping[str, type[Prior]]] = {
    "float": {"normal": Normal, "beta": Beta},
    "int": {"normal": Normal, "beta": Beta},
    "ordinal": {"normal": Normal, "beta": Beta, "weights": Weights},
    "categorical": {"weights": Weights},
    "bool": {"weights": Weights},
}


def read(kind: Parameter, given: Any) -> Prior:
    """The `prior` of a parameter, from JSON or made already.  Raises: InvalidSearchSpace, with pointers."""
    legal = LEGAL[kind.type]
    if isinstance(given, Mapping):
        fields = dict(given)
        name = fields.pop("type", None)
        belief = legal.get(name) if isinstance(name, str) else None
        if belief is None:
            _refuse([FieldError("/prior/type", f"of a {kind.type} one may believe {', '.join(legal)}, got {name!r}")])
        needed = [one for one in belief.__dataclass_fields__ if one != "type"]
        errors = [FieldError(f"/prior/{one}", f"{name} needs {one}") for one in needed if one not in fields]
        errors += [
            FieldError(f"/prior/{str(one).replace('~', '~0').replace('/', '~1')}", f"{name} has {', '.join(needed)}")
            for one in fields
            if one not in needed
        ]
        if errors:
            _refuse(errors)
        given = belief(**fields)
    if not isinstance(given, Normal | Beta | Weights) or given.type not in legal:
        _refuse([FieldError("/prior", f"must be an object with a type ({', '.join(legal)}), got {given!r}")])
    errors = [FieldError(f"/prior{error.pointer}", error.detail) for error in given.problems(kind)]
    if errors:
        _refuse(errors)
    return given


def to_json(prior: Prior) -> dict[str, Any]:
    fields = {name: getattr(prior, name) for name in prior.__dataclass_fields__}
    return {"type": fields.pop("type")} | {
        name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()
    }


@dataclass(frozen=True)
class Optimum:
    """What the parameters of a space say together: columns believed to be independent."""

    space: SearchSpace

    @cached_property
    def _believed(self) -> Sequence[tuple[int, Parameter, Prior]]:
        kinds = [self.space.parameters[name] for name in self.space.columns]
        return [(j, kind, kind.prior) for j, kind in enumerate(kinds) if kind.prior is not None]

    def __bool__(self) -> bool:
        return bool(self._believed)

    def log(self, units: Array) -> Array:
        """(m,) log π at (m, D) rows: 0 where every belief is highest; what is not active does not count."""
        total = np.zeros(len(units))
        for j, kind, prior in self._believed:
            total += np.where(np.isnan(units[:, j]), 0.0, _doubted(prior.log(kind, units[:, j])))
        return total

    def log_and_gradient(self, units: Array) -> tuple[Array, Array]:
        """The same, and its (m, D) derivatives by the numbers of the unit cube."""
        gradient = np.zeros(units.shape)
        for j, kind, prior in self._believed:
            own = units[:, j]
            sure = (1.0 - DOUBT) * np.exp(prior.log(kind, own))
            gradient[:, j] = np.where(np.isnan(own), 0.0, prior.slope(kind, own) * sure / (sure + DOUBT))
        return self.log(units), gradient

    def drawn(self, units: Array) -> Array:
        """Rows of uniform numbers (m, D) as draws from π: every number is a quantile of its column's belief."""
        rows = units.copy()
        for j, _, _ in self._believed:
            rows[:, j] = np.interp(units[:, j], *self._quantiles[j])
        return rows

    @property
    def likeliest(self) -> Mapping[str, Value]:
        """By name the value that each belief thinks best."""
        return {self.space.columns[j]: prior.likeliest(kind) for j, kind, prior in self._believed}

    @cached_property
    def _quantiles(self) -> Mapping[int, tuple[Array, Array]]:
        """By column, rising probabilities and the places up to which they lie."""
        found = {}
        for j, kind, prior in self._believed:
            n = min(kind.n_levels or N_CELLS, N_CELLS)
            density = np.exp(_doubted(prior.log(kind, (np.arange(n) + 0.5) / n)))
            found[j] = (np.append(0.0, np.cumsum(density)) / density.sum(), np.linspace(0.0, 1.0, n + 1))
        return found


@dataclass(frozen=True)
class Lean:
    """How an acquisition leans on the beliefs: weight · log π."""

    optimum: Optimum
    weight: float

    @classmethod
    def of(cls, space: SearchSpace, n_results: int) -> Lean | None:
        """After so many results; None where nobody believes anything."""
        return cls(space.optimum, STRENGTH / max(n_results, 1)) if space.optimum else None

    def value(self, units: Array) -> Array:
        return self.weight * self.optimum.log(units)

    def value_and_gradient(self, units: Array) -> tuple[Array, Array]:
        value, gradient = self.optimum.log_and_gradient(units)
        return self.weight * value, self.weight * gradient


def _doubted(log: Array) -> Array:
    return np.log((1.0 - DOUBT) * np.exp(log) + DOUBT)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _bounds(kind: Parameter) -> tuple[float, float]:
    levels = getattr(kind, "levels", None)
    return (levels[0], levels[-1]) if levels else (kind.low, kind.high)  # type: ignore[union-attr]


def _refuse(errors: Sequence[FieldError]) -> NoReturn:
    raise InvalidSearchSpace(errors[0].detail, errors=errors)
