from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: PostgreSQL may run as another user, whom pytest keeps out of its folders."""
    path = Path(tempfile.mkdtemp(prefix="mt-ledger-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
