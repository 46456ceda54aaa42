"""Spaces of architectures: `cell`, `mlp`, `cnn` and a user's own `graph`, read from JSON by `space_from_json`.

Each says how many choices each gene has, which genes describe the same network, and what network that is.
"""

from app.nas.spaces.cell import CellSpace
from app.nas.spaces.chains import CnnSpace, MlpSpace
from app.nas.spaces.graph import GraphSpace
from app.nas.spaces.reading import FIELDS, space_from_json
from app.nas.spaces.space import MAX_DRAWS, Genes, InvalidSpace, Space

__all__ = [
    "FIELDS",
    "MAX_DRAWS",
    "CellSpace",
    "CnnSpace",
    "Genes",
    "GraphSpace",
    "InvalidSpace",
    "MlpSpace",
    "Space",
    "space_from_json",
]
