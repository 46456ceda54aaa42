"""Imports without the garbage collector: what they make stays, and there is a lot of it to look through."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.freeze()  # nor is it looked at later
    gc.enable()
