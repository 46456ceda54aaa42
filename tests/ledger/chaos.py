"""Everything that can happen to a server at once, and the tables of what was found: `make chaos ACTS=450`.

Kills, crashes of the database, a network that is slow and cut, and workers that sleep past their lease. Beside the
product stand servers with a bug that lost, changed, duplicated, orphaned or odd has to show. The folder keeps
everything: what was interrupted goes on where it was, and controls that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tests.ledger.audit import Findings
from tests.ledger.campaign import (
    LOAD_SECONDS,
    ROOT,
    Progress,
    asynchronous_commit_control,
    campaign,
    load,
    look,
    max_plus_one_control,
    postgresql_site,
    sqlite_site,
    unsynced_commit_control,
    wait_for_work,
)

COLUMNS = ("lost", "changed", "duplicated", "skipped", "twice", "orphaned", "odd")
TITLES = ("tells", "asks", "kills", "crashes", "cuts", "zombies", *COLUMNS)
#: Seconds within which a server is to be ready: after a kill, and after a crash of its database.
READY_SECONDS = {"after_kill": 2.0, "after_crash": 5.0, "after_restart": 5.0}
#: How often the network is cut for a control.
CONTROL_CUTS = 15
#: Answers in between: enough for some of everything that clients do.
CONTROL_ANSWERS = 40


def planted_control(bug: str, folder: Path) -> Findings:
    """A server with a bug, behind a network that is cut and before workers that sleep; nobody is killed."""
    with sqlite_site(folder, bug, has_network=True) as site:
        with load(site, 1):
            site.proxies[0].delay = 0.02  # so that a cut meets answers on their way
            for k in range(CONTROL_CUTS):
                wait_for_work(site, 1, CONTROL_ANSWERS * (k + 1))
                site.proxies[0].cut(0.1)
        return look(site)


#: Name → how it is made, and the column that must show it.
CONTROLS: dict[str, tuple[Callable[[Path], Findings], str]] = {
    "commits not waited for, SQLite": (unsynced_commit_control, "lost"),
    "commits not waited for, PostgreSQL": (asynchronous_commit_control, "lost"),
    "values rounded": (partial(planted_control, "rounded-values"), "changed"),
    "numbers without the counter": (max_plus_one_control, "duplicated"),
    "idempotency keys forgotten": (partial(planted_control, "forgotten-keys"), "orphaned"),
    "leases not checked": (partial(planted_control, "unchecked-leases"), "odd"),
}


def cells(findings: Findings, progress: Progress | None) -> list[str]:
    acts = [progress.kills, progress.crashes, progress.cuts, progress.zombies] if progress else ["-"] * 4
    counts = [len(getattr(findings, column)) for column in COLUMNS]
    return [str(cell) for cell in (findings.acknowledged_tells, findings.acknowledged_asks, *acts, *counts)]


def recovery(name: str, progress: Progress) -> list[list[str]]:
    """Rows of how long servers were away."""
    rows = []
    for kind, within in READY_SECONDS.items():
        seconds = sorted(getattr(progress, kind))
        if seconds:
            figures = (median(seconds), seconds[int(0.95 * (len(seconds) - 1))], seconds[-1])
            share = sum(one <= within for one in seconds) / len(seconds)
            shown = [*(f"{figure:.2f}" for figure in figures), f"{100 * share:.0f} % in {within:g} s"]
            rows.append([f"{name}, {kind.replace('_', ' ')}", str(len(seconds)), *shown])
    return rows


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, as docs/reliability.md has it."""
    lines = [["", *titles], ["---"] + ["---:"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--acts", type=int, default=12, help="kills, crashes and cuts, per database")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "chaos")
    parser.add_argument("--seconds", type=float, default=LOAD_SECONDS, help="of load between two of them, at most")
    parser.add_argument("--tells", type=int, default=0, help="acknowledged ones, at least, per database")
    parser.add_argument("--calm", action="store_true", help="a good network, and no zombies")
    parser.add_argument("--only", choices=("sqlite", "postgresql", "controls"), help="of the three")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave no server behind that holds the database
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    rows: list[list[str]] = []
    times: list[list[str]] = []
    ok = True
    for name, make in (("SQLite", sqlite_site), ("PostgreSQL, two servers", postgresql_site)):
        folder = name.split(",")[0].lower()
        if given.only not in (None, folder):
            continue
        with make(given.folder / folder, has_network=not given.calm) as site:
            findings, progress = campaign(site, given.acts, load_seconds=given.seconds, tells=given.tells)
        rows.append([name, *cells(findings, progress)])
        times += recovery(name, progress)
        ok = ok and not findings.problems
        if folder == "sqlite":
            print(f"power cuts found {progress.unsynced} writes that were not synced, and took them", file=sys.stderr)
        for kind, found in findings.problems.items():
            print(f"{name}: {kind}: " + "; ".join(found[:5]), file=sys.stderr)
    for number, (name, (control, column)) in enumerate(CONTROLS.items() if given.only in (None, "controls") else ()):
        done = given.folder / f"control-{number}.json"
        if not done.exists():
            attempt = len(list(given.folder.glob(f"control-{number}-*")))
            done.write_text(json.dumps(cells(control(given.folder / f"control-{number}-{attempt}"), None)))
        row = json.loads(done.read_text())
        rows.append([f"planted: {name}", *row])
        if row[TITLES.index(column)] == "0":
            ok = False
            print(f"planted: {name}: not found in {column}", file=sys.stderr)
    print(table(TITLES, rows))
    print()
    print(table(("times", "median, s", "p95", "longest", "within"), times))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
