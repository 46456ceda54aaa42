"""What may not be: in a space as it was defined, and in a configuration of it. Every wrong place with its pointer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from app.errors import FieldError, InvalidConstraint, SpaceViolation
from app.search.constraints import parse
from app.search.listed import Bool, Categorical, Fixed, Ordinal
from app.search.numeric import Float, Int
from app.search.parameters import brief
from app.search.values import Value, escape, name_problem

if TYPE_CHECKING:
    from app.search.space import SearchSpace


def definition_errors(space: SearchSpace) -> list[FieldError]:
    """Of its names, conditions and constraints, with pointers such as `/space/lr/when/optimizer`."""
    return [*_name_errors(space), *_condition_errors(space), *_constraint_errors(space)]


def _name_errors(space: SearchSpace) -> Iterator[FieldError]:
    if not space.parameters:
        yield FieldError("/space", "must hold at least one parameter")
    for name, parameter in space.parameters.items():
        problem = name_problem(name)
        if problem is not None:
            yield FieldError(f"/space/{escape(str(name))}", f"a parameter's name {problem}")
        given: Any = parameter
        if not isinstance(given, Float | Int | Ordinal | Categorical | Bool | Fixed):
            yield FieldError(f"/space/{escape(str(name))}", f"must be a parameter, got {parameter!r}")
            continue
        for k, alias in enumerate(parameter.aliases):
            if alias in space.parameters:
                detail = f"{alias!r} is itself a parameter of this space"
                yield FieldError(f"/space/{escape(str(name))}/aliases/{k}", detail)


def _condition_errors(space: SearchSpace) -> list[FieldError]:
    errors = []
    for name, parameter in space.parameters.items():
        for parent, values in (getattr(parameter, "when", None) or {}).items():
            pointer = f"/space/{escape(name)}/when/{escape(parent)}"
            if parent not in space.parameters:
                errors.append(FieldError(pointer, f"there is no parameter {parent!r}"))
                continue
            for k, value in enumerate(values):
                try:
                    space.parameters[parent].canonical(value)
                except SpaceViolation as error:
                    errors.append(FieldError(f"{pointer}/{k}", f"{parent} {error.detail}"))
    if not errors and len(space.order) < len(space.parameters):
        looped = [name for k, name in enumerate(space.parameters) if k not in space.order]
        errors.append(FieldError(f"/space/{escape(looped[0])}/when", f"the conditions of {looped} form a circle"))
    return errors


def _constraint_errors(space: SearchSpace) -> Iterator[FieldError]:
    for k, text in enumerate(space.constraints):
        try:
            constraint = parse(text)
        except InvalidConstraint as error:
            yield FieldError(f"/constraints/{k}", error.detail)
            continue
        for name in constraint.names:
            if name not in space.parameters:
                yield FieldError(f"/constraints/{k}", f"there is no parameter {name!r}")
            elif not space.parameters[name].is_numeric:
                yield FieldError(f"/constraints/{k}", f"{name!r} is not numeric; constraints are over numbers")


def checked(space: SearchSpace, params: Mapping[str, Any], partial: bool = False) -> dict[str, Value]:
    """See `SearchSpace.check`."""
    if not isinstance(params, Mapping):
        raise SpaceViolation(
            f"params must be an object, got {brief(params)}", errors=[FieldError("/params", "must be an object")]
        )
    errors: list[FieldError] = []
    values: dict[str, Value] = {}
    for name, value in params.items():
        if name not in space.parameters:
            errors.append(at_parameter(name, f"there is no parameter {name!r}; there are {_listing(space.names)}"))
            continue
        try:
            values[name] = space.parameters[name].canonical(value)
        except SpaceViolation as error:
            errors.append(at_parameter(name, error.detail))
    if partial and not errors:
        errors += _select_parents(space, values)
    if not errors:
        errors += _presence_errors(space, values, partial)
    if not errors:
        errors += _broken_constraints(space, values)
    if errors:
        detail = "; ".join(f"{e.pointer.rpartition('/')[2]}: {e.detail}" for e in errors[:3])
        raise SpaceViolation(detail, errors=errors)
    return {name: values[name] for name in space.names if name in values}


def _select_parents(space: SearchSpace, values: dict[str, Value]) -> list[FieldError]:
    """Give every parent that is missing a value that activates all its children in `values`, in place."""
    for k in reversed(space.order):
        name = space.names[k]
        if name in values:
            continue
        wishes = [space.kinds[c].when or {} for c in range(len(space.names)) if space.names[c] in values]
        wishes = [when for when in wishes if name in when]
        if not wishes:
            continue
        kind = space.kinds[k]
        common = [
            v for v in (kind.canonical(v) for v in wishes[0][name])
            if all(any(kind.canonical(w) == v for w in when[name]) for when in wishes)
        ]  # fmt: skip
        if not common:
            return [at_parameter(name, f"no value of {name!r} activates all the parameters given")]
        values[name] = common[0]
    return []


def _presence_errors(space: SearchSpace, values: dict[str, Value], partial: bool) -> list[FieldError]:
    """Inactive or missing parameters; fills in the fixed ones, in place."""
    errors: list[FieldError] = []
    codes: dict[int, float] = {}
    for k in space.order:
        name, kind = space.names[k], space.kinds[k]
        if not space.is_active(k, codes):
            if name in values:
                needs = " and ".join(f"{p} in {list(v)!r}" for p, v in (kind.when or {}).items())
                errors.append(at_parameter(name, f"not active here: it needs {needs}"))
            continue
        if name not in values and isinstance(kind, Fixed):
            values[name] = kind.value
        if name in values:
            codes[k] = kind.code(values[name])
        elif not partial:
            errors.append(at_parameter(name, "is missing"))
    return errors


def _broken_constraints(space: SearchSpace, values: Mapping[str, Value]) -> list[FieldError]:
    """Constraints that fail; one over a parameter that is absent holds."""
    if not space.parsed_constraints:
        return []
    codes = np.array([[space.parameters[n].code(values[n]) if n in values else np.nan for n in space.names]])
    columns = space.native_columns(codes)
    broken = [constraint for constraint in space.parsed_constraints if not constraint.holds(columns, 1)[0]]
    return [at_parameter(constraint.names[0], f"breaks the constraint {constraint.text!r}") for constraint in broken]


def at_parameter(name: Any, detail: str) -> FieldError:
    """Of a configuration's value."""
    return FieldError(f"/params/{escape(str(name))}", detail)


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
