"""Arrays as an .npz file, written from what every array knows of itself: the client needs no NumPy for it.

Source: numpy.lib.format, version 1.0.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

MAGIC = b"\x93NUMPY\x01\x00"
BLOCK = 64  # the header's length is a multiple of it


def is_array(value: Any) -> bool:
    """Whether it is an array as NumPy's are; lists are not."""
    return all(hasattr(value, name) for name in ("dtype", "shape", "tobytes"))


def listed(value: Any) -> Any:
    """As JSON takes it: an array as nested lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Raises: TypeError, if an array holds objects instead of numbers or text."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", _npy(name, array))
    return file.getvalue()


def _npy(name: str, array: Any) -> bytes:
    if array.dtype.kind not in "biufUS":
        raise TypeError(f"{name} must hold numbers or text, its elements are {array.dtype}")
    header = repr({"descr": array.dtype.str, "fortran_order": False, "shape": tuple(map(int, array.shape))})
    padding = -(len(MAGIC) + 2 + len(header) + 1) % BLOCK
    line = f"{header}{' ' * padding}\n".encode("latin1")
    return MAGIC + struct.pack("<H", len(line)) + line + bytes(array.tobytes())
