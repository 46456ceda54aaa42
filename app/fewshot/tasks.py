"""Tasks: a support set to learn from, a query set to be judged on, drawn from classes or from named regression tasks.

T tasks are one `Episodes` with a leading axis, so that learners are vectorised over tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import Invalid

Array = NDArray[np.float32]
Indices = NDArray[np.intp]


class Episodes(NamedTuple):
    """T tasks. Of a classification `*_y` are class numbers 0 … ways − 1 within the task, of a regression values."""

    support_x: Array  # (T, s, *shape)
    support_y: NDArray[np.int32] | Array  # (T, s)
    query_x: Array  # (T, q, *shape)
    query_y: NDArray[np.int32] | Array  # (T, q)


@dataclass(frozen=True)
class Pool:
    """Examples by class (or by named task, if `targets` is there), from which tasks are drawn."""

    x: NDArray[np.generic]  # (n, *shape), as uploaded
    members: tuple[Indices, ...]  # rows of each class
    quarter_turns: tuple[int, ...]  # how far each class is turned; a turned class is another class
    mirrored: tuple[bool, ...]  # whether each class is; likewise
    targets: Array | None = None  # (n,) of regression tasks

    @classmethod
    def of(cls, x: NDArray[np.generic], members: Sequence[Indices], targets: Array | None = None) -> Pool:
        return cls(x, tuple(members), (0,) * len(members), (False,) * len(members), targets)

    @property
    def n_classes(self) -> int:
        return len(self.members)

    @property
    def smallest(self) -> int:
        """Examples of the class that has fewest."""
        return min(map(len, self.members))

    def with_rotations(self) -> Pool:
        """Every class also turned by 90°, 180° and 270°, each as a class of its own.  Source: Santoro et al. 2016.

        Raises: Invalid, unless the examples are square images.
        """
        shape = self.x.shape[1:]
        if len(shape) not in (2, 3) or shape[0] != shape[1]:
            raise Invalid(f"rotations need square images, these examples have the shape {list(shape)}")
        turns = tuple(turn for turn in range(4) for _ in self.members)
        return replace(self, members=self.members * 4, quarter_turns=turns, mirrored=self.mirrored * 4)

    def with_mirrors(self) -> Pool:
        """Every class also mirrored, as a class of its own.  Raises: Invalid, unless the examples are images."""
        if self.x.ndim < 3:
            raise Invalid(f"mirrors need images, these examples have the shape {list(self.x.shape[1:])}")
        is_mirrored = tuple(flag for flag in (False, True) for _ in self.members)
        return replace(self, members=self.members * 2, quarter_turns=self.quarter_turns * 2, mirrored=is_mirrored)

    def without_scarce(self, n_examples: int) -> Pool:
        """Only the classes that have as many examples."""
        kept = [i for i, rows in enumerate(self.members) if len(rows) >= n_examples]
        return replace(
            self,
            members=tuple(self.members[i] for i in kept),
            quarter_turns=tuple(self.quarter_turns[i] for i in kept),
            mirrored=tuple(self.mirrored[i] for i in kept),
        )

    def draw(self, rng: np.random.Generator, n_tasks: int, ways: int, shots: int, queries: int) -> Episodes:
        """T = n_tasks classifications of `ways` classes: `shots` and `queries` examples of each, class by class.

        Raises: Invalid, if there are too few classes, or too few examples of one.
        """
        self._demand(ways if self.targets is None else 1, shots + queries)
        if self.targets is not None:
            return self._draw_regressions(self.targets, rng, n_tasks, shots, queries)
        classes = np.stack([rng.permutation(self.n_classes)[:ways] for _ in range(n_tasks)])
        rows = np.stack([self._rows(rng, number, shots + queries) for number in classes.ravel()])
        x = self._examples(rows, np.repeat(classes.ravel(), shots + queries))
        x = x.reshape(n_tasks, ways, shots + queries, *x.shape[1:])
        labels = np.broadcast_to(np.arange(ways, dtype=np.int32)[:, None], (n_tasks, ways, shots + queries))
        return Episodes(
            *(_joined(part) for part in (x[:, :, :shots], labels[:, :, :shots])),
            *(_joined(part) for part in (x[:, :, shots:], labels[:, :, shots:])),
        )

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """(n, *shape): one example each of n classes that are drawn with replacement."""
        classes = rng.integers(self.n_classes, size=n)
        return self._examples(np.concatenate([self._rows(rng, number, 1) for number in classes]), classes)

    def _draw_regressions(
        self, targets: Array, rng: np.random.Generator, n_tasks: int, shots: int, queries: int
    ) -> Episodes:
        tasks = rng.integers(self.n_classes, size=n_tasks)
        rows = np.stack([self._rows(rng, number, shots + queries) for number in tasks])
        x = self._examples(rows, np.repeat(tasks, shots + queries)).reshape(*rows.shape, *self.x.shape[1:])
        y = targets[rows]
        return Episodes(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:])

    def _demand(self, n_classes: int, n_examples: int) -> None:
        if self.n_classes < n_classes:
            raise Invalid(f"a task of {n_classes} classes cannot be drawn from {self.n_classes}")
        if self.smallest < n_examples:
            raise Invalid(f"a task needs {n_examples} examples of a class, and one has {self.smallest}")

    def _rows(self, rng: np.random.Generator, number: np.intp, n_examples: int) -> Indices:
        return rng.permutation(self.members[number])[:n_examples]

    def _examples(self, rows: Indices, classes: Indices) -> Array:
        x = self.x[rows.ravel()].astype(np.float32)
        turns = np.asarray(self.quarter_turns)[classes]
        for turn in (1, 2, 3):
            if (is_turned := turns == turn).any():
                x[is_turned] = np.rot90(x[is_turned], turn, axes=(1, 2))
        if (is_mirrored := np.asarray(self.mirrored)[classes]).any():
            x[is_mirrored] = x[is_mirrored][:, :, ::-1]
        return x


def _joined(x: NDArray[np.generic]) -> Array:
    """(T, ways, n, …) → (T, ways · n, …)."""
    return np.ascontiguousarray(x.reshape(x.shape[0], -1, *x.shape[3:]))
