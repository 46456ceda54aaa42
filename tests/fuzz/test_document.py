"""The OpenAPI document is a promise: thousands of calls made from it, legal and illegal, get what it promises.

By a caller with a key, and by a stranger, to whom nothing may be answered but the contract's public routes.
METATUNE_CASES=20000 makes long runs of about so many calls each, with new ones every time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.dependencies import PUBLIC
from app.db import keys
from app.db.migrate import migrate
from app.db.session import EVERY_PROJECT, Store
from benchmarks.server import Server
from tests.fuzz.hooks import TRIALS

ROOT = Path(__file__).parents[2]
LONG = int(os.environ.get("METATUNE_CASES", "0"))
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
UNIT = {"type": "float", "low": 0, "high": 1}


def key(database: str) -> str:
    """Of all scopes; makes the database, if it is not there."""
    store = Store(database)
    migrate(store)
    with store.write(EVERY_PROJECT) as session:
        owner = keys.project(session, keys.DEFAULT_PROJECT).id
        _, token = keys.create(session, owner, keys.SCOPES, by="fuzz", is_instance=True)
    store.dispose()
    return token


def prepare(url: str, token: str) -> None:
    """Studies of every kind, with trials in most states."""
    definitions: dict[str, dict[str, Any]] = {
        "plain": {"space": {"x": UNIT}, "algorithm": "random"},
        "modelled": {"space": {"x": UNIT, "n": {"type": "int", "low": 1, "high": 9}}, "algorithm": "gp"},
        "several": {
            "space": {"x": UNIT},
            "algorithm": "sobol",
            "objectives": [{"name": "accuracy", "direction": "maximize"}, {"name": "ms"}],
            "outcomes": [{"name": "memory", "at_most": 512}],
        },
        "pruned": {"space": {"x": UNIT}, "algorithm": "random", "pruning": {"rule": "median"}},
        "small": {
            "space": {"i": {"type": "int", "low": 1, "high": 40}, "on": {"type": "bool"}},
            "constraints": ["i <= 30"],
            "algorithm": "grid",
        },
    }
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{url}/v1/studies/", timeout=60.0, headers=headers) as http:
        for name, definition in definitions.items():
            http.put(name, json=definition).raise_for_status()
            trials = http.post(f"{name}/ask", json={"count": TRIALS}).raise_for_status().json()["trials"]
            told = {"values": {"accuracy": 0.5, "ms": 3, "memory": 100}} if name == "several" else {"value": 0.5}
            for trial in trials[: len(trials) // 2]:
                http.post(f"{name}/trials/{trial['number']}/tell", json=told).raise_for_status()
            http.post(f"{name}/trials/{trials[-1]['number']}/release", json={}).raise_for_status()


def statuses(url: str, token: str) -> Counter[tuple[str, int]]:
    """How often which route was answered with which status, as the server counts it."""
    said = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=60.0).text
    found = re.findall(r'^metatune_http_requests_total{.*?route="(.*?)",status="(\d+)"} (\S+)', said, re.MULTILINE)
    counts: Counter[tuple[str, int]] = Counter()
    for route, status, count in found:
        counts[route, int(status)] += int(float(count))
    return counts


def schemathesis(url: str, folder: Path, *, phases: str, examples: int, token: str | None = None) -> tuple[int, str]:
    """How many calls were made, and what it says if any got what the document does not promise."""
    report = folder / "report.json"
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json"]
    command += ["--phases", phases, "--max-examples", str(examples), "--checks", ",".join(CHECKS)]
    command += ["--exclude-path-regex", "/events$"]  # a stream ends with what it watches
    command += ["--suppress-health-check", "all", "--request-timeout", "60", "--continue-on-failure", "--no-shrink"]
    command += ["--report", "json", "--report-json-path", str(report)]
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    command += [] if LONG else ["--seed", "1"]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    environment |= {"METATUNE_OWN_KEY": token.split("_")[1]} if token else {}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    made = json.loads(report.read_text())["test_cases"]["generated"] if report.exists() else 0
    return made, "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(0 if LONG else 1200)  # trainings that it starts go on beside it
@pytest.mark.parametrize(
    ("database", "is_known", "phases", "examples", "at_least"),
    [
        ("postgresql", True, "examples,coverage,fuzzing", 3, 4000),
        ("sqlite", True, "fuzzing,stateful", 5, 100),
        ("sqlite", False, "examples,coverage,fuzzing", 3, 500),
    ],
)
def test_every_answer_is_one_that_the_document_promises(
    database: str,
    is_known: bool,
    phases: str,
    examples: int,
    at_least: int,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"sqlite:///{tmp_path / 'metatune.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("migrated_postgresql")()
    token = key(url)
    with Server(tmp_path, database=url) as server:
        prepare(server.url, token)
        before = statuses(server.url, token)
        made, complaint = schemathesis(
            server.url,
            tmp_path,
            phases=phases,
            examples=max(examples, LONG // 60),
            token=token if is_known else None,
        )
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        answers = statuses(server.url, token) - before
    with capsys.disabled():
        by_status = Counter(status for (_, status), count in answers.items() for _ in range(count))
        who = "with a key" if is_known else "a stranger"
        print(f"\n{database}, {who}: {made} cases, {dict(sorted(by_status.items()))}")
    if complaint:
        pytest.fail(complaint, pytrace=False)
    assert made >= at_least
    assert not [place for place in answers if place[1] >= 500 and place[1] != 503]
    assert "unexpected error" not in server.log.read_text()
    if is_known:
        assert not {route for route, status in answers if status == 401}  # the key is good to the end
    else:
        answered = {route for route, status in answers if status < 400}
        assert answered <= PUBLIC | {"/metrics", "unmatched"}  # which are our own look, and the reading of the document
        assert answers["unmatched", 200] < 5
        assert ("/v1/studies/{study}", 401) in answers
