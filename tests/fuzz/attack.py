"""What somebody sends who means harm, counted: `make attack`.

Beside the hits of each attempt (see `target`) it is looked for a file that was not there, a study that changed, lines
of the log that are not the server's; and how much memory the server took.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fuzz.attempts import FAMILIES
from tests.fuzz.target import MIB, PWNED, Target, target
from tests.ledger.chaos import table


class Memory:
    """What a process has resident, in MiB, looked at ten times a second."""

    def __init__(self, process_id: int) -> None:
        self._process = psutil.Process(process_id)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak = 0.0

    @property
    def now(self) -> float:
        return float(self._process.memory_info().rss) / MIB

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            with suppress(psutil.Error):
                self.peak = max(self.peak, self.now)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@dataclass(frozen=True)
class Found:
    family: str
    tried: int
    statuses: Counter[str]
    hits: list[str]
    before: float
    peak: float
    after: float


def attack(there: Target, family: str) -> Found:
    """One family, and what it left behind."""
    there.family = family
    process_id = there.server.pid
    with there.http() as http, Memory(process_id) as memory:
        kept = http.get("/v1/studies/kept").json()
        before = memory.peak = memory.now
        FAMILIES[family](there, random.Random(family))
        time.sleep(1.0)
        after = memory.now
        now = http.get("/v1/studies/kept")
        if now.status_code != 200 or now.json()["uid"] != kept["uid"] or http.get("/readyz").status_code != 200:
            there.hit(f"the study, or the server, is not what it was: {now.text[:200]}")
    if there.server.pid != process_id:
        there.hit("it is another process")
    if any(there.folder.rglob(PWNED)) or Path(PWNED).exists():
        there.hit("a string was run")
    log = there.server.log.read_text(errors="replace")
    if "unexpected error" in log or "Traceback" in log:
        there.hit("an unexpected error is in the log")
    if any(not line.startswith("{") and "metatune is at" not in line for line in log.splitlines() if line):
        there.hit("a line of the log is not the server's own")
    hits = there.hits.get(family, [])
    return Found(family, there.tried[family], there.statuses.get(family, Counter()), hits, before, memory.peak, after)


TITLES = ("tried", "hits", "MiB before", "peak", "after", "answers")


def row(found: Found) -> list[str]:
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(found.statuses.items()))
    sizes = (f"{size:.0f}" for size in (found.before, found.peak, found.after))
    return [found.family, str(found.tried), str(len(found.hits)), *sizes, answers]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only these")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mt-attack-") as folder, target(Path(folder)) as here:
        found = [attack(here, family) for family in given.family or FAMILIES]
    print(table(TITLES, map(row, found)))
    for one in found:
        for hit in one.hits[:5]:
            print(f"{one.family}: {hit}", file=sys.stderr)
    sys.exit(1 if any(one.hits for one in found) else 0)


if __name__ == "__main__":
    main()
