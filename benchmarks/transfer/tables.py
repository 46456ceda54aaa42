"""Tables of real evaluations, the past studies drawn from them, and what a method's configurations are worth on them.

The folder is `../shared/bench-data/transfer` (its README says what is in it): every row is a configuration that
somebody trained, with the loss that it reached.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Params = dict[str, Any]
#: Past studies: of every one its configurations and their losses.
Past = list[list[tuple[Params, float]]]

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "bench-data" / "transfer"
SCENARIOS = ("cold", "good", "half-wrong", "all-wrong", "scarce", "partial")
MAX_SOURCES, N_PAST = 15, 100
SCARCE_SOURCES, N_SCARCE = 2, 30

#: Methods were chosen on the first part; the second was looked at once.
HELD_OUT = frozenset(
    {
        "deepar/m4-Monthly", "deepar/m4-Quarterly", "deepar/m4-Weekly", "deepar/m4-Yearly", "deepar/traffic",
        "mlp/phoneme", "mlp/vehicle", "fcnet/parkinsons_telemonitoring", "nb201/cifar100",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A parameter of a table: `values` of an ordinal or categorical one, else bounds."""

    name: str
    type: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    values: tuple[Any, ...] = ()
    active_if: tuple[Any, ...] | None = None

    @property
    def is_listed(self) -> bool:
        return self.type in ("ordinal", "categorical")

    def wire(self) -> dict[str, Any]:
        """As a study's space has it."""
        if self.type == "categorical":
            fields: dict[str, Any] = {"type": "categorical", "choices": list(self.values)}
        elif self.type == "ordinal":
            fields = {"type": "ordinal", "values": list(self.values)}
        else:
            fields = {"type": self.type, "low": self.low, "high": self.high}
            if self.log:
                fields["scale"] = "log"
        if self.active_if:
            fields["when"] = {self.active_if[0]: list(self.active_if[1])}
        return fields

    def features(self, stored: Array) -> Array:
        """(n,) as stored to (n, k) numbers in which two choices are one apart and a range is one long."""
        if self.type == "categorical":
            one_hot = np.zeros((len(stored), len(self.values)))
            there = np.flatnonzero(~np.isnan(stored))
            one_hot[there, stored[there].astype(int)] = np.sqrt(0.5)
            return one_hot
        if self.type == "ordinal":
            unit = stored / max(1, len(self.values) - 1)
        elif self.log:
            unit = (np.log(stored) - np.log(self.low)) / (np.log(self.high) - np.log(self.low))
        else:
            unit = (stored - self.low) / (self.high - self.low)
        return np.asarray(np.where(np.isnan(unit), 0.5, unit)[:, None])


@dataclass(frozen=True)
class Table:
    """One task: X (n, d) as stored, y (n,) losses; is_log: regret is taken of their logarithm."""

    family: str
    name: str
    columns: tuple[Column, ...]
    X: Array = field(repr=False)
    y: Array = field(repr=False)
    is_log: bool = False
    is_target: bool = True

    @property
    def key(self) -> str:
        return f"{self.family}/{self.name}"

    @property
    def space(self) -> dict[str, Any]:
        return {column.name: column.wire() for column in self.columns}

    def _features(self, X: Array) -> NDArray[np.float32]:
        parts = [column.features(stored) for column, stored in zip(self.columns, X.T, strict=True)]
        return np.hstack(parts).astype(np.float32)

    @cached_property
    def Z(self) -> NDArray[np.float32]:
        return self._features(self.X)

    @cached_property
    def _size(self) -> NDArray[np.float32]:
        size: NDArray[np.float32] = np.einsum("ij,ij->i", self.Z, self.Z)
        return size

    def params(self, row: Array) -> Params:
        found: Params = {}
        for column, stored in zip(self.columns, row.tolist(), strict=True):
            if np.isnan(stored):
                continue
            if column.is_listed:
                found[column.name] = column.values[int(stored)]
            else:
                value = min(column.high, max(column.low, stored))  # kept in 32 bits, it may lie just outside
                found[column.name] = round(value) if column.type == "int" else value
        return found

    def nearest(self, params: Params, is_taken: NDArray[np.bool_] | None = None) -> int:
        """The row nearest to a configuration, among those not taken."""
        stored = [
            np.nan
            if column.name not in params
            else float(column.values.index(params[column.name]) if column.is_listed else params[column.name])
            for column in self.columns
        ]
        z = self._features(np.array([stored]))[0]
        distance = self._size - 2.0 * (self.Z @ z)
        return int(np.argmin(distance if is_taken is None else np.where(is_taken, np.inf, distance)))

    def regret(self, best: Array) -> Array:
        """0 the best row, 1 the median row and whatever is worse."""
        measure = np.log if self.is_log else np.asarray
        low, middle = measure(self.y.min()), measure(np.median(self.y))
        regret: Array = np.clip((measure(best) - low) / max(float(middle - low), 1e-12), 0.0, 1.0)
        return regret


