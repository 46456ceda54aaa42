"""What an operator does on a bad day, done: the copies of docs/operations.md are made under load and served again."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.test_cli import run, serving

STUDY = "/v1/studies/drill"
WRITERS = 3
#: Results that are there before the copy is begun, and more that come while it is made and after.
BEFORE, AFTER = 60, 30


class Load:
    """Writers at a server, and what it acknowledged to them: number → value."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.acknowledged: dict[int, float] = {}
        self.problems: list[str] = []
        self._stop = threading.Event()
        self._more = threading.Condition()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._write, args=(k,)) for k in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.acknowledged) >= count or self.problems, timeout=120)
        assert not self.problems

    def _write(self, k: int) -> None:
        try:
            with httpx2.Client(base_url=self.address, timeout=60) as http:
                while not self._stop.is_set():
                    (trial,) = http.post(f"{STUDY}/ask").raise_for_status().json()["trials"]
                    number, value = trial["number"], trial["params"]["x"] + k
                    http.post(f"{STUDY}/trials/{number}/tell", json={"value": value}).raise_for_status()
                    with self._more:
                        self.acknowledged[number] = value
                        self._more.notify_all()
        except Exception as problem:
            with self._more:
                self.problems.append(repr(problem))
                self._more.notify_all()


def under_load(database: str, copy: Callable[[], object]) -> dict[int, float]:
    """Serves the database, copies it while it is written to, and returns what had been acknowledged before."""
    with serving("--database", database) as (_, address):
        space = {"x": {"type": "float", "low": 0, "high": 1}}
        httpx2.put(address + STUDY, json={"space": space, "algorithm": "random"}).raise_for_status()
        load = Load(address)
        with load.at_work():
            load.wait_for(BEFORE)
            before = dict(load.acknowledged)
            copy()
            load.wait_for(len(load.acknowledged) + AFTER)
    return before


def check(database: str, acknowledged: dict[int, float]) -> None:
    """Serves the database, which has every acknowledged result and goes on from there."""
    with serving("--database", database) as (_, address), httpx2.Client(base_url=address, timeout=60) as http:
        assert http.get("/readyz").status_code == 200
        trials = http.get(f"{STUDY}/trials", params={"limit": 1000, "state": "complete"}).json()["items"]
        found = {trial["number"]: trial["values"]["value"] for trial in trials}
        assert {number: found.get(number) for number in acknowledged} == acknowledged
        (trial,) = http.post(f"{STUDY}/ask").json()["trials"]
        assert http.post(f"{STUDY}/trials/{trial['number']}/tell", json={"value": 1}).status_code == 200


def test_a_copy_of_a_busy_sqlite_database_is_restored_with_everything_acknowledged_before_it(tmp_path: Path) -> None:
    here, there, copy = (
        f"sqlite:///{tmp_path / 'here.db'}",
        f"sqlite:///{tmp_path / 'there.db'}",
        tmp_path / "copy.db",
    )
    before = under_load(here, lambda: run("backup", str(copy), "--database", here))
    refused = run("backup", str(copy), "--database", here, status=1)
    assert "is not overwritten" in refused.stderr
    assert "revision" in run("restore", str(copy), "--database", there).stdout
    check(there, before)


def test_a_dump_of_a_busy_postgresql_database_is_restored_with_everything_acknowledged_before_it(
    postgresql_server: str, postgresql_admin: Any, migrated_postgresql: Callable[[], str], tmp_path: Path
) -> None:
    here, there = migrated_postgresql(), postgresql_server.format(name="drill_there")
    postgresql_admin.execute("CREATE DATABASE drill_there OWNER metatune")
    (folder,) = postgresql_admin.execute("SELECT setting FROM pg_config() WHERE name = 'BINDIR'").fetchone() or ("",)
    binaries = Path(folder)  # of the server's own version, as a dump needs them
    if not (binaries / "pg_dump").exists():
        pytest.skip("this PostgreSQL comes without pg_dump")

    def tool(name: str, *arguments: str) -> None:
        environment = os.environ | {"PGOPTIONS": "-c metatune.project=every"}
        subprocess.run([str(binaries / name), *arguments], check=True, timeout=120, env=environment)

    dump = str(tmp_path / "copy.dump")
    before = under_load(
        here, lambda: tool("pg_dump", "--enable-row-security", "--format=custom", f"--file={dump}", here)
    )
    tool("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={there}", dump)
    check(there, before)
