"""Points that need no model: quick enough to be drawn while the study is locked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from app.search.free import Suggestion, first_unused, free_point, grid_point, pins_of, sobol_point
from app.search.space import SearchSpace
from app.search.values import Value

#: Algorithms whose suggestions come from a model of the trials; the others draw.
MODELLED = frozenset({"gp", "tpe", "cmaes", "nsga2"})


def draw(
    space: SearchSpace,
    algorithm: Mapping[str, Any],
    *,
    seed: int,
    number: int,
    taken: Callable[[str], bool],
    fixed: Mapping[str, Value] | None = None,
) -> Suggestion | None:
    """The point of this number by an algorithm without a model (a modelled one: a random point); None if none is left.

    Args:
        algorithm: `{"name": ..., options}` as the study has it.
        taken: whether a configuration (`space.key`) is in the study.
        fixed: values to keep, as `space.check(..., partial=True)` returns them.
    """
    if algorithm["name"] == "grid":
        return grid_point(space, number=number, taken=taken, resolution=algorithm.get("resolution"), fixed=fixed)
    guess = first_guess(space, number=number, taken=taken, fixed=fixed)
    if guess is not None:
        return guess
    if algorithm["name"] == "sobol":
        return sobol_point(space, seed=seed, number=number, taken=taken, fixed=fixed)
    return free_point(space, seed=seed, number=number, taken=taken, fixed=fixed)


def first_guess(
    space: SearchSpace, *, number: int, taken: Callable[[str], bool], fixed: Mapping[str, Value] | None
) -> Suggestion | None:
    """For number 1 the defaults, or what is believed to be best, where either is given; the others at their middle."""
    defaults = {**space.optimum.likeliest, **space.defaults}
    if number != 1 or not defaults:
        return None
    pins = pins_of(space, defaults)
    row = np.where(np.isnan(pins), 0.5, pins)
    row = np.where(np.isnan(pins_of(space, fixed)), row, pins_of(space, fixed))
    params = first_unused(space, row[None, :], taken, {**defaults, **(fixed or {})})
    why = "the defaults of the space" if space.defaults else "what the space believes to be best"
    return None if params is None else Suggestion(params, "initial", why)
