"""Search spaces as all sides read them: the JSON of a study's `space`, with the types float, int and categorical."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Space = Mapping[str, Mapping[str, Any]]
Params = dict[str, Any]


def float_(low: float, high: float, scale: str = "linear", **when: Sequence[Any]) -> dict[str, Any]:
    return _with(when, {"type": "float", "low": low, "high": high, "scale": scale})


def int_(low: int, high: int, scale: str = "linear", **when: Sequence[Any]) -> dict[str, Any]:
    return _with(when, {"type": "int", "low": low, "high": high, "scale": scale})


def categorical(*choices: Any, **when: Sequence[Any]) -> dict[str, Any]:
    return _with(when, {"type": "categorical", "choices": list(choices)})


def _with(when: Mapping[str, Sequence[Any]], parameter: dict[str, Any]) -> dict[str, Any]:
    return {**parameter, "when": {name: list(values) for name, values in when.items()}} if when else parameter


def box(n_dimensions: int, low: float = -5.0, high: float = 5.0) -> dict[str, dict[str, Any]]:
    return {f"x{j}": float_(low, high) for j in range(n_dimensions)}


def is_conditional(space: Space) -> bool:
    return any("when" in parameter for parameter in space.values())


def is_active(parameter: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    return all(params.get(parent) in values for parent, values in parameter.get("when", {}).items())


def legal(space: Space, params: Mapping[str, Any]) -> Params:
    """Of what a peer gave the active parameters, in their own types and within their bounds; parents come first."""
    found: Params = {}
    for name, parameter in space.items():
        if is_active(parameter, found):
            found[name] = _own(parameter, params[name])
    return found


def _own(parameter: Mapping[str, Any], value: Any) -> Any:
    if parameter["type"] == "categorical":
        return next(choice for choice in parameter["choices"] if choice is value or str(choice) == str(value))
    number = min(max(float(value), parameter["low"]), parameter["high"])
    return round(number) if parameter["type"] == "int" else number


def filled(space: Space, params: Mapping[str, Any]) -> Params:
    """With the middle for parameters that are not active: what peers without conditions are told."""
    return {name: params.get(name, at_unit(parameter, 0.5)) for name, parameter in space.items()}


def of_units(space: Space, units: Sequence[float]) -> Params:
    """The configuration at one number of [0, 1) for every parameter; uniform numbers draw uniformly."""
    every = {name: at_unit(p, float(u)) for (name, p), u in zip(space.items(), units, strict=True)}
    return legal(space, every)


def at_unit(parameter: Mapping[str, Any], u: float) -> Any:
    if parameter["type"] == "categorical":
        choices = parameter["choices"]
        return choices[min(int(u * len(choices)), len(choices) - 1)]
    half = 0.5 if parameter["type"] == "int" else 0.0  # every integer owns a bin of its own
    low, high = parameter["low"] - half, parameter["high"] + half
    if parameter["scale"] == "log":
        value = math.exp((1.0 - u) * math.log(low) + u * math.log(high))
    else:
        value = low + u * (high - low)
    return _own(parameter, value)


def unit_of(parameter: Mapping[str, Any], value: Any) -> float:
    """Where a value lies between the bounds, in [0, 1]; of n choices the k-th at (k + 1/2) / n."""
    if parameter["type"] == "categorical":
        return float((parameter["choices"].index(value) + 0.5) / len(parameter["choices"]))
    low, high = parameter["low"], parameter["high"]
    if parameter["scale"] == "log":
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))
