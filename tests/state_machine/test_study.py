"""The service and the model of it, side by side, on SQLite, on PostgreSQL, and on two servers that share one database.

METATUNE_STEPS=20000 makes a long run of about so many steps with new cases every time.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from starlette.testclient import TestClient

from app.db.session import Store
from benchmarks.server import Server
from tests.state_machine.machine import StudyMachine

STEPS_PER_STUDY = 40
LONG = int(os.environ.get("METATUNE_STEPS", "0"))


def run(service: Any, n_studies: int) -> None:
    StudyMachine.service = service
    run_state_machine_as_test(
        StudyMachine,
        settings=settings(
            max_examples=max(1, LONG // STEPS_PER_STUDY) if LONG else n_studies,
            stateful_step_count=STEPS_PER_STUDY,
            derandomize=not LONG,
            phases=list(Phase) if LONG else [Phase.generate],  # a long run has the time to find a short story
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


class InProcess:
    """The application in this process."""

    def __init__(self, client: TestClient, store: Store) -> None:
        self.client = client
        self.store = store

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        response = self.client.request(method, path, json=body, headers=headers)
        return response.status_code, response.json() if response.content else None


class TwoServers:
    """Two servers on one database; each call goes to either."""

    def __init__(self, clients: list[httpx.Client], store: Store) -> None:
        self.clients = clients
        self.store = store
        self.rng = random.Random(1)

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        response = self.rng.choice(self.clients).request(method, path, json=body, headers=headers)
        return response.status_code, response.json() if response.content else None


@pytest.mark.slow
@pytest.mark.timeout(0 if LONG else 300)
def test_the_service_does_what_the_model_does(client: TestClient, store: Store) -> None:
    run(InProcess(client, store), n_studies=15)


@pytest.mark.slow
@pytest.mark.timeout(0 if LONG else 300)
def test_two_servers_on_one_database_do_what_the_model_does(
    migrated_postgresql: Callable[[], str], tmp_path: Path
) -> None:
    url = migrated_postgresql()
    # upkeep sleeps: the machine itself says when leases run out, and when somebody looks
    command = ["env", "METATUNE_SWEEP_SECONDS=86400", str(Path(sys.executable).parent / "metatune-server")]
    store = Store(url)
    with ExitStack() as stack:
        stack.callback(store.dispose)
        servers = [stack.enter_context(Server(tmp_path, database=url, command=command)) for _ in range(2)]
        clients = [stack.enter_context(httpx.Client(base_url=server.url, timeout=60.0)) for server in servers]
        run(TwoServers(clients, store), n_studies=12)
