"""Workers that are killed lose nothing that is finished, repeat only what was under way, and change no result.

`METATUNE_KILLS=20` (make kills) is the long version.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.api.nas import NewSearch
from app.db import engine as tables
from app.db import jobs
from app.db.jobs import Address
from app.db.session import Store
from app.db.tables import Job, JobPart
from app.lifecycle import UNFINISHED
from app.services import submit
from app.worker.searches import _seed

KILLS = int(os.environ.get("METATUNE_KILLS", "3"))
EVALUATIONS = 20 + 6 * KILLS
GIVE_UP_SECONDS = 900 if KILLS <= 3 else 7200  # a busy machine is no failure
SEARCH = {
    "space": {"type": "mlp", "max_depth": 3, "widths": [4, 8, 16]},
    "strategy": {"name": "evolution", "population": 6, "sample": 3},
    "evaluator": {"name": "train", "epochs": 3},
    "budget": {"evaluations": EVALUATIONS, "parallel": 4},
    "seed": 11,
}


class Workers:
    """Processes on one database, and what they said of their trainings."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.log = folder / "trainings.log"
        self.errors = folder / "errors.log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.worker.process", self.url, str(self.log)]
        with self.errors.open("ab") as errors:
            self.processes.append(subprocess.Popen(command, stdout=errors, stderr=errors))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.processes.remove(process)

    def lines(self, word: str) -> list[tuple[int, int]]:
        """Seed and process of each."""
        said = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [(int(line[1]), int(line[2])) for line in said if line[0] == word and len(line) == 3]


@contextmanager
def workers(url: str, folder: Path, n: int) -> Iterator[Workers]:
    folder.mkdir()
    here = Workers(url, folder)
    try:
        for _ in range(n):
            here.start()
        yield here
    finally:
        for process in list(here.processes):
            here.kill(process)


def begin(store: Store, name: str) -> Address:
    address = Address(1, "search", name)
    submit.submit(store, address, NewSearch.model_validate(SEARCH).whole(), tables.LIGHT, None)
    return address


def look(store: Store, address: Address) -> tuple[Job, list[JobPart]]:
    with store.read(1) as session:
        here = jobs.get(session, address)
        return here.job, list(jobs.parts(session, here.job.id))


def finished(store: Store, address: Address) -> tuple[Job, list[JobPart]]:
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while (found := look(store, address))[0].state in UNFINISHED:
        assert time.monotonic() < give_up_at, f"it does not come to an end: {found[0].progress}"
        time.sleep(0.2)
    return found


def outcome(parts: list[JobPart]) -> list[tuple[object, object]]:
    return [(part.task["genes"], (part.result or {}).get("value")) for part in parts]


@pytest.mark.slow
@pytest.mark.timeout(GIVE_UP_SECONDS + 60)
def test_workers_that_are_killed_lose_and_repeat_nothing_and_change_no_result(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    address = begin(store, "killed")
    chance = random.Random(5)
    seen: dict[int, object] = {}
    with workers(database_url, tmp_path / "two", 2) as here:
        for kill in range(KILLS):
            wanted = 4 + kill * (EVALUATIONS - 8) // KILLS
            give_up_at = time.monotonic() + GIVE_UP_SECONDS
            while sum(part.state == "succeeded" for part in look(store, address)[1]) < wanted:
                assert time.monotonic() < give_up_at, here.errors.read_text()[-2000:]
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 0.3))
            here.kill(chance.choice(here.processes))
            for part in look(store, address)[1]:  # what is finished stays what it was
                if part.state == "succeeded":
                    assert seen.setdefault(part.number, part.result) == part.result
            here.start()
        job, parts = finished(store, address)
        starts = here.lines("start")
    assert (job.state, len(parts)) == ("succeeded", EVALUATIONS), job.error
    assert {part.state for part in parts} == {"succeeded"}
    assert all(seen[number] == parts[number - 1].result for number in seen)
    # two trainings run in each process at a time, and the last one beside: no more than these are done again
    counted = Counter(seed for seed, _ in starts)
    repeated = sum(counted.values()) - len(counted)
    assert repeated <= 2 * KILLS + KILLS
    assert set(counted) == {_seed(11, number) for number in range(EVALUATIONS + 1)}
    hands = [worker for _, worker in starts]
    assert len(list(itertools.groupby(hands))) > len(set(hands)), "two processes worked side by side, not in turns"

    alone = begin(store, "alone")
    with workers(database_url, tmp_path / "one", 1):
        calm_job, calm_parts = finished(store, alone)
    assert outcome(parts) == outcome(calm_parts)
    assert job.result == calm_job.result
