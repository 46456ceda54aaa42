"""Everything that can happen to a server at once, and the table of what was found: `make chaos ACTS=12`.

Kills and database crashes as in `campaign`, a network that is slow and cut, and workers that sleep past their lease.
Beside the product stand servers with a bug that lost, changed, duplicated, orphaned or odd has to show. The folder
keeps everything: what was interrupted goes on where it was, and controls that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.ledger.audit import Findings
from tests.ledger.campaign import (
    COLUMNS,
    ROOT,
    Progress,
    asynchronous_commit_control,
    campaign,
    load,
    look,
    max_plus_one_control,
    postgresql_site,
    sqlite_site,
    wait_for_work,
)

TITLES = ("tells", "asks", "kills", "crashes", "cuts", "zombies", *COLUMNS)
#: How often the network is cut for a control.
CONTROL_CUTS = 15
#: Answers in between: enough for some of everything that clients do.
CONTROL_ANSWERS = 40


def planted_control(bug: str, folder: Path) -> Findings:
    """A server with a bug, behind a network that is cut and before workers that sleep; nobody is killed."""
    with sqlite_site(folder, bug=bug, has_network=True) as site:
        with load(site, 1):
            site.proxies[0].delay = 0.02  # so that a cut meets answers on their way
            for k in range(CONTROL_CUTS):
                wait_for_work(site, 1, CONTROL_ANSWERS * (k + 1))
                site.proxies[0].cut(0.1)
        return look(site)


#: Name → how it is made, and the column that must show it.
CONTROLS: dict[str, tuple[Callable[[Path], Findings], str]] = {
    "commits not waited for": (asynchronous_commit_control, "lost"),
    "values rounded": (partial(planted_control, "rounded-values"), "changed"),
    "numbers without the counter": (max_plus_one_control, "duplicated"),
    "idempotency keys forgotten": (partial(planted_control, "forgotten-keys"), "orphaned"),
    "leases not checked": (partial(planted_control, "unchecked-leases"), "odd"),
}


def cells(findings: Findings, progress: Progress | None) -> list[str]:
    acts = [progress.kills, progress.crashes, progress.cuts, progress.zombies] if progress else ["-"] * 4
    counts = [len(getattr(findings, column)) for column in COLUMNS]
    return [str(cell) for cell in (findings.acknowledged_tells, findings.acknowledged_asks, *acts, *counts)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--acts", type=int, default=12, help="kills, crashes and cuts, per database")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "chaos")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave no server behind that holds the database
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    rows: dict[str, list[str]] = {}
    ok = True
    for name, make in (("SQLite", sqlite_site), ("PostgreSQL, two servers", postgresql_site)):
        with make(given.folder / name.split(",")[0].lower(), has_network=True) as site:
            findings, progress = campaign(site, given.acts)
        rows[name] = cells(findings, progress)
        ok = ok and not findings.problems
        for kind, found in findings.problems.items():
            print(f"{name}: {kind}: " + "; ".join(found[:5]), file=sys.stderr)
    for number, (name, (control, column)) in enumerate(CONTROLS.items()):
        done = given.folder / f"control-{number}.json"
        if not done.exists():
            attempt = len(list(given.folder.glob(f"control-{number}-*")))
            done.write_text(json.dumps(cells(control(given.folder / f"control-{number}-{attempt}"), None)))
        row = rows[f"planted: {name}"] = json.loads(done.read_text())
        if row[TITLES.index(column)] == "0":
            ok = False
            print(f"planted: {name}: not found in {column}", file=sys.stderr)
    for name, row in {"": list(TITLES), **rows}.items():
        print(f"{name:38}" + "".join(f"{cell:>11}" for cell in row))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
