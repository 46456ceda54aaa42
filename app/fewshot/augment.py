"""Small distortions of training examples: data for many tasks are often short.

Rotations by quarter turns make new classes instead, see `tasks.Pool.with_rotations`.
"""

from __future__ import annotations

import numpy as np

from app.fewshot.tasks import Array

MAX_ANGLE = np.pi / 12
MAX_LOG_SCALE = 0.18
MAX_SHEAR = 0.2
MAX_SHIFT = 0.08  # of the image's side
NOISE = 0.1  # in standard deviations of the data


def distorted(x: Array, rng: np.random.Generator) -> Array:
    """(n, h, w[, c]) images, each turned, scaled, sheared and shifted a little, read bilinearly."""
    n, h, w = x.shape[:3]
    angle, shear, log_x, log_y, shift_x, shift_y = rng.uniform(-1, 1, (6, n))
    angle, shear = angle * MAX_ANGLE, shear * MAX_SHEAR
    cos, sin = np.cos(angle), np.sin(angle)
    scale_y, scale_x = np.exp(MAX_LOG_SCALE * log_y), np.exp(MAX_LOG_SCALE * log_x)
    to_y = np.stack([cos * scale_y, (shear * cos - sin) * scale_x], axis=1)
    to_x = np.stack([sin * scale_y, (shear * sin + cos) * scale_x], axis=1)
    grid = np.stack(np.meshgrid(np.arange(h) - (h - 1) / 2, np.arange(w) - (w - 1) / 2, indexing="ij"))
    grid = grid.reshape(2, -1)
    rows = to_y @ grid + ((h - 1) / 2 + MAX_SHIFT * h * shift_y)[:, None]
    columns = to_x @ grid + ((w - 1) / 2 + MAX_SHIFT * w * shift_x)[:, None]
    return _read(x, rows.astype(np.float32), columns.astype(np.float32))


def _read(x: Array, rows: Array, columns: Array) -> Array:
    """Values between the pixels; outside the image it goes on as at its border."""
    n, h, w = x.shape[:3]
    rows, columns = np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    below, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    down, across = rows - top, columns - left
    flat = x.reshape(n, h * w, -1)
    image = np.arange(n)[:, None]

    def at(row: np.ndarray, column: np.ndarray) -> Array:
        return np.asarray(flat[image, row * w + column])

    down, across = down[..., None], across[..., None]
    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(below, left) * (1 - across) + at(below, right) * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32).reshape(x.shape)


def noisy(x: Array, rng: np.random.Generator) -> Array:
    """Standardised examples with a little normal noise."""
    return x + NOISE * rng.standard_normal(x.shape, dtype=np.float32)
