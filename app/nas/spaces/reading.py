"""Spaces from JSON: every field is checked, and what is wrong is named with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.nas.network import ACTIVATIONS
from app.nas.spaces.cell import CellSpace
from app.nas.spaces.chains import CnnSpace, MlpSpace
from app.nas.spaces.graph import GraphSpace
from app.nas.spaces.operations import OPERATIONS
from app.nas.spaces.space import InvalidSpace, Space

MAX_NODES = 8
MAX_CHOICES = 64
#: Of each type, the fields it takes beside `type` and `max_parameters`.
FIELDS = {
    "cell": {"nodes", "operations", "channels", "cells"},
    "mlp": {"max_depth", "widths", "activations"},
    "cnn": {"max_depth", "widths", "kernels"},
    "graph": {"nodes", "max_edges", "max_inputs", "channels"},
}


def space_from_json(said: Mapping[str, Any]) -> Space:
    """Raises: InvalidSpace, naming the place."""
    kind = said.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise InvalidSpace("/type", f"is one of {', '.join(FIELDS)}; got {kind!r}")
    for name in said:
        if name not in FIELDS[kind] | {"type", "max_parameters"}:
            raise InvalidSpace(f"/{name}", f"a space of type {kind} has no such field; it takes {sorted(FIELDS[kind])}")
    limit = None if said.get("max_parameters") is None else _int(said, "max_parameters", 1, 2**53)
    if kind == "cell":
        operations = _names(said, "operations", OPERATIONS, ["none", "skip", "conv1x1", "conv3x3", "avgpool3x3"])
        return CellSpace(
            _int(said, "nodes", 2, MAX_NODES, 4), operations, _int(said, "channels", 1, 1024, 8),
            _int(said, "cells", 1, 16, 1), max_parameters=limit,
        )  # fmt: skip
    if kind == "mlp":
        return MlpSpace(
            _int(said, "max_depth", 1, 32, 3), _ints(said, "widths", [16, 32, 64, 128], 65_536),
            _names(said, "activations", ACTIVATIONS, ["relu", "tanh"], least=1), max_parameters=limit,
        )  # fmt: skip
    if kind == "cnn":
        kernels = _ints(said, "kernels", [1, 3, 5], 15)
        if any(kernel % 2 == 0 for kernel in kernels):
            raise InvalidSpace("/kernels", f"kernels are odd; got {list(kernels)}")
        return CnnSpace(
            _int(said, "max_depth", 1, 32, 4), _ints(said, "widths", [8, 16, 32], 4096), kernels, max_parameters=limit
        )
    nodes = said.get("nodes")
    if not isinstance(nodes, list) or not 1 <= len(nodes) <= MAX_NODES:
        raise InvalidSpace("/nodes", f"is a list of 1 to {MAX_NODES} nodes, each a list of operations; got {nodes!r}")
    known = {name: what for name, what in OPERATIONS.items() if name != "none"}
    read = tuple(
        _names({"nodes": one}, "nodes", known, [], least=1, place=f"/nodes/{i}") for i, one in enumerate(nodes)
    )
    return GraphSpace(
        read,
        None if said.get("max_edges") is None else _int(said, "max_edges", 1, 1000),
        None if said.get("max_inputs") is None else _int(said, "max_inputs", 1, 1000),
        _int(said, "channels", 1, 1024, 8),
        max_parameters=limit,
    )


def _int(said: Mapping[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    value = said.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidSpace(f"/{name}", f"is a whole number from {low} to {high}; got {value!r}")
    return value


def _ints(said: Mapping[str, Any], name: str, default: list[int], high: int) -> tuple[int, ...]:
    values = said.get(name, default)
    if (
        not isinstance(values, list)
        or not 1 <= len(values) <= MAX_CHOICES
        or len({str(v) for v in values}) < len(values)
    ):
        raise InvalidSpace(f"/{name}", f"is a list of 1 to {MAX_CHOICES} different whole numbers; got {values!r}")
    for i, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
            raise InvalidSpace(f"/{name}/{i}", f"is a whole number from 1 to {high}; got {value!r}")
    return tuple(values)


def _names(
    said: Mapping[str, Any], name: str, known: Any, default: list[str], *, least: int = 2, place: str = ""
) -> tuple[str, ...]:
    values = said.get(name, default)
    place = place or f"/{name}"
    if not isinstance(values, list) or not least <= len(values) <= MAX_CHOICES:
        raise InvalidSpace(place, f"is a list of at least {least} of {', '.join(known)}; got {values!r}")
    for i, value in enumerate(values):
        if not isinstance(value, str) or value not in known:
            raise InvalidSpace(f"{place}/{i}", f"is one of {', '.join(known)}; got {value!r}")
    if len(set(values)) < len(values):
        raise InvalidSpace(place, f"names something twice: {values!r}")
    return tuple(values)
