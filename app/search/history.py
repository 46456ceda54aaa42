"""What a study has seen, as arrays: finished trials and pending ones, each by number.

Decision: a history only grows. Trials that finish are appended to arrays with room to spare, which every later history
of the same lineage shares. Of several workers hardly one tells in turn: a late tell, of a trial before the last
finished one, copies the arrays with its row put in between. The memo stays, for whatever was computed from trials that
are still the first ones; who keeps something there says from which. Threads may read histories of a lineage while one
of them makes it grow. Price: a correction or a removal needs a new history from its records.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidMeasurement
from app.search.constraints import Array, Mask
from app.search.space import SearchSpace
from app.search.values import Value

T = TypeVar("T")
State = Literal["complete", "pruned", "failed", "infeasible", "pending"]
Direction = Literal["minimize", "maximize"]
Side = Literal["at_most", "at_least"]

STATES: tuple[State, ...] = ("complete", "pruned", "failed", "infeasible", "pending")
_CODES = {state: code for code, state in enumerate(STATES)}

MAX_VALUE = 8e307  # what lies beyond counts as this: two of them can be added, and so have a median
MAX_LATE = 64  # numbers: a trial that is further behind the newest result is not waited for


@dataclass(frozen=True)
class Record:
    """One trial as the model sees it; values and outcomes in the user's units.

    A pruned or paused trial has its last report for values.
    at_rungs: the values at each rung of the study's pruning, None where it did not come or was not compared.
    """

    number: int
    params: Mapping[str, Value]
    state: State
    values: tuple[float, ...] | None = None
    outcomes: tuple[float, ...] | None = None
    noise: float | None = None  # standard error of the first objective
    cost: float | None = None
    at_rungs: tuple[tuple[float, ...] | None, ...] = ()


@dataclass(frozen=True)
class Goal:
    """Directions of the objectives, the bounds on the measured outcomes, and how many rungs trials may stop at."""

    directions: tuple[Direction, ...]
    outcomes: tuple[tuple[Side, float], ...] = ()
    n_rungs: int = 0

    @property
    def signs(self) -> Array:
        """(m,) +1 to minimise, -1 to maximise: values times signs are minimised."""
        return np.array([1.0 if direction == "minimize" else -1.0 for direction in self.directions])

    @property
    def n_objectives(self) -> int:
        return len(self.directions)


#: The arrays of a row, with the shape of one row; `_Columns` allocates them.
_FIELDS = ("numbers", "units", "objectives", "violations", "codes", "noise_std", "costs", "at_rungs")


class _Columns:
    """Arrays with room to spare for the rows of one lineage; rows are written once."""

    def __init__(self, n_columns: int, goal: Goal) -> None:
        self.widths: dict[str, tuple[int, ...]] = {
            "units": (n_columns,),
            "objectives": (goal.n_objectives,),
            "violations": (len(goal.outcomes),),
            "at_rungs": (goal.n_rungs, goal.n_objectives),
        }
        self.n_rows = 0
        self.arrays: dict[str, NDArray[Any]] = {name: self._room(name, 16) for name in _FIELDS}

    def _room(self, name: str, n_rows: int) -> NDArray[Any]:
        dtype = np.int64 if name == "numbers" else np.int8 if name == "codes" else np.float64
        return np.empty((n_rows, *self.widths.get(name, ())), dtype=dtype)

    def append(self, rows: Mapping[str, NDArray[Any]]) -> None:
        n_after = self.n_rows + len(rows["numbers"])
        if n_after > len(self.arrays["numbers"]):
            for name, old in self.arrays.items():
                room = self._room(name, 2 * n_after)
                room[: self.n_rows] = old[: self.n_rows]
                self.arrays[name] = room  # whole, since other threads may be reading
        for name, array in self.arrays.items():
            array[self.n_rows : n_after] = rows[name]
        self.n_rows = n_after

    def merged(self, before: Sequence[int], rows: Mapping[str, NDArray[Any]]) -> _Columns:
        """New arrays with the rows put in before these positions."""
        merged = copy(self)
        merged.arrays = {
            name: np.insert(array[: self.n_rows], before, rows[name], axis=0) for name, array in self.arrays.items()
        }
        merged.n_rows += len(before)
        return merged


@dataclass(frozen=True)
class _Encoded:
    """A configuration with its identity and its row (D,), which every history asks for until the trial has ended."""

    params: Mapping[str, Value]
    key: str
    row: Array


@dataclass
class _Lineage:
    """What the histories of a growing study share."""

    columns: _Columns
    first_seen: dict[str, int] = field(default_factory=dict)  # configuration's key -> how many were finished before
    keys: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)
    out: dict[int, _Encoded] = field(default_factory=dict)  # of pending trials, by number
    has_ended: bool = False  # another goes on, with a late tell put in

    def append(self, records: Sequence[Record], keys: Sequence[str], rows: Mapping[str, NDArray[Any]]) -> None:
        self.columns.append(rows)
        self.records += records
        self.keys += keys

    def merged(self, records: Sequence[Record], keys: Sequence[str], rows: Mapping[str, NDArray[Any]]) -> _Lineage:
        """With trials put in by number; this one has ended."""
        numbers = self.columns.arrays["numbers"][: self.columns.n_rows]
        before = np.searchsorted(numbers, rows["numbers"]).tolist()
        self.has_ended = True
        return _Lineage(
            self.columns.merged(before, rows),
            self.first_seen,
            _put_in(self.keys, before, keys),
            _put_in(self.records, before, records),
            self.memo,
            self.out,
        )


@dataclass(frozen=True)
class History:
    """The trials of a study.

    n finished ones by number: numbers (n,); units (n, D) unit-cube rows, NaN where not active;
    objectives (n, m), minimised, NaN where not measured; violations (n, c), outcome minus bound, > 0 where broken, NaN
    where not measured; codes (n,) positions in `STATES`; noise_std (n,) standard errors of the first objective and
    costs (n,), NaN where not told; at_rungs (n, R, m), minimised, NaN where not reached.
    Pending ones by number: pending_numbers (p,).
    """

    space: SearchSpace
    goal: Goal
    n_finished: int
    pending: Mapping[int, Record]
    _lineage: _Lineage = field(repr=False)

    @classmethod
    def of(cls, space: SearchSpace, goal: Goal, records: Iterable[Record]) -> History:
        """Build the arrays.

        Args:
            records: trials in any order, also of earlier versions of the space.
        A trial whose values are not finite counts as failed; one whose outcomes are not finite as not measured there.
        Raises: InvalidMeasurement, if a trial has another number of values than the goal has objectives.
        """
        lineage = _Lineage(_Columns(space.n_dimensions, goal))
        return cls(space, goal, 0, {}, lineage).grown(records)

    def grown(self, records: Iterable[Record]) -> History:
        """With trials that are new, and with the results of those that were pending here.

        Costs what the new trials cost, and after a late tell a copy of the arrays. Raises: InvalidMeasurement, as `of`;
        ValueError, if a history of this lineage grew before: there is only one future.
        """
        ordered = sorted(records, key=lambda record: record.number)
        finished = [record for record in ordered if record.state != "pending"]
        pending = dict(self.pending)
        for record in ordered:
            if record.state == "pending":
                pending[record.number] = record
            else:
                pending.pop(record.number, None)
        lineage = self._lineage
        if finished:
            if lineage.has_ended or lineage.columns.n_rows != self.n_finished:
                raise ValueError("this history has grown already")
            encoded = self._encoded(finished)
            rows = self._rows(finished, np.array([one.row for one in encoded]))
            keys = [one.key for one in encoded]
            for record in finished:
                lineage.out.pop(record.number, None)
            if self.n_finished and finished[0].number < self.numbers[-1]:
                lineage = lineage.merged(finished, keys, rows)
            else:
                lineage.append(finished, keys, rows)
            for k, key in enumerate(keys, start=self.n_finished):
                lineage.first_seen.setdefault(key, k)
        return History(self.space, self.goal, self.n_finished + len(finished), dict(sorted(pending.items())), lineage)

    def _encoded(self, records: Sequence[Record]) -> list[_Encoded]:
        """Of those that were not encoded while they were pending all at once."""
        out, space = self._lineage.out, self.space
        found = [out.get(record.number) for record in records]
        new = [i for i, one in enumerate(found) if one is None or one.params != records[i].params]
        for i, row in zip(new, space.encode_many([records[i].params for i in new], strict=False), strict=True):
            found[i] = _Encoded(records[i].params, space.key(records[i].params), row)
        return [one for one in found if one is not None]

    @cached_property
    def _pending_encoded(self) -> list[_Encoded]:
        encoded = self._encoded(tuple(self.pending.values()))
        self._lineage.out.update(zip(self.pending, encoded, strict=True))
        return encoded

    def _rows(self, records: Sequence[Record], units: Array) -> dict[str, NDArray[Any]]:
        n, m, c = len(records), self.goal.n_objectives, len(self.goal.outcomes)
        objectives, violations = np.full((n, m), np.nan), np.full((n, c), np.nan)
        codes = np.array([_CODES[record.state] for record in records], dtype=np.int8)
        at_rungs = np.full((n, self.goal.n_rungs, m), np.nan)
        signs = self.goal.signs
        measured: list[int] = []
        for i, record in enumerate(records):
            for rung, values in enumerate(record.at_rungs[: self.goal.n_rungs]):
                if values is not None and all(math.isfinite(value) for value in values):
                    at_rungs[i, rung] = _minimised(signs, values)
            if record.state in ("complete", "pruned") and record.values is not None:
                if len(record.values) != m:
                    raise InvalidMeasurement(
                        f"trial {record.number} has {len(record.values)} values for {m} objectives"
                    )
                if all(map(math.isfinite, record.values)):
                    measured.append(i)
                else:
                    codes[i] = _CODES["failed"]
            elif record.state == "complete":
                codes[i] = _CODES["failed"]
            if record.outcomes and codes[i] == _CODES["complete"]:
                violations[i] = _violations(self.goal, record.outcomes)
        if measured:
            objectives[measured] = _minimised(signs, [records[i].values for i in measured])
        return {
            "numbers": np.array([record.number for record in records], dtype=np.int64),
            "units": units,
            "objectives": objectives,
            "violations": violations,
            "codes": codes,
            "noise_std": np.array([_told(record.noise) for record in records]),
            "costs": np.array([_told(record.cost) for record in records]),
            "at_rungs": at_rungs,
        }

    # ---- finished trials

    def _column(self, name: str) -> NDArray[Any]:
        return self._lineage.columns.arrays[name][: self.n_finished]

    @property
    def numbers(self) -> NDArray[np.int64]:
        return self._column("numbers")

    @property
    def units(self) -> Array:
        return self._column("units")

    @property
    def objectives(self) -> Array:
        return self._column("objectives")

    @property
    def violations(self) -> Array:
        return self._column("violations")

    @property
    def codes(self) -> NDArray[np.int8]:
        return self._column("codes")

    @property
    def noise_std(self) -> Array:
        return self._column("noise_std")

    @property
    def costs(self) -> Array:
        return self._column("costs")

    @property
    def at_rungs(self) -> Array:
        return self._column("at_rungs")

    @property
    def states(self) -> tuple[State, ...]:
        return tuple(STATES[code] for code in self.codes.tolist())

    @property
    def keys(self) -> tuple[str, ...]:
        """(n,) identities of the finished trials' configurations."""
        return tuple(self._lineage.keys[: self.n_finished])

    @property
    def records(self) -> Sequence[Record]:
        """(n,) the finished trials as they were given."""
        return self._lineage.records[: self.n_finished]

    @cached_property
    def settled_number(self) -> int:
        """Up to this number hardly a result is still to come: all of them are finished, or the newest is far ahead."""
        numbers, n = self.numbers, self.n_finished
        if n == 0:
            return 0
        gaps = np.flatnonzero(numbers != np.arange(1, n + 1))
        n_in_turn = int(gaps[0]) if len(gaps) else n
        return max(n_in_turn, int(numbers[-1]) - min(MAX_LATE, n // 4))

    def where(self, *states: State) -> Mask:
        """(n,) True for finished trials in one of the states."""
        is_wanted = np.array([state in states for state in STATES])
        return np.asarray(is_wanted[self.codes], dtype=bool)

    @cached_property
    def is_measured(self) -> Mask:
        """(n,) trials whose objectives are known."""
        return np.asarray(~np.isnan(self.objectives).any(axis=1), dtype=bool)

    @cached_property
    def is_feasible(self) -> Mask:
        """(n,) complete trials with every measured outcome within its bound."""
        return np.asarray(self.where("complete") & self.is_measured & ~(self.violations > 0).any(axis=1), dtype=bool)

    # ---- pending trials

    @cached_property
    def pending_numbers(self) -> tuple[int, ...]:
        return tuple(self.pending)

    def pending_before(self, number: int) -> Array:
        """(p, D) rows of the pending trials with lower numbers, by number."""
        return self._pending_units[: bisect_left(self.pending_numbers, number)]

    @cached_property
    def _pending_units(self) -> Array:
        return np.array([one.row for one in self._pending_encoded]).reshape(-1, self.space.n_dimensions)

    # ---- all of them

    @property
    def n_trials(self) -> int:
        return self.n_finished + len(self.pending)

    def is_taken(self, key: str) -> bool:
        """Whether a configuration (`space.key`) is in the study, whatever became of it."""
        return self._lineage.first_seen.get(key, self.n_finished) < self.n_finished or key in self._pending_keys

    @cached_property
    def _pending_keys(self) -> frozenset[str]:
        return frozenset(one.key for one in self._pending_encoded)

    @property
    def memo(self) -> dict[Any, Any]:
        """What was computed from the first n finished trials, for whoever needs it again.

        A late tell may have come among those n since: what is kept says up to which number, and how many they were.
        """
        return self._lineage.memo


def _put_in(old: Sequence[T], before: Sequence[int], new: Sequence[T]) -> list[T]:
    """As `np.insert`, for rising positions."""
    merged: list[T] = []
    start = 0
    for position, item in zip(before, new, strict=True):
        merged += old[start:position]
        merged.append(item)
        start = position
    return merged + list(old[start:])


def _minimised(signs: Array, values: Any) -> Array:
    """Of (..., m) finite values."""
    return np.clip(signs * np.array(values, dtype=np.float64), -MAX_VALUE, MAX_VALUE)


def _told(number: float | None) -> float:
    return number if number is not None and math.isfinite(number) and number >= 0 else math.nan


def _violations(goal: Goal, outcomes: tuple[float, ...]) -> Array:
    violations = np.full(len(goal.outcomes), np.nan)
    for j, ((side, bound), value) in enumerate(zip(goal.outcomes, outcomes, strict=False)):
        if math.isfinite(value):
            violations[j] = value - bound if side == "at_most" else bound - value
    return np.where(np.isfinite(violations), violations, np.nan)
