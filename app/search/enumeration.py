"""The configurations of a space one after the other, each once, conditions and constraints respected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.search.constraints import Constraint
from app.search.numeric import Int

if TYPE_CHECKING:
    from app.search.space import SearchSpace

MAX_GRID_INTEGERS = 100

#: Codes by the parameter's position; parameters that are not active are left out.
Assignment = dict[int, float]


class Enumeration:
    """Depth first over some parameters; a branch ends as soon as a constraint whose parameters are all decided fails.

    order: their positions, parents before children; the last runs fastest.
    resolution: see `SearchSpace.enumerate`.
    pins: codes that are held, by position; assignments in which such a parameter is not active are left out.
    """

    def __init__(
        self,
        space: SearchSpace,
        order: Sequence[int],
        resolution: int | None = None,
        pins: Mapping[int, float] | None = None,
    ) -> None:
        self._space = space
        self._order = order
        self._pins = pins or {}
        self._levels = {k: [self._pins[k]] if k in self._pins else self._levels_of(k, resolution) for k in order}
        self._due = self._constraints_due()

    def __iter__(self) -> Iterator[Assignment]:
        """The same dict every time, changed: take out of it what is needed before the next."""
        return self._below({}, 0)

    def _below(self, codes: Assignment, depth: int) -> Iterator[Assignment]:
        if depth == len(self._order):
            yield codes
            return
        k = self._order[depth]
        if not self._space.is_active(k, codes):
            if k not in self._pins and self._still_possible(codes, k):
                yield from self._below(codes, depth + 1)
            return
        for code in self._levels[k]:
            codes[k] = code
            if self._still_possible(codes, k):
                yield from self._below(codes, depth + 1)
            del codes[k]

    def _levels_of(self, k: int, resolution: int | None) -> list[float]:
        kind = self._space.kinds[k]
        is_long = isinstance(kind, Int) and kind.step is None and kind.n_levels > MAX_GRID_INTEGERS
        if kind.n_levels is None or (resolution is not None and is_long):
            return list(dict.fromkeys(kind.codes(np.linspace(0.0, 1.0, max(resolution or 1, 1))).tolist()))
        return [float(code) for code in kind.level_codes()]

    def _still_possible(self, codes: Assignment, k: int) -> bool:
        """Whether the constraints hold that became decidable with the parameter at position k."""
        due = self._due.get(k, ())
        if not due:
            return True
        row = np.array([[codes.get(i, np.nan) for i in range(len(self._space.names))]])
        columns = self._space.native_columns(row)
        return all(bool(constraint.holds(columns, 1)[0]) for constraint in due)

    def _constraints_due(self) -> dict[int, tuple[Constraint, ...]]:
        """By the last of its parameters in the order, the constraints that it decides."""
        due: dict[int, tuple[Constraint, ...]] = {}
        rank = {k: r for r, k in enumerate(self._order)}
        for constraint in self._space.parsed_constraints:
            positions = [self._space.names.index(name) for name in constraint.names]
            if all(k in rank for k in positions):
                last = max(positions, key=lambda k: rank[k])
                due[last] = (*due.get(last, ()), constraint)
        return due
