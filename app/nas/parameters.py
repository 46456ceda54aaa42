"""A space of architectures as the parameters of a study, through which remote scripts are asked to train them.

Names are words for a shell too. A parameter that an architecture does not have (the width of a layer beyond its depth)
is not there.
"""

from __future__ import annotations

from typing import Any

from app.nas.spaces import CellSpace, CnnSpace, Genes, GraphSpace, MlpSpace, Space


def parameters(space: Space) -> dict[str, Any]:
    """The space of the study, as its JSON."""
    return {
        name: _parameter(values) | ({} if depths is None else {"when": {"depth": depths}})
        for name, values, depths in _places(space)
    }


def params(space: Space, genes: Genes) -> dict[str, Any]:
    """An architecture as a trial of that study."""
    found = {name: values[gene] for (name, values, _), gene in zip(_places(space), genes, strict=True)}
    return {name: found[name] for name, _, depths in _places(space) if depths is None or found["depth"] in depths}


def _parameter(values: tuple[Any, ...]) -> dict[str, Any]:
    if len(values) == 1:
        return {"type": "fixed", "value": values[0]}
    if values[0] is False:
        return {"type": "bool"}
    return {"type": "categorical", "choices": list(values)}


def _places(space: Space) -> list[tuple[str, tuple[Any, ...], list[int] | None]]:
    """Of each gene its name, what its values stand for, and the depths at which it is there (None: always)."""
    if isinstance(space, CellSpace):
        return [(f"edge_{a}_{b}", space.operations, None) for a, b in space.edges]
    if isinstance(space, GraphSpace):
        nodes = [(f"node_{i}", names, None) for i, names in enumerate(space.nodes, start=1)]
        return [*nodes, *((f"edge_{a}_{b}", (False, True), None) for a, b in space.edges)]
    if isinstance(space, MlpSpace):
        depths = tuple(range(space.max_depth + 1))
        widths = [(f"width_{i}", space.widths, list(depths[i:])) for i in depths[1:]]
        return [("depth", depths, None), *widths, ("activation", space.activations, list(depths[1:]))]
    assert isinstance(space, CnnSpace)  # noqa: S101  (there are no others)
    depths = tuple(range(1, space.max_depth + 1))
    blocks = [
        (f"{what}_{i}", values, None if i == 1 else list(depths[i - 1 :]))
        for i in depths
        for what, values in (("width", space.widths), ("kernel", space.kernels), ("skip", (False, True)))
    ]
    return [("depth", depths, None), *blocks]
