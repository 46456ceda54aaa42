"""Uploaded files as columns: `.npz`, `.csv`, `.parquet`. Nothing is unpickled, and nothing grows without bound."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.errors import NotAvailableYet
from app.fewshot.dataset import Dataset, InvalidDataset, made

COLUMNS = ("x", "y", "group", "task")
MAX_COLUMNS = 100_000  # of a table
MAX_CELL = 1000  # characters
ROWS_AT_ONCE = 4096
ZIP, PARQUET, PICKLE = b"PK\x03\x04", b"PAR1", b"\x80"
HEADER = 2**16  # bytes within which an array says its type and shape


def read(file: BinaryIO, *, most: int) -> Dataset:
    """What the file holds; which kind it is, its first bytes tell.

    Args: most: bytes that it may have unpacked.
    Raises: InvalidDataset; NotAvailableYet, if it is .parquet and pyarrow is not installed.
    """
    start = file.read(4)
    file.seek(0)
    if start == ZIP:
        return made(**arrays_of(file, most))
    if start == PARQUET:
        return _of_table(*_parquet(file, most))
    if start[:1] == PICKLE or b"\0" in start:
        raise InvalidDataset("/file", "the file is neither .npz, .csv nor .parquet; save it with numpy.savez")
    return _of_table(*_csv(file, most))


def arrays_of(file: BinaryIO, most: int, needed: tuple[str, ...] = ("x", "y")) -> dict[str, NDArray[np.generic]]:
    """Of an `.npz`, those that have a meaning here.  Raises: InvalidDataset."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            for name in needed:
                if f"{name}.npy" not in entries:
                    there = ", ".join(sorted(key.removesuffix(".npy") for key in entries))[:200] or "nothing"
                    raise InvalidDataset(f"/{name}", f"the .npz holds no array {name!r}; it holds {there}")
            arrays, left = {}, most
            for name in COLUMNS:
                if f"{name}.npy" in entries:
                    with archive.open(entries[f"{name}.npy"]) as member:
                        arrays[name] = _array(name, member, left)
                    left -= arrays[name].nbytes
            return arrays
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidDataset("/file", f"the .npz cannot be unpacked: {error}") from error
    except zlib.error as error:
        raise InvalidDataset("/file", f"the .npz is damaged: {error}") from error


