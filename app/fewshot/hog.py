"""Histograms of oriented gradients: features of an image that nobody has to train.

Source: Dalal & Triggs 2005, with each gradient shared between the two nearest orientations and cells. Ours because it
is thirty lines of NumPy, and scikit-image would be a dependency for them alone.
"""

from __future__ import annotations

import numpy as np

from app.errors import ShapeError
from app.fewshot.tasks import Array

N_ORIENTATIONS = 9
CELL = 5  # pixels along a side, about
CLIP = 0.2
EPSILON = 1e-3


def hog(x: Array) -> Array:
    """(n, h, w[, channels]) → (n, n_features); a colour image counts as the mean of its channels.

    Raises: ShapeError, if these are no images or smaller than two cells along a side.
    """
    if x.ndim not in (3, 4) or min(x.shape[1:3]) < 2 * CELL:
        raise ShapeError(f"hog needs images of at least {2 * CELL} × {2 * CELL}, got the shape {list(x.shape[1:])}")
    images = x.mean(axis=3) if x.ndim == 4 else x
    down, across = np.gradient(images, axis=(1, 2))
    size = np.hypot(down, across)
    angle = (np.arctan2(down, across) % np.pi) * N_ORIENTATIONS / np.pi
    lower = np.floor(angle).astype(np.intp)
    share = (angle - lower)[..., None]
    planes = np.eye(N_ORIENTATIONS, dtype=np.float32)
    votes = planes[lower % N_ORIENTATIONS] * (1 - share) + planes[(lower + 1) % N_ORIENTATIONS] * share
    cells = _spread(_spread(votes * size[..., None], 1), 2)
    return _in_blocks(cells)


def _spread(votes: Array, axis: int) -> Array:
    """Sums along an axis into cells, each pixel shared between the nearest two by its distance from their centres."""
    n_pixels = votes.shape[axis]
    n_cells = n_pixels // CELL
    centres = (np.arange(n_cells) + 0.5) * n_pixels / n_cells - 0.5
    weights = np.clip(1 - np.abs(np.arange(n_pixels)[:, None] - centres) * n_cells / n_pixels, 0, None)
    return np.moveaxis(np.tensordot(votes, weights.astype(np.float32), (axis, 0)), -1, axis)


def _in_blocks(cells: Array) -> Array:
    """Every 2 × 2 cells together to length 1, clipped, and to length 1 again (L2-Hys)."""
    rows, columns = cells.shape[1] - 1, cells.shape[2] - 1
    parts = [cells[:, i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)]
    blocks = np.concatenate(parts, axis=-1)
    blocks = np.minimum(_unit(blocks), CLIP)
    return np.asarray(_unit(blocks).reshape(len(cells), -1), dtype=np.float32)


def _unit(blocks: Array) -> Array:
    return np.asarray(blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + EPSILON**2))
