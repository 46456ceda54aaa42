"""What the ledgers say against what the server and its database have."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select, text

from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Event, Study, Trial
from app.lifecycle import FINISHED, VISIBLE_STATES
from app.services.upkeep import EVENTS_KEPT

#: Statuses that a client of the campaign has to expect, by call and the problem's code.
EXPECTED = {
    ("tell", "lease-lost"),
    ("release", "lease-lost"),
    ("report", "lease-lost"),
    ("tell differently", "trial-finished-differently"),
}


@dataclass
class Findings:
    """Each list names what is wrong; all are empty for a server that keeps its word."""

    acknowledged_tells: int = 0
    acknowledged_asks: int = 0
    #: Acknowledged, and not there: results, handed out or enqueued trials.
    lost: list[str] = field(default_factory=list)
    #: There, with another value or other parameters than acknowledged.
    changed: list[str] = field(default_factory=list)
    #: One number for two trials, or one trial under two acknowledged calls as the same attempt.
    duplicated: list[str] = field(default_factory=list)
    #: Numbers, events and counters with a gap.
    skipped: list[str] = field(default_factory=list)
    #: Configurations handed out as new more than once.
    twice: list[str] = field(default_factory=list)
    #: Trials that nobody was ever told of, or that nobody can get any more.
    orphaned: list[str] = field(default_factory=list)
    #: Answers that no call should have had.
    odd: list[str] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, list[str]]:
        return {name: found for name, found in vars(self).items() if isinstance(found, list) and found}


@dataclass(frozen=True)
class Call:
    do: str
    study: str
    key: str | None
    number: int | None
    body: Mapping[str, Any]
    status: int | None = None
    answer: Any = None

    @property
    def is_acknowledged(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def read_ledgers(folder: Path) -> Iterator[Call]:
    """Every call with its answer, if it had one; a last line that was cut off belongs to a client that was killed."""
    for path in sorted(folder.glob("*.ledger")):
        sent: dict[str, dict[str, Any]] = {}
        with path.open() as lines:
            for line in lines:
                if not line.endswith("\n"):
                    continue
                entry = json.loads(line)
                call = entry.pop("call")
                if "do" in entry:
                    sent[call] = entry
                else:
                    yield Call(**sent.pop(call), **entry)
        yield from (Call(**entry) for entry in sent.values())


def audit(folder: Path, store: Store, url: str) -> Findings:
    """Compares the ledgers with the database and with what the server at `url` answers; every client has left.

    Ages all leases and takes up everything that waits, to see that nothing is out of reach.
    """
    findings = Findings()
    by_study: defaultdict[str, list[Call]] = defaultdict(list)
    for call in read_ledgers(folder):
        by_study[call.study].append(call)
    for name, calls in by_study.items():
        _answers(findings, calls)
        with store.read(EVERY_PROJECT) as session:
            study = session.scalars(select(Study).where(Study.name == name)).one_or_none()
            if study is None:
                findings.lost.append(f"study {name}")
                _asks(findings, name, calls, {})
                _tells(findings, name, calls, {})
                continue
            rows = session.scalars(select(Trial).where(Trial.study_id == study.id).order_by(Trial.number)).all()
            revisions = session.scalars(
                select(Event.revision).where(Event.study_id == study.id).order_by(Event.revision)
            ).all()
        _numbers(findings, study, rows, revisions)
        there = {row.number: row for row in rows}
        _asks(findings, name, calls, there)
        _tells(findings, name, calls, there)
        _configurations(findings, name, rows)
        _counters(findings, study, rows)
        with httpx.Client(base_url=url, timeout=60.0) as http:
            _in_public(findings, http, name, there)
            if not findings.duplicated:
                _age_leases(store, study.id)
                _take_up_what_waits(findings, http, name)
    return findings


def _answers(findings: Findings, calls: Sequence[Call]) -> None:
    handed_out = [
        trial for call in calls if call.do == "ask" and call.is_acknowledged for trial in call.answer["trials"]
    ]
    attempts = {trial["lease"]["token"]: trial["attempt"] for trial in handed_out if trial["lease"]}
    attempts.pop(None, None)
    latest: defaultdict[int | None, int] = defaultdict(int)
    for trial in handed_out:
        latest[trial["number"]] = max(latest[trial["number"]], trial["attempt"])
    for call in calls:
        if call.status is None:
            continue
        if call.is_acknowledged:
            attempt = attempts.get(call.body.get("lease"))
            # (two that failed for the same reason said the same, so that the second is right as well)
            is_told = call.do == "tell" and isinstance(call.body.get("value"), float)
            if is_told and attempt is not None and attempt < call.answer["attempt"]:
                findings.odd.append(f"trial {call.number} of {call.study} was taken from one who had lost its lease")
            continue
        code = (call.answer or {}).get("code")
        # a worker that overslept may find its trial finished by whoever had it next; the last holder may not
        is_late = attempts.get(call.body.get("lease"), latest[call.number]) < latest[call.number]
        if (call.do, code) not in EXPECTED and not (is_late and code == "trial-finished-differently"):
            findings.odd.append(f"{call.do} of {call.study}: {call.status} {code}: {call.answer}")
    findings.odd += [
        f"trial {call.number} of {call.study} was told twice with different results, and both were taken"
        for call in calls
        if call.do == "tell differently" and call.is_acknowledged
    ]


def _numbers(findings: Findings, study: Study, rows: Sequence[Trial], revisions: Sequence[int]) -> None:
    counted = Counter(row.number for row in rows)
    findings.duplicated += [f"{study.name} has {n} trials {number}" for number, n in counted.items() if n > 1]
    missing = sorted(set(range(1, study.next_number)) - set(counted))
    findings.skipped += [f"{study.name} has no trial {number}" for number in missing]
    if counted and max(counted) >= study.next_number:
        findings.skipped.append(f"{study.name} has trial {max(counted)}, and its next is {study.next_number}")
    first = revisions[0] if len(revisions) >= EVENTS_KEPT else 1  # older ones may have been dropped
    if list(revisions) != list(range(first, study.revision + 1)):
        findings.skipped.append(f"{study.name} has {len(revisions)} events, and its revision is {study.revision}")


def _asks(findings: Findings, name: str, calls: Sequence[Call], there: Mapping[int, Trial]) -> None:
    """Each acknowledged hand-out is there, as it was; no two calls got the same attempt of a trial."""
    holder: dict[tuple[int, int], str | None] = {}
    known: set[int] = set()
    for call in calls:
        if call.do not in ("ask", "enqueue") or not call.is_acknowledged:
            continue
        findings.acknowledged_asks += 1
        for trial in call.answer["trials"] if call.do == "ask" else [call.answer]:
            number = trial["number"]
            known.add(number)
            row = there.get(number)
            if row is None:
                findings.lost.append(f"{name}: trial {number} was handed out, and is not there")
            elif row.params != trial["params"]:
                findings.changed.append(f"{name}: trial {number} was {trial['params']}, and is {row.params}")
            has = call.do == "ask" and trial["lease"] is not None and trial["lease"]["token"] is not None
            if has and holder.setdefault((number, trial["attempt"]), call.key) != call.key:
                findings.duplicated.append(f"{name}: attempt {trial['attempt']} of trial {number} has two holders")
    unanswered = {call.key for call in calls if call.do in ("ask", "enqueue") and call.status is None}
    if not unanswered:
        findings.orphaned += [f"{name}: nobody was told of trial {number}" for number in sorted(set(there) - known)]


def _tells(findings: Findings, name: str, calls: Sequence[Call], there: Mapping[int, Trial]) -> None:
    for call in calls:
        if call.do != "tell" or not call.is_acknowledged:
            continue
        findings.acknowledged_tells += 1
        row = there.get(call.number or 0)
        value = call.body.get("value")
        if row is None or row.state not in FINISHED:
            findings.lost.append(f"{name}: trial {call.number} was told {value}, and is {row.state if row else 'gone'}")
        elif isinstance(value, float) and (row.state, row.value, row.values) != ("complete", value, {"value": value}):
            findings.changed.append(f"{name}: trial {call.number} was told {value!r}, and has {row.value!r}")
        elif not isinstance(value, float) and (row.state, row.values) != ("failed", None):
            findings.changed.append(f"{name}: trial {call.number} failed, and is {row.state} with {row.values}")


def _configurations(findings: Findings, name: str, rows: Sequence[Trial]) -> None:
    new = [json.dumps(row.params, sort_keys=True) for row in rows if row.origin["source"] != "enqueued"]
    findings.twice += [f"{name}: {params} {n} times" for params, n in Counter(new).items() if n > 1]


def _counters(findings: Findings, study: Study, rows: Sequence[Trial]) -> None:
    real = Counter(row.state for row in rows)
    findings.skipped += [
        f"{study.name} counts {counted} {state} trials, and has {real[state]}"
        for state, counted in study.counts().items()
        if counted != real[state]
    ]


def _in_public(findings: Findings, http: httpx.Client, name: str, there: Mapping[int, Trial]) -> None:
    """The server says the same as its database."""
    shown: list[dict[str, Any]] = []
    after = None
    while True:
        page = http.get(f"/v1/studies/{name}/trials", params={"limit": 1000} | ({"after": after} if after else {}))
        page.raise_for_status()
        shown += page.json()["items"]
        after = page.json()["next"]
        if after is None:
            break
    for trial in shown:
        row = there.get(trial["number"])
        if row is None or (row.params, row.values) != (trial["params"], trial["values"]):
            findings.changed.append(f"{name}: trial {trial['number']} is shown as {trial}")
        elif row.state != trial["state"] and row.state != "running":  # a lease may have run out since
            findings.changed.append(f"{name}: trial {trial['number']} is {row.state}, and shown as {trial['state']}")
    findings.lost += [f"{name}: {number} is not shown" for number in set(there) - {trial["number"] for trial in shown}]


def _age_leases(store: Store, study_id: int) -> None:
    with store.write(EVERY_PROJECT) as session:
        past = func.now() if not store.is_sqlite else text("'2000-01-01 00:00:00.000000'")
        session.execute(
            Trial.__table__.update()  # type: ignore[attr-defined]
            .where(Trial.study_id == study_id, Trial.state == "running")
            .values(lease_expires_at=past)
        )


def _take_up_what_waits(findings: Findings, http: httpx.Client, name: str) -> None:
    """With every lease aged, all that is unfinished can be taken up and told, and nothing is left over."""
    study = http.get(f"/v1/studies/{name}").raise_for_status().json()
    if study["counts"]["running"]:
        findings.orphaned.append(f"{name}: {study['counts']['running']} trials run on without a lease")
    while study["counts"]["waiting"]:
        asked = http.post(f"/v1/studies/{name}/ask", json={"count": min(study["counts"]["waiting"], 500)}).json()
        taken_up = asked.get("trials", [])
        if not taken_up:
            findings.orphaned.append(f"{name}: {study['counts']['waiting']} trials wait, and nobody gets them: {asked}")
            break
        findings.orphaned += [
            f"{name}: trial {trial['number']} is new, though others wait"
            for trial in taken_up
            if trial["attempt"] < 2 and trial["origin"]["source"] != "enqueued"
        ]
        results = [
            {"number": trial["number"], "value": math.pi, "lease": trial["lease"]["token"]} for trial in taken_up
        ]
        told = http.post(f"/v1/studies/{name}/tell", json={"results": results}).raise_for_status().json()
        findings.orphaned += [
            f"{name}: trial {one['number']} cannot be told: {one['problem']}"
            for one in told["results"]
            if one["status"] != 200
        ]
        study = http.get(f"/v1/studies/{name}").raise_for_status().json()
    left = {state: study["counts"][state] for state in VISIBLE_STATES if state not in FINISHED}
    if any(left.values()):
        findings.orphaned.append(f"{name}: left over {left}")
