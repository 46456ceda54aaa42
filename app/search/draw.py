"""Points that need no model: quick enough to be drawn while the study is locked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.search.free import Suggestion, free_point, grid_point, sobol_point
from app.search.parameters import Value
from app.search.space import SearchSpace

#: Algorithms whose suggestions come from a model of the trials; the others draw.
MODELLED = frozenset({"gp"})


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
    if algorithm["name"] == "sobol":
        return sobol_point(space, seed=seed, number=number, taken=taken, fixed=fixed)
    return free_point(space, seed=seed, number=number, taken=taken, fixed=fixed)