def load(folder: Path = FOLDER) -> dict[str, Table]:
    """By key, in the index's order."""
    index: Mapping[str, Any] = json.loads((folder / "index.json").read_text())["families"]
    found = {}
    for family, info in index.items():
        given: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in one.items()}
            for one in info["params"]
        ]
        columns = tuple(Column(**one) for one in given)
        with np.load(folder / f"{family}.npz") as arrays:
            for name, about in info["tasks"].items():
                X = arrays[f"X/{name}"] if f"X/{name}" in arrays else arrays["X"]
                table = Table(
                    family, name, columns, X.astype(float), arrays[f"y/{name}"].astype(float),
                    info.get("scale") == "log", about.get("role") == "target",
                )  # fmt: skip
                found[table.key] = table
    return found


def stream(*key: Any) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("|".join(map(str, key)).encode()))


def past_studies(tables: Mapping[str, Table], target: Table, scenario: str, seed: int) -> Past:
    """The other tasks of the family as studies that ended: half a random sample, half of the best tenth.

    They depend on scenario, target and seed alone, so every method sees the same.
    """
    sources = [table for table in tables.values() if table.family == target.family and table.name != target.name]
    if scenario == "cold":
        return []
    rng = stream("sources", target.key, seed)
    most = SCARCE_SOURCES if scenario == "scarce" else MAX_SOURCES
    if len(sources) > most:
        sources = [sources[i] for i in sorted(rng.choice(len(sources), most, replace=False))]
    past: Past = []
    for k, source in enumerate(sources):
        rows = _rows(source, target, seed, N_SCARCE if scenario == "scarce" else N_PAST)
        y = source.y[rows]
        if scenario == "all-wrong" or (scenario == "half-wrong" and k % 2 == seed % 2):
            y = -y
        configurations = [source.params(row) for row in source.X[rows]]
        if scenario == "partial":
            gone = _gone(source.columns, rng)
            configurations = [{n: v for n, v in params.items() if n not in gone} for params in configurations]
        past.append(list(zip(configurations, y.tolist(), strict=True)))
    return past


def _gone(columns: Sequence[Column], rng: np.random.Generator) -> set[str]:
    """A third of the parameters, parents of others excepted."""
    parents = {column.active_if[0] for column in columns if column.active_if}
    names = [column.name for column in columns if column.name not in parents]
    return set(rng.choice(names, max(1, round(len(names) / 3)), replace=False).tolist())


def _rows(source: Table, target: Table, seed: int, n: int) -> NDArray[np.intp]:
    rng = stream("past", source.key, target.key, seed)
    n = min(n, len(source.y) // 2)
    best = np.argsort(source.y, kind="stable")[: max(n // 2, len(source.y) // 10)]
    good = rng.choice(best, n // 2, replace=False)
    rest = np.setdiff1d(np.arange(len(source.y)), good)
    return rng.permutation(np.concatenate([good, rng.choice(rest, n - len(good), replace=False)]))