def _array(name: str, member: Any, left: int) -> NDArray[np.generic]:
    """Read only after its header was: what it says there is its size, whatever the archive says."""
    head = io.BytesIO(member.read(HEADER))
    try:
        version = npy.read_magic(head)
        reading: Callable[..., Any] = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = reading(head)
    except ValueError as error:
        raise InvalidDataset(f"/{name}", f"{name} is no array that numpy.savez wrote: {error}") from error
    if dtype.hasobject:
        raise InvalidDataset(f"/{name}", f"{name} is an array of objects, which could run code; use numbers or strings")
    if dtype.kind not in "biufUS" or dtype.itemsize == 0:
        raise InvalidDataset(
            f"/{name}", f"{name} has the type {dtype}; use numbers" + ("" if name == "x" else " or strings")
        )
    size = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if size > left:
        raise InvalidDataset(f"/{name}", f"{name} would have {size} bytes unpacked; a dataset may have {left} there")
    content = bytearray(head.read())
    while len(content) <= size and (piece := member.read(2**20)):
        content += piece
    if len(content) != size:
        raise InvalidDataset(
            f"/{name}", f"{name} says that it has {size} bytes, and has {'more' if len(content) > size else 'fewer'}"
        )
    flat = np.frombuffer(content, dtype=dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C").astype(dtype.newbyteorder("="), copy=False)


def _csv(file: BinaryIO, most: int) -> tuple[list[str], dict[str, NDArray[np.generic]]]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        return _columns_of(text, most)
    finally:
        text.detach()  # or it would close the file with itself


def _columns_of(file: Any, most: int) -> tuple[list[str], dict[str, NDArray[np.generic]]]:
    rows = csv.reader(file)
    try:
        header = next(rows, [])
        _check_header(header)
        special = {header.index(name): name for name in COLUMNS if name in header}
        numbers: list[list[float]] = []
        parts: list[NDArray[np.float32]] = []
        words: dict[str, list[str]] = {name: [] for name in special.values()}
        for position, row in enumerate(rows, start=2):
            if not row:
                continue
            if len(row) != len(header):
                raise InvalidDataset("/file", f"line {position} has {len(row)} values, the header {len(header)}")
            for index, name in special.items():
                words[name].append(_cell(position, row[index]))
            numbers.append([_number(position, header[i], row[i]) for i in range(len(row)) if i not in special])
            if len(numbers) == ROWS_AT_ONCE:  # as an array they take an eighth of the memory
                parts.append(np.array(numbers, dtype=np.float32))
                numbers = []
            if position * 4 * len(header) > most:
                raise InvalidDataset(
                    "/file", f"the table has more than {most} bytes unpacked, which a dataset may have"
                )
    except UnicodeDecodeError as error:
        raise InvalidDataset("/file", f"the .csv is not in UTF-8: {error}") from error
    except csv.Error as error:
        raise InvalidDataset("/file", f"line {rows.line_num} of the .csv cannot be read: {error}") from error
    features = [name for i, name in enumerate(header) if i not in special]
    table: dict[str, NDArray[np.generic]] = {name: np.array(column) for name, column in words.items()}
    parts.append(np.array(numbers, dtype=np.float32).reshape(len(numbers), len(features)))
    table["x"] = np.concatenate(parts)
    return features, table


def _check_header(header: list[str]) -> None:
    if "y" not in header:
        raise InvalidDataset(
            "/y",
            "the first line names the columns, and one of them must be `y`; the others are numbers, "
            "but for `group` and `task`",
        )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InvalidDataset("/file", f"two columns are named {twice!r}")
    if len(header) > MAX_COLUMNS:
        raise InvalidDataset("/file", f"a table may have {MAX_COLUMNS} columns, this one has {len(header)}")


def _cell(position: int, text: str) -> str:
    if len(text) > MAX_CELL:
        raise InvalidDataset("/file", f"line {position} holds a word of {len(text)} characters")
    return text


def _number(position: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidDataset(
            f"/{column}", f"line {position} holds {text[:40]!r} in {column!r}, which is no number"
        ) from None


def _parquet(file: BinaryIO, most: int) -> tuple[list[str], dict[str, NDArray[np.generic]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise NotAvailableYet(".parquet needs pyarrow, which is not installed here; there are .npz and .csv") from None
    try:
        return _of_arrow(pq.ParquetFile(file), pa, most)
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataset("/file", f"the .parquet cannot be read: {str(error)[:300]}") from error


def _of_arrow(file: Any, pa: Any, most: int) -> tuple[list[str], dict[str, NDArray[np.generic]]]:
    names = file.schema_arrow.names
    _check_header(names)
    n_rows, size = file.metadata.num_rows, 4 * file.metadata.num_rows * len(names)
    if size > most:
        raise InvalidDataset("/file", f"the table would have {size} bytes unpacked; a dataset may have {most}")
    features = [name for name in names if name not in COLUMNS]
    for name in features:
        kind = file.schema_arrow.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise InvalidDataset(f"/{name}", f"column {name!r} is {kind}; features are numbers")
    x = np.empty((n_rows, len(features)), np.float32)
    words: dict[str, list[NDArray[np.generic]]] = {name: [] for name in names if name in COLUMNS}
    done = 0
    for batch in file.iter_batches(batch_size=10_000):
        for i, name in enumerate(features):
            x[done : done + len(batch), i] = batch.column(name).to_numpy(zero_copy_only=False)
        for name, parts in words.items():
            column = batch.column(name)
            if column.null_count:
                raise InvalidDataset(f"/{name}", f"column {name!r} has empty cells")
            parts.append(np.array(column.to_pylist()))
        done += len(batch)
    table = {name: np.concatenate(parts) if parts else np.array([]) for name, parts in words.items()}
    return features, {**table, "x": x}


def _of_table(features: list[str], table: dict[str, Any]) -> Dataset:
    if not features:
        raise InvalidDataset("/x", "the table has no column of numbers beside `y`, `group` and `task`")
    if not len(table["x"]):
        raise InvalidDataset("/file", "the table has a header and no rows")
    y = table["y"]
    if "task" in table:
        table["y"] = _as_numbers(y)
    elif y.dtype.kind == "U" and all(_is_whole(label) for label in np.unique(y)):
        table["y"] = y.astype(np.int64)
    return made(**{name: table[name] for name in COLUMNS if name in table})


def _is_whole(text: str) -> bool:
    return len(text) <= 15 and text.removeprefix("-").isdecimal() and text.isascii() and str(int(text)) == text


def _as_numbers(column: Any) -> Any:
    if column.dtype.kind != "U":
        return column
    try:
        return column.astype(np.float64)
    except ValueError as error:
        raise InvalidDataset("/y", f"with `task`, y must be numbers: {error}") from error
