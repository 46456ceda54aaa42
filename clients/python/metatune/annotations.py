"""A search space from the annotations of a dataclass or a Pydantic model, and its instances from params.

    @dataclass
    class Config:
        lr: Annotated[float, metatune.float_(1e-5, 1, scale="log")]
        layers: Annotated[int, metatune.int_(1, 8)] = 3        # the default is the first guess
        optimizer: Literal["sgd", "adam"] = "adam"
        nesterov: bool = False

`Literal`, `bool` and enumerations say all there is to say; of a Pydantic field, `ge` and `le` are its bounds. Anything
else needs a parameter in `Annotated`.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from metatune.space import Parameter, bool_, categorical, float_, int_

Config = TypeVar("Config")

MISSING = object()


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One field: what it is, what is said beside that, and what it is if nothing is said."""

    name: str
    kind: Any
    extras: Sequence[Any]
    default: Any


def space_of(space: Mapping[str, Parameter] | type) -> dict[str, Parameter]:
    """The space in the words of the HTTP contract.  Raises: TypeError, naming the field that says too little."""
    if isinstance(space, Mapping):
        return dict(space)
    if not isinstance(space, type):
        raise TypeError(
            f"a space is a dictionary of parameters, a dataclass or a Pydantic model, not {space!r} "
            "(the class itself, no instance)"
        )
    found = {annotation.name: _parameter(annotation) for annotation in _annotations(space)}
    if not found:
        raise TypeError(f"{space.__name__} has no fields to search over")
    return found


def instance_of(kind: type[Config], params: Mapping[str, Any]) -> Config:
    """An instance with these params; enumerations are put back, what is left out keeps its default."""
    fields = {annotation.name: annotation for annotation in _annotations(kind)}
    unknown = sorted(params.keys() - fields.keys())
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(unknown)}; the study has another space")
    return kind(**{name: _back(fields[name].kind, value) for name, value in params.items()})


def _annotations(kind: type) -> Iterator[Annotation]:
    models = getattr(kind, "model_fields", None)
    hints = get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        for field in dataclasses.fields(kind):
            if field.init:
                default = MISSING if field.default is dataclasses.MISSING else field.default
                yield _annotation(field.name, hints[field.name], (), default)
    elif isinstance(models, Mapping):  # Pydantic, which keeps what Annotated said beside its own constraints
        for name, field in models.items():
            is_required = field.is_required() or field.default_factory is not None
            yield _annotation(name, field.annotation, field.metadata, MISSING if is_required else field.default)
    else:
        raise TypeError(f"{kind.__name__} is neither a dataclass nor a Pydantic model; decorate it with @dataclass")


def _annotation(name: str, hint: Any, metadata: Sequence[Any], default: Any) -> Annotation:
    extras = list(metadata)
    if get_origin(hint) is Annotated:
        hint, *beside = get_args(hint)
        extras += beside
    if get_origin(hint) in (Union, types.UnionType):  # `float | None`, of a parameter that may be inactive
        [*rest] = [one for one in get_args(hint) if one is not type(None)]
        hint = rest[0] if len(rest) == 1 else hint
        if get_origin(hint) is Annotated:
            hint, *beside = get_args(hint)
            extras += beside
    return Annotation(name, hint, extras, default)


def _parameter(field: Annotation) -> Parameter:
    said = [extra for extra in field.extras if isinstance(extra, dict) and "type" in extra]
    if len(said) > 1:
        raise TypeError(f"{field.name}: Annotated holds {len(said)} parameters, one is enough")
    parameter = dict(said[0]) if said else _inferred(field)
    default = field.default.value if isinstance(field.default, enum.Enum) else field.default
    if default is not MISSING and default is not None and parameter["type"] != "fixed":
        parameter.setdefault("default", default)
    return parameter


def _inferred(field: Annotation) -> Parameter:
    kind = field.kind
    if kind is bool:
        return bool_()
    if get_origin(kind) is Literal:
        return categorical(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return categorical([member.value for member in kind])
    low, high = _bound(field.extras, "ge"), _bound(field.extras, "le")
    if kind in (int, float) and low is not None and high is not None:
        return int_(low, high) if kind is int else float_(low, high)
    name = getattr(kind, "__name__", str(kind))
    builder = {"int": "int_(1, 8)", "float": "float_(1e-5, 1, scale='log')"}.get(name, "categorical([...])")
    raise TypeError(
        f"{field.name}: {name} does not say what to search over. Write "
        f"{field.name}: Annotated[{name}, metatune.{builder}], or in its place metatune.fixed(value) to keep it as is"
    )


def _bound(extras: Sequence[Any], name: str) -> Any:
    """Of Pydantic's `Field(ge=..., le=...)`, which keeps each as an object of that attribute."""
    return next((getattr(extra, name) for extra in extras if getattr(extra, name, None) is not None), None)


def _back(kind: Any, value: Any) -> Any:
    return kind(value) if isinstance(kind, type) and issubclass(kind, enum.Enum) else value
