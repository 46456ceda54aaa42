from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results that wait are kept in the test's own folder, not in this user's."""
    folder = tmp_path / "outbox"
    monkeypatch.setenv("METATUNE_OUTBOX", str(folder))
    for name in ("METATUNE_WORKER", "METATUNE_KEY", "METATUNE_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder
