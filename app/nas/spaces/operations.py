"""What an edge of a cell, or a node of a graph, may do."""

from __future__ import annotations

from app.nas.network import Builder

#: What an edge of a cell, or a node of a graph, may do; `none` is no edge.
OPERATIONS: dict[str, tuple[str, int]] = {
    "none": ("none", 0),
    "skip": ("skip", 0),
    "conv1x1": ("conv", 1),
    "conv3x3": ("conv", 3),
    "conv5x5": ("conv", 5),
    "sepconv3x3": ("sepconv", 3),
    "sepconv5x5": ("sepconv", 5),
    "avgpool3x3": ("avgpool", 3),
    "maxpool3x3": ("maxpool", 3),
}


def apply(build: Builder, operation: str, start: int, width: int) -> int:
    """Adds what an operation does."""
    op, kernel = OPERATIONS[operation]
    if op == "skip":
        return start
    if op in ("conv", "sepconv"):
        return build.add(op, start, units=width, kernel=kernel, activation="relu")
    return build.add(op, start, kernel=kernel)
