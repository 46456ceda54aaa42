"""A search space: named parameters in order, the conditions between them, and inequalities over them.

The one definition of what may be tried. Pydantic validates the dataclasses at the edge, the database keeps `to_json()`,
the core reads the encoding: one column of the unit cube per parameter that is not fixed, NaN where it is not active.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from app.errors import FieldError, InvalidSearchSpace, NoFeasiblePoint, SpaceViolation
from app.search import feasible
from app.search.constraints import Array, Constraint, Mask, parse
from app.search.enumeration import Enumeration
from app.search.legality import at_parameter, checked, definition_errors
from app.search.listed import Bool, Categorical, Fixed, Ordinal
from app.search.numeric import Float, Int, Lines, Scale
from app.search.optimum import Optimum
from app.search.parameters import Parameter, brief, first_of, parameter_from_json, parameter_to_json
from app.search.values import Value, escape, is_number, json_identity

__all__ = [
    "Bool", "Categorical", "Fixed", "Float", "Int", "Ordinal", "Parameter", "Scale", "SearchSpace", "Value",
]  # fmt: skip

MAX_PROVED = 50_000  # finite spaces up to this size are gone through before they are called infeasible
MAX_PARAMETERS = 1000
MAX_AFAR = 100.0  # cube edges: values of another version of the space count as no further outside than this
FEW = 4  # configurations that are encoded faster value by value
FEW_LEVELS = 12
MAX_COUNTED = 10**6  # spaces with more configurations are "large": not counted, never exhausted


@dataclass(frozen=True)
class SearchSpace:
    """Parameters by name, in the order given, and constraints as text.

    Raises: InvalidSearchSpace with a pointer for every wrong place; NoFeasiblePoint if a thorough search (see
        `feasible.first_rows`) meets no configuration that satisfies the constraints.
    Equality is Python's (a choice 1 equals a choice True); compare `to_json()` texts where JSON types matter.
    """

    parameters: Mapping[str, Parameter]
    constraints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", dict(self.parameters))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        errors = definition_errors(self)
        if errors:
            raise first_of(errors)
        if not self._anchors.shape[0]:
            effort = f"none of its {self.size} configurations does" if self._is_small else f"{feasible.EFFORT} met none"
            raise NoFeasiblePoint(
                f"no point satisfies the constraints {list(self.constraints)}: {effort}",
                errors=[FieldError("/constraints", "no feasible point was found")],
            )

    # ---- definition

    @classmethod
    def from_json(cls, space: Mapping[str, Any], constraints: Sequence[str] = ()) -> SearchSpace:
        """Read the `space` and `constraints` of a study's body.

        Raises: InvalidSearchSpace, with one pointer such as `/space/lr/low` for every wrong parameter or constraint.
        """
        given: Any = space
        if not isinstance(given, Mapping) or not given:
            raise first_of([FieldError("/space", f"must be an object of at least one parameter, got {brief(space)}")])
        if len(given) > MAX_PARAMETERS:
            raise first_of([FieldError("/space", f"may hold {MAX_PARAMETERS} parameters, got {len(given)}")])
        if isinstance(constraints, str) or not isinstance(constraints, Sequence):
            raise first_of([FieldError("/constraints", f"must be a list of strings, got {brief(constraints)}")])
        parameters: dict[str, Parameter] = {}
        errors: list[FieldError] = []
        for name, fields in space.items():
            try:
                parameters[name] = parameter_from_json(fields)
            except InvalidSearchSpace as error:
                errors += [FieldError(f"/space/{escape(str(name))}{e.pointer}", e.detail) for e in error.errors]
        if errors:
            raise first_of(errors)
        return cls(parameters, tuple(constraints))

    def to_json(self) -> dict[str, Any]:
        """The normalised `space` object: bounds of floats are floats, what was left out stays out."""
        return {name: parameter_to_json(parameter) for name, parameter in self.parameters.items()}

    # ---- structure, computed once

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All parameters in order, fixed ones included: the columns of a code matrix."""
        return tuple(self.parameters)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The parameters that own a column of the unit cube, in order."""
        return tuple(name for name, parameter in self.parameters.items() if not isinstance(parameter, Fixed))

    @property
    def n_dimensions(self) -> int:
        """Number of columns of the encoding: one per parameter, none for fixed ones."""
        return len(self.columns)

    @cached_property
    def kinds(self) -> tuple[Parameter, ...]:
        return tuple(self.parameters.values())

    @cached_property
    def _column_of(self) -> tuple[int | None, ...]:
        """For every parameter its column of the unit cube, None if fixed."""
        position = {name: j for j, name in enumerate(self.columns)}
        return tuple(position.get(name) for name in self.names)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Positions of the parameters, parents before children; those on a circle of conditions are left out."""
        position = {name: k for k, name in enumerate(self.names)}
        waiting = {k: {position[p] for p in (kind.when or {})} for k, kind in enumerate(self.kinds)}
        order: list[int] = []
        placed: set[int] = set()
        while ready := [k for k, parents in waiting.items() if parents <= placed]:
            for k in ready:
                del waiting[k]
            order += ready
            placed.update(ready)
        return tuple(order)

    @cached_property
    def _conditions(self) -> tuple[tuple[tuple[int, Array], ...], ...]:
        """For every parameter its conditions: the parent's position and the codes that activate."""
        position = {name: k for k, name in enumerate(self.names)}
        return tuple(
            tuple(
                (position[p], np.array([self.parameters[p].code(self.parameters[p].canonical(v)) for v in values]))
                for p, values in (kind.when or {}).items()
            )
            for kind in self.kinds
        )

    @cached_property
    def places(self) -> tuple[Array, ...]:
        """For each column of choices, or of a few levels, the places of all of them; empty for others."""
        kinds = [self.parameters[name] for name in self.columns]
        return tuple(
            np.empty(0) if kind.n_levels is None or (kind.is_ordered and kind.n_levels > FEW_LEVELS)
            else kind.units(kind.level_codes())
            for kind in kinds
        )  # fmt: skip

    @cached_property
    def is_parent(self) -> tuple[bool, ...]:
        """(D,) whether other parameters depend on the column's."""
        parents = {parent for kind in self.kinds for parent in kind.when or {}}
        return tuple(name in parents for name in self.columns)

    @cached_property
    def parsed_constraints(self) -> tuple[Constraint, ...]:
        return tuple(parse(text) for text in self.constraints)

    @cached_property
    def _anchors(self) -> Array:
        """Some feasible rows (k, D), from which tight regions are explored further; empty when none was found."""
        rows = feasible.first_rows(self)
        if not len(rows) and self._is_small:  # the search met none: a small finite space can be gone through
            known = [
                self.encode(params) for params, _ in zip(self.enumerate(), range(feasible.N_ANCHORS), strict=False)
            ]
            rows = np.array(known).reshape(-1, self.n_dimensions)
        return rows

    @property
    def _is_small(self) -> bool:
        return self.size is not None and self.size <= MAX_PROVED

    @property
    def anchors(self) -> Array:
        """(k, D) some rows that satisfy the constraints, found when the space was made."""
        return self._anchors

    @cached_property
    def defaults(self) -> dict[str, Value]:
        return {name: kind.default for name, kind in self.parameters.items() if kind.default is not None}

    @cached_property
    def optimum(self) -> Optimum:
        """Where the user believes it to lie; false where nothing is said."""
        return Optimum(self)

    @cached_property
    def n_levels(self) -> tuple[int | None, ...]:
        """(D,) number of levels of each column, None for a continuum."""
        return tuple(self.parameters[name].n_levels for name in self.columns)

    @cached_property
    def size(self) -> int | None:
        """Number of distinct configurations, constraints ignored; None for a continuum or more than 10**6."""
        if any(kind.n_levels is None for kind in self.kinds):
            return None
        parents = {parent for conditions in self._conditions for parent, _ in conditions}
        order = [k for k in self.order if k in parents]
        leaves = [k for k in self.order if k not in parents]
        total = 0
        for codes in Enumeration(self, order):
            count = 1
            for k in leaves:
                if self.is_active(k, codes):
                    count *= self.kinds[k].n_levels or 1
            total += count
            if total > MAX_COUNTED:
                return None
        return total

    # ---- code matrices: (n, P) float64, one column per parameter, NaN where not active

    def codes_of_units(self, units: Array) -> Array:
        """(n, D) rows of the unit cube to (n, P) legal codes, conditions applied; an active NaN takes the middle."""
        codes = np.full((units.shape[0], len(self.names)), np.nan)
        lines = self._lines
        codes[:, lines.parameters] = lines.codes(units[:, lines.columns])
        return self._with_codes(codes, units, self._bent)

    def _with_codes(self, codes: Array, units: Array, parameters: Sequence[int]) -> Array:
        """With those of some parameters, parents before their children, written into (n, P) codes."""
        middle = np.full(units.shape[0], 0.5)
        for k in parameters:
            column = self._column_of[k]
            own = middle if column is None else units[:, column]
            if column is not None and np.isnan(own).any():
                own = np.where(np.isnan(own), 0.5, own)
            codes[:, k] = self.kinds[k].codes(own)
            if self._conditions[k]:
                codes[~self._active_rows(k, codes), k] = np.nan
        return codes

    def units_of_codes(self, codes: Array) -> Array:
        """(n, P) codes to (n, D) rows of the unit cube; NaN stays."""
        units = np.empty((codes.shape[0], self.n_dimensions))
        lines = self._lines
        units[:, lines.columns] = lines.units(codes[:, lines.parameters])
        for k in self._bent:
            column = self._column_of[k]
            if column is not None:
                units[:, column] = self.kinds[k].units(codes[:, k])
        return units

    def snap(self, units: Array) -> Array:
        """(n, D) rows as they will be evaluated: levels at their places, NaN where not active, continua unchanged."""
        snapped = np.minimum(np.maximum(np.where(np.isnan(units), 0.5, units), 0.0), 1.0)
        if not self._not_free:
            return snapped
        codes = self._with_codes(np.full((units.shape[0], len(self.names)), np.nan), units, self._not_free)
        for k in self._not_free:
            column, kind = self._column_of[k], self.kinds[k]
            if column is not None:
                own = codes[:, k]
                snapped[:, column] = (
                    np.where(np.isnan(own), np.nan, snapped[:, column]) if kind.n_levels is None else kind.units(own)
                )
        return snapped

    @cached_property
    def _lines(self) -> Lines:
        """The continua on a linear scale that are always active, which are most of many spaces."""
        found = [
            k for k, kind in enumerate(self.kinds)
            if isinstance(kind, Float) and kind.is_straight and not self._conditions[k]
        ]  # fmt: skip
        return Lines.of(found, [self._column_of[k] or 0 for k in found], [self.kinds[k] for k in found])

    @cached_property
    def _bent(self) -> tuple[int, ...]:
        """All other parameters, parents before their children."""
        lines = set(self._lines.parameters.tolist())
        return tuple(k for k in self.order if k not in lines)

    @cached_property
    def _not_free(self) -> tuple[int, ...]:
        """All but the continua that are always active and no parents, parents before their children."""
        related = {parent for conditions in self._conditions for parent, _ in conditions}
        related |= {k for k, conditions in enumerate(self._conditions) if conditions}
        return tuple(k for k in self.order if k in related or self.kinds[k].n_levels is not None)

    def satisfied(self, codes: Array) -> Mask:
        """(n,) whether every constraint holds on (n, P) codes."""
        holds = np.ones(codes.shape[0], dtype=bool)
        columns = self.native_columns(codes)
        for constraint in self.parsed_constraints:
            holds &= constraint.holds(columns, codes.shape[0])
        return holds

    def margins(self, codes: Array) -> Array:
        """(n, C) the margin of every constraint, see `Constraint.margin`."""
        columns = self.native_columns(codes)
        margins = [constraint.margin(columns, codes.shape[0]) for constraint in self.parsed_constraints]
        return np.stack(margins, axis=1) if margins else np.empty((codes.shape[0], 0))

    def native_columns(self, codes: Array) -> dict[str, Array]:
        return {name: codes[:, k] for k, name in enumerate(self.names)}

    def _active_rows(self, k: int, codes: Array) -> Mask:
        active = np.ones(codes.shape[0], dtype=bool)
        for parent, wanted in self._conditions[k]:
            active &= (codes[:, parent, None] == wanted).any(axis=1)
        return active

    def is_active(self, k: int, codes: Mapping[int, float]) -> bool:
        return all(parent in codes and bool((wanted == codes[parent]).any()) for parent, wanted in self._conditions[k])

    # ---- native configurations

    def active(self, params: Mapping[str, Value]) -> frozenset[str]:
        """Names of the parameters that are present under the values of their parents in `params`."""
        codes: dict[int, float] = {}
        for k in self.order:
            name, kind = self.names[k], self.kinds[k]
            if self.is_active(k, codes):
                value = kind.value if isinstance(kind, Fixed) else params.get(name)
                codes[k] = kind.code(value)
        return frozenset(self.names[k] for k in codes)

    def check(self, params: Mapping[str, Any], partial: bool = False) -> dict[str, Value]:
        """A user's parameters as canonical native values in the space's order.

        Args:
            params: native values by name.
            partial: parameters may be missing; a child without its parent selects the parent's value.
        Raises: SpaceViolation, with a pointer `/params/<name>` for every value that is unknown, illegal, missing or not
            active, and for a broken constraint.
        """
        return checked(self, params, partial)

    # ---- encoding

    def encode(self, params: Mapping[str, Value]) -> Array:
        """(D,) the row of a legal configuration; NaN where not active. Raises: SpaceViolation."""
        return np.asarray(self.encode_many([params])[0], dtype=np.float64)

    def encode_many(self, configurations: Sequence[Mapping[str, Value]], strict: bool = True) -> Array:
        """(n, D) rows of many configurations.

        Args:
            strict: raise SpaceViolation for a value that the space does not know. With False, configurations of another
                version of the space are read as far as they mean anything: numbers outside the bounds land outside
                [0, 1], 100 edges at most; unknown choices become NaN, a missing active parameter takes its default,
                extras are ignored.
        """
        n = len(configurations)
        if n <= FEW and not strict and all(params.keys() >= self._always_given for params in configurations):
            rows = [
                [kind.code(params[name]) if name in params else math.nan for name, kind in self.parameters.items()]
                for params in configurations
            ]
            units = self.units_of_codes(np.array(rows, dtype=np.float64).reshape(n, len(self.names)))
            return np.minimum(np.maximum(units, -MAX_AFAR), 1.0 + MAX_AFAR)
        codes = np.full((n, len(self.names)), np.nan)
        for k in self.order:
            name, kind = self.names[k], self.kinds[k]
            given = np.fromiter((name in params for params in configurations), dtype=bool, count=n)
            codes[given, k] = kind.codes_of_values([params[name] for params in configurations if name in params])
            if strict:
                self._refuse_foreign(k, codes[:, k], given, configurations)
            fallback = kind.value if isinstance(kind, Fixed) else kind.default
            if fallback is not None and not given.all():
                codes[self._active_rows(k, codes) & ~given, k] = kind.code(fallback)
        units = self.units_of_codes(codes)
        return units if strict else np.clip(units, -MAX_AFAR, 1.0 + MAX_AFAR)

    @cached_property
    def _always_given(self) -> frozenset[str]:
        """Parameters that something stands for where a configuration has no value of them."""
        return frozenset(
            n for n, kind in self.parameters.items() if isinstance(kind, Fixed) or kind.default is not None
        )

    def _refuse_foreign(self, k: int, codes: Array, given: Mask, configurations: Sequence[Mapping[str, Value]]) -> None:
        units = self.kinds[k].units(codes)
        with np.errstate(invalid="ignore"):
            foreign = given & ~((units >= -1e-9) & (units <= 1.0 + 1e-9))
        if foreign.any():
            name = self.names[k]
            value = configurations[int(np.argmax(foreign))][name]
            raise SpaceViolation(
                f"{name}: {value!r} is outside the space",
                errors=[at_parameter(name, f"{value!r} is outside the space")],
            )

    def decode(self, row: Array) -> dict[str, Value]:
        """The native configuration at a (D,) row, conditions applied; an active NaN takes the middle of its range."""
        return self.natives(self.codes_of_units(np.asarray(row, dtype=np.float64)[None, :])[0])

    def natives(self, codes: Array) -> dict[str, Value]:
        """The native configuration of a (P,) row of codes."""
        return {
            name: kind.native(code)
            for name, kind, code in zip(self.names, self.kinds, codes.tolist(), strict=True)
            if not math.isnan(code)
        }

    # ---- identity and enumeration

    def key(self, params: Mapping[str, Value]) -> str:
        """Identity of a configuration: 32 hexadecimal digits of BLAKE2b over typed canonical JSON in name order."""
        texts = []
        for name in sorted(params):
            value: Value = params[name]
            kind = self.parameters.get(name)
            if type(value) is float and isinstance(kind, Float) and math.isfinite(value):  # nearly all are
                texts.append(f"{self._beginnings[name]}{value + 0.0!r}]")
                continue
            if isinstance(kind, Float) and is_number(value):
                value = float(value) + 0.0
            elif isinstance(kind, Int) and isinstance(value, float) and value.is_integer():
                value = int(value)
            elif isinstance(kind, Ordinal | Categorical | Fixed):
                value = kind._own(value)
            texts.append(json.dumps([name, json_identity(value)[0], value]))
        return hashlib.blake2b(f"[{', '.join(texts)}]".encode(), digest_size=16).hexdigest()

    @cached_property
    def _beginnings(self) -> dict[str, str]:
        """What the JSON of a number's identity begins with, by parameter."""
        return {name: f'[{json.dumps(name)}, "number", ' for name in self.names}

    def enumerate(
        self, resolution: int | None = None, fixed: Mapping[str, Value] | None = None, start: int = 0
    ) -> Iterator[dict[str, Value]]:
        """All legal configurations, each once: conditions and constraints respected, the last parameter fastest.

        Args:
            resolution: number of equally spaced points (bounds included) standing for each continuous parameter, and
                for each integer without a step that has more than 100 levels.
            fixed: only configurations in which these parameters are active with these values.
            start: how many to skip.
        Raises: InvalidSearchSpace, if the space has a continuous parameter and no resolution is given.
        """
        if resolution is None and any(kind.n_levels is None for kind in self.kinds):
            raise InvalidSearchSpace("a space with continuous parameters cannot be enumerated without a resolution")
        pins = {k: self.kinds[k].code(fixed[name]) for k, name in enumerate(self.names) if fixed and name in fixed}
        for codes in islice(Enumeration(self, self.order, resolution, pins), start, None):
            yield self.natives(np.array([codes.get(k, np.nan) for k in range(len(self.names))]))
