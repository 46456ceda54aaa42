"""The network is cut and workers sleep past their leases, and nothing that was acknowledged is lost."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tests.ledger.campaign import Progress, campaign, postgresql_site, sqlite_site
from tests.ledger.chaos import planted_control
from tests.ledger.proxy import Proxy

ACTS = 6


def test_a_cut_resets_what_is_under_way_and_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Proxy(server.getsockname()[1]) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as caller:
            there, _ = server.accept()
            caller.sendall(b"ask")
            assert there.recv(3) == b"ask"
            cut = threading.Thread(target=proxy.cut, args=(0.0,))
            cut.start()
            with pytest.raises(ConnectionResetError):
                caller.recv(1)
            cut.join()
            there.close()
        with socket.create_connection(("127.0.0.1", proxy.port)) as caller:
            there, _ = server.accept()
            there.sendall(b"answer")
            assert caller.recv(6) == b"answer"
            there.close()


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    progress = Progress.of(tmp_path)
    progress.kills, progress.cuts, progress.zombies = 2, 3, 4
    progress.save()
    assert Progress.of(tmp_path) == progress
    assert progress.acts == 5


@pytest.mark.slow
def test_sqlite_keeps_what_was_acknowledged_over_a_bad_network(folder: Path) -> None:
    with sqlite_site(folder, has_network=True) as site:
        findings, progress = campaign(site, ACTS)
    assert findings.problems == {}
    assert progress.cuts
    assert progress.kills
    assert findings.acknowledged_tells > ACTS


@pytest.mark.slow
def test_postgresql_keeps_what_was_acknowledged_over_a_bad_network(folder: Path) -> None:
    with postgresql_site(folder, has_network=True) as site:
        findings, progress = campaign(site, ACTS)
    assert findings.problems == {}
    assert progress.cuts
    assert progress.crashes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "column"),
    [("rounded-values", "changed"), ("forgotten-keys", "orphaned"), ("unchecked-leases", "odd")],
)
def test_the_audit_notices_the_bug(folder: Path, bug: str, column: str) -> None:
    assert planted_control(bug, folder).problems[column]
