"""Servers are killed and databases crashed under load, and nothing that was acknowledged is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.audit import Findings
from tests.ledger.campaign import (
    asynchronous_commit_control,
    campaign,
    max_plus_one_control,
    postgresql_site,
    sqlite_site,
    unsynced_commit_control,
)

pytestmark = pytest.mark.slow

KILLS = 10


def test_sqlite_keeps_what_was_acknowledged_when_the_server_is_killed_and_the_power_fails(folder: Path) -> None:
    with sqlite_site(folder) as site:
        findings, progress = campaign(site, KILLS)
    assert findings.problems == {}
    assert progress.acts >= KILLS
    assert progress.crashes >= 3
    assert findings.acknowledged_tells > KILLS


def test_postgresql_keeps_what_was_acknowledged_when_servers_are_killed_and_it_crashes_itself(folder: Path) -> None:
    with postgresql_site(folder) as site:
        findings, progress = campaign(site, KILLS)
    assert findings.problems == {}
    assert progress.acts >= KILLS
    assert progress.crashes >= 3
    assert findings.acknowledged_tells > KILLS


@pytest.mark.parametrize("control", [asynchronous_commit_control, unsynced_commit_control])
def test_the_audit_notices_commits_that_are_acknowledged_too_early(
    folder: Path, control: Callable[[Path], Findings]
) -> None:
    findings = control(folder)
    assert findings.acknowledged_tells > 0
    assert findings.lost


def test_the_audit_notices_numbers_drawn_without_the_counter(folder: Path) -> None:
    findings = max_plus_one_control(folder)
    assert findings.duplicated


def test_a_database_that_acknowledges_too_early_is_refused(folder: Path) -> None:
    options = "&options=-c%20synchronous_commit%3Doff"
    with pytest.raises(RuntimeError, match="synchronous_commit = off"), postgresql_site(folder, options=options):
        pass
