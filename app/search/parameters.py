"""The kinds of parameter by the word that a study's body has for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from app.errors import FieldError, InvalidSearchSpace
from app.search.listed import Bool, Categorical, Fixed, Ordinal
from app.search.numeric import Float, Int
from app.search.optimum import Prior
from app.search.optimum import to_json as prior_to_json
from app.search.values import escape

Parameter = Float | Int | Ordinal | Categorical | Bool | Fixed
KINDS: dict[str, type[Parameter]] = {
    "float": Float, "int": Int, "ordinal": Ordinal, "categorical": Categorical, "bool": Bool, "fixed": Fixed,
}  # fmt: skip


def parameter_from_json(fields: Any) -> Parameter:
    """Read one parameter.  Raises: InvalidSearchSpace, with pointers below it."""
    if not isinstance(fields, Mapping):
        raise first_of([FieldError("", f"must be an object with a type, got {brief(fields)}")])
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in KINDS:
        detail = (
            f"type must be one of {', '.join(KINDS)}, got {kind!r}"
            if "type" in fields
            else f"needs a type: {', '.join(KINDS)}"
        )
        raise first_of([FieldError("/type", detail)])
    legal = {field.name: field for field in dataclasses.fields(KINDS[kind])}
    errors = [
        FieldError(f"/{escape(str(name))}", f"{kind} has no field {name!r}; it has {', '.join(legal)}")
        for name in fields
        if name not in legal
    ]
    errors += [
        FieldError(f"/{name}", f"{kind} needs {name}")
        for name, field in legal.items()
        if field.default is dataclasses.MISSING and name not in fields
    ]
    if errors:
        raise first_of(errors)
    return KINDS[kind](**fields)


def parameter_to_json(parameter: Parameter) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": parameter.type}
    for field in dataclasses.fields(parameter):
        value = getattr(parameter, field.name)
        if field.name == "type" or (field.default is not dataclasses.MISSING and value == field.default):
            continue
        if isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Prior):
            value = prior_to_json(value)
        elif isinstance(value, Mapping):
            value = {name: list(values) for name, values in value.items()}
        fields[field.name] = value
    return fields


def first_of(errors: Sequence[FieldError]) -> InvalidSearchSpace:
    first = errors[0]
    where = first.pointer.lstrip("/") or "parameter"
    return InvalidSearchSpace(f"{where}: {first.detail}", errors=errors)


def brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
