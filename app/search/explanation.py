"""Why a point: the trials nearest to it, and what the others would have said of its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.search.constraints import Array
from app.search.kernels import Embedding, matern52
from app.search.leave_one_out import leave_one_out
from app.search.models import Modelled
from app.search.surrogate import Surrogate


@dataclass(frozen=True)
class Neighbour:
    """A row among those given.

    distance: Euclidean, in ranges of the parameters; two choices, and being active or not, are one apart.
    likeness: the model's correlation of the two configurations, in (0, 1]; None without a model.
    """

    row: int
    distance: float
    likeness: float | None


def nearest(
    embedding: Embedding, unit: Array, units: Array, count: int, surrogate: Surrogate | None
) -> list[Neighbour]:
    """The `count` most alike of (n, D) rows to a (D,) one: by the model where there is one, else by distance."""
    here, there = embedding.features(unit[None, :]), embedding.features(units)
    distance = np.sqrt(((there - here) ** 2).sum(axis=1))
    likeness: Array | None = None
    order: NDArray[np.intp] = np.argsort(distance, kind="stable")[:count]
    if surrogate is not None:
        inverse_lengths = surrogate.factor.hyper.inverse_lengths
        likeness = matern52(here * inverse_lengths, there * inverse_lengths, 1.0)[0]
        order = np.lexsort((distance, -likeness))[:count]
    return [Neighbour(int(i), float(distance[i]), None if likeness is None else float(likeness[i])) for i in order]


@dataclass(frozen=True)
class Hindsight:
    """One trial's value as all the others predict it, in the objective's units.

    std: of a measurement, noise included.  surprise: (measured − predicted) / std on the model's scale.
    """

    mean: float
    std: float
    surprise: float

    def in_direction(self, sign: float) -> Hindsight:
        """Of a minimised objective in the user's direction, +1 or -1."""
        return Hindsight(sign * self.mean, self.std, sign * self.surprise)


def hindsight(modelled: Modelled, row: int) -> Hindsight | None:
    """Of the finished trial in that row of the history; None where the model is not conditioned on it, or on no other.

    The hyperparameters have seen the trial.
    """
    (places,) = np.nonzero(modelled.rows == row)
    if not len(places) or len(modelled.rows) < 2:
        return None
    i, found = int(places[0]), leave_one_out(modelled.surrogate)
    mean, std = modelled.in_units(found.mean[i : i + 1], found.std[i : i + 1])
    return Hindsight(float(mean[0]), float(std[0]), float((found.values[i] - found.mean[i]) / found.std[i]))
