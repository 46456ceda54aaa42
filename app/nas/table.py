"""A table of architectures that somebody trained: the evaluator `table`, read from `.npz` or `.csv`.

npz: `X` (n, genes), the choice of each gene as a number; `y` (n,) or (n, repeats), the metric, NaN where a training is
missing; optional `parameters`, `flops` or `latency` (n,). csv: a column for each gene of the space, by its name, then
`value`, or `value_1`, `value_2`, … for several trainings, and the optional ones as above.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.errors import FieldError, Invalid
from app.nas.model import Array
from app.nas.problem import Problem, Task
from app.nas.proxies import SMALL_IMAGES, promise
from app.nas.spaces import CellSpace, Genes, GraphSpace, Space

MEASURES = ("parameters", "flops", "latency")
#: Rows of one table.
MAX_ROWS = 1_000_000


class InvalidTable(Invalid):
    code = "invalid-table"

    def __init__(self, place: str, detail: str) -> None:
        super().__init__(f"{place}: {detail}", errors=[FieldError(f"/file/{place}", detail)])


@dataclass(frozen=True)
class Table:
    """Rows as they were given; which space they are of is asked when a search names both."""

    #: (n, genes); of a csv the words, of an npz numbers.
    genes: list[tuple[str, ...]]
    #: Of the genes; empty for an npz.
    columns: tuple[str, ...]
    values: Array  # (n, repeats)
    measures: dict[str, Array]

    def summary(self) -> dict[str, object]:
        return {
            "rows": len(self.values),
            "genes": len(self.genes[0]),
            "repeats": int(self.values.shape[1]),
            "measures": sorted(self.measures),
            "best": float(np.nanmax(self.values)),
        }


def read(content: bytes, name: str) -> Table:
    """Raises: InvalidTable, naming the place."""
    return _read_csv(content) if name.lower().endswith(".csv") else _read_npz(content)


def _read_npz(content: bytes) -> Table:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as problem:
        raise InvalidTable("file", f"is no .npz of plain arrays ({problem})") from problem
    for key in ("X", "y"):
        if key not in found:
            raise InvalidTable(key, f"is missing; there are {', '.join(sorted(found)) or 'no arrays'}")
    X, y = found["X"], found["y"]
    if X.ndim != 2 or not np.issubdtype(X.dtype, np.number) or not np.all(np.round(X) == X):
        raise InvalidTable("X", f"is an array (n, genes) of whole numbers; got {X.shape} of {X.dtype}")
    rows = [tuple(str(int(one)) for one in row) for row in X]
    return _checked(rows, (), y, {key: found[key] for key in MEASURES if key in found})


def _read_csv(content: bytes) -> Table:
    try:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise InvalidTable("file", f"is no csv in UTF-8 ({problem})") from problem
    if len(lines) < 2:
        raise InvalidTable("file", "has no line of names and one of values")
    head = [name.strip() for name in lines[0]]
    told = [i for i, name in enumerate(head) if name == "value" or name.startswith("value_")]
    extra = [i for i, name in enumerate(head) if name in MEASURES]
    genes = [i for i in range(len(head)) if i not in told and i not in extra]
    if not told or not genes:
        raise InvalidTable("line 1", "has a column for each gene, and `value` (or `value_1`, `value_2`, …)")
    numbers = np.empty((len(lines) - 1, len(told) + len(extra)))
    for n, line in enumerate(lines[1:]):
        if len(line) != len(head):
            raise InvalidTable(f"line {n + 2}", f"has {len(line)} cells, the first line {len(head)}")
        for k, i in enumerate(told + extra):
            try:
                numbers[n, k] = float(line[i]) if line[i].strip() else np.nan
            except ValueError:
                raise InvalidTable(f"line {n + 2}, {head[i]}", f"is a number; got {line[i][:60]!r}") from None
    rows = [tuple(line[i].strip() for i in genes) for line in lines[1:]]
    measures = {head[i]: numbers[:, len(told) + k] for k, i in enumerate(extra)}
    return _checked(rows, tuple(head[i] for i in genes), numbers[:, : len(told)], measures)


def _checked(rows: list[tuple[str, ...]], columns: tuple[str, ...], y: Array, measures: dict[str, Array]) -> Table:
    values = np.asarray(y)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != len(rows) or not np.issubdtype(values.dtype, np.number):
        raise InvalidTable("y", f"has a number, or some, for each of the {len(rows)} rows; got {values.shape}")
    if not 1 <= len(rows) <= MAX_ROWS:
        raise InvalidTable("X", f"has 1 to {MAX_ROWS} rows; got {len(rows)}")
    values = values.astype(np.float64)
    if np.isinf(values).any():
        raise InvalidTable(
            "y", f"is finite, or NaN for a training that is missing; row {_first(np.isinf(values))} is not"
        )
    if np.isnan(values).all(axis=1).any():
        raise InvalidTable("y", f"row {_first(np.isnan(values).all(axis=1))} has no value at all")
    for name, measure in measures.items():
        if measure.shape != (len(rows),) or not np.isfinite(measure).all() or (measure < 0).any():
            raise InvalidTable(name, f"is a finite number, at least 0, for each of the {len(rows)} rows")
    return Table(rows, columns, values, {name: one.astype(np.float64) for name, one in measures.items()})


def _first(wrong: object) -> int:
    return int(np.argwhere(np.asarray(wrong))[0][0])


@dataclass(frozen=True)
class Lookup:
    """A table read as architectures of a space; of isomorphic rows the first one stands for all."""

    space: Space
    rows: dict[Genes, int]
    values: Array
    measures: dict[str, Array]

    @classmethod
    def of(cls, table: Table, space: Space) -> Lookup:
        """Raises: Invalid, where a row is none of the space's."""
        names = gene_names(space)
        if table.columns and table.columns != names:
            raise Invalid(f"the table's columns are {', '.join(table.columns)}; the space's genes {', '.join(names)}")
        if len(table.genes[0]) != len(names):
            raise Invalid(f"the table's rows have {len(table.genes[0])} genes, the space {len(names)}")
        words = [_words(space, place) for place in range(len(names))]
        rows: dict[Genes, int] = {}
        for n, row in enumerate(table.genes):
            genes = []
            for place, word in enumerate(row):
                value = words[place].get(word) if table.columns else _number(word, space.choices[place])
                if value is None:
                    raise Invalid(
                        f"row {n} of the table has {word[:40]!r} for gene {names[place]}, which the space does not; "
                        f"it has {', '.join(words[place]) if table.columns else f'0 to {space.choices[place] - 1}'}"
                    )
                genes.append(value)
            canonical = space.canonical(tuple(genes))
            if canonical == tuple(genes) or canonical not in rows:
                rows[canonical] = n
        return cls(space, rows, table.values, table.measures)

    def problem(self, *, measure: str, penalty: float, front: bool = False) -> Problem:
        """Raises: Invalid, if the table has no such measure."""
        if measure not in self.measures and (penalty > 0 or front):
            raise Invalid(f"the table has no column {measure!r}; it has {', '.join(self.measures) or 'none'}")
        if self.space.max_parameters is not None and "parameters" not in self.measures:
            raise Invalid("max_parameters needs the column `parameters`, which the table has not")
        counts = self.measures.get(measure, np.zeros(len(self.values)))
        sizes = self.measures.get("parameters", np.zeros(len(self.values)))
        n_trainings = (~np.isnan(self.values)).sum(axis=1)
        return Problem(
            self.space,
            count=lambda genes: float(counts[self.rows[genes]]),
            parameters=lambda genes: float(sizes[self.rows[genes]]),
            penalty=penalty,
            promise=lambda genes: promise(self.space, genes, SMALL_IMAGES),
            trainings=lambda genes: int(n_trainings[self.rows[genes]]),
            table=self.rows,
            front=front,
        )

    @cached_property
    def means(self) -> Array:
        means: Array = np.nanmean(self.values, axis=1)
        return means

    def evaluate(self, task: Task, seed: int) -> float:
        """One training of the row's, drawn without putting back."""
        row = self.rows[task.genes]
        there = np.flatnonzero(~np.isnan(self.values[row]))
        order = np.random.default_rng([seed, row]).permutation(there)
        return float(self.values[row, order[task.repeat % len(order)]])


def gene_names(space: Space) -> tuple[str, ...]:
    if isinstance(space, CellSpace):
        return tuple(f"{b}<-{a}" for a, b in space.edges)
    if isinstance(space, GraphSpace):
        return (*(f"node{i + 1}" for i in range(len(space.nodes))), *(f"{b}<-{a}" for a, b in space.edges))
    return tuple(f"gene{i}" for i in range(len(space.choices)))


def _words(space: Space, place: int) -> dict[str, int]:
    names: Sequence[str]
    if isinstance(space, CellSpace):
        names = space.operations
    elif isinstance(space, GraphSpace) and place < len(space.nodes):
        names = space.nodes[place]
    else:
        names = [str(i) for i in range(space.choices[place])]
    return {name: i for i, name in enumerate(names)}


def _number(word: str, n: int) -> int | None:
    value = int(word)
    return value if 0 <= value < n else None
