"""What breaks under a server: its database goes, its disk is full, its clock is wrong, it is told to stop."""

from __future__ import annotations

import itertools
import resource
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from app.db import session as session_module
from app.db.session import Store
from app.main import create_app
from app.settings import Settings
from tests.conftest import Api
from tests.ledger.cluster import Cluster
from tests.ledger.proxy import Proxy
from tests.test_cli import run, serving
from tests.test_connections import connect, rest
from tests.waiting import until

STUDY = "/v1/studies/broken"
SPACE = {"x": {"type": "float", "low": 0, "high": 1}}


def not_now(response: httpx2.Response) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["code"] == "database-unavailable"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="mt-faults-"))  # PostgreSQL may run as another user than pytest
    with Cluster(folder / "postgresql") as cluster:
        cluster.create("faults")
        yield cluster
    shutil.rmtree(folder, ignore_errors=True)


def test_a_database_that_goes_is_503_and_red_and_all_is_well_when_it_is_back(cluster: Cluster) -> None:
    with (
        serving("--database", cluster.url("faults")) as (_, address),
        httpx2.Client(base_url=address, timeout=60) as http,
    ):
        assert http.put(STUDY, json={"space": SPACE, "algorithm": "random"}).status_code == 201
        told = {}
        for round_ in range(3):
            number = http.post(f"{STUDY}/ask").json()["trials"][0]["number"]
            cluster.crash("immediate")
            for _ in range(2):  # connections of the pool that broke, and new ones that find nobody
                not_now(http.get(STUDY))
                not_now(http.post(f"{STUDY}/ask"))
                not_now(http.post(f"{STUDY}/trials/{number}/tell", json={"value": 1.5}))
                not_now(http.put(f"{STUDY}-{round_}", json={"space": SPACE}))
                not_now(http.get("/v1/studies"))
                assert http.get("/readyz").status_code == 503
                assert http.get("/healthz").status_code == 200
            cluster.start()
            until(lambda: http.get("/readyz").status_code == 200)
            until(lambda n=number: http.post(f"{STUDY}/trials/{n}/tell", json={"value": 1.5}).status_code == 200)  # type: ignore[misc]
            told[number] = 1.5
        found = http.get(f"{STUDY}/trials", params={"state": "complete"}).json()["items"]
        assert {trial["number"]: trial["values"]["value"] for trial in found} == told
        assert 'status="500"' not in http.get("/metrics").text


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_network_to_the_database_that_is_cut_or_silent_is_503_and_all_is_well_when_it_is_back(
    cluster: Cluster, how: str
) -> None:
    """Silent: what is sent is acknowledged, and nothing comes back; the kernel notices nothing."""
    with (
        Proxy(cluster.socket) as network,
        serving(
            "--database", f"postgresql://postgres@127.0.0.1:{network.port}/faults", answer_seconds=1, sweep_seconds=3600
        ) as (_, address),
        httpx2.Client(base_url=address, timeout=60) as http,
    ):
        assert http.put(STUDY, json={"space": SPACE, "algorithm": "random"}).status_code == 201
        told = {}
        for round_ in range(2):
            number = http.post(f"{STUDY}/ask").json()["trials"][0]["number"]
            network.is_silent = how == "silent"
            if how == "cut":
                network.cut(0)
                network.is_down = True
            for _ in range(2):  # connections of the pool, and new ones
                not_now(http.get(STUDY))
                not_now(http.post(f"{STUDY}/ask"))
                not_now(http.post(f"{STUDY}/trials/{number}/tell", json={"value": 1.5}))
                assert http.get("/readyz").status_code == 503
                assert http.get("/healthz").status_code == 200
            network.is_down = network.is_silent = False
            until(lambda: http.get("/readyz").status_code == 200)
            until(lambda n=number: http.post(f"{STUDY}/trials/{n}/tell", json={"value": 1.5}).status_code == 200)  # type: ignore[misc]
            told[number] = 1.5
            assert http.put(f"{STUDY}-{round_}", json={"space": SPACE}).status_code == 201
        found = http.get(f"{STUDY}/trials", params={"state": "complete"}).json()["items"]
        assert {trial["number"]: trial["values"]["value"] for trial in found} == told
        assert 'status="500"' not in http.get("/metrics").text


def test_a_replica_that_hangs_in_a_transaction_lets_go_of_its_locks(
    migrated_postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped between two statements; the other replica answers 503 meanwhile, and then goes on."""
    monkeypatch.setattr(session_module, "LOCK_WAIT_SECONDS", 1)
    monkeypatch.setattr(session_module, "IDLE_SECONDS", 3)
    url = migrated_postgresql()
    hanging = Store(url)
    app = create_app(Settings(database=url, sweep_seconds=3600))
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        api = Api(client)
        api.create(algorithm="random")
        api.one()

        def hang() -> None:
            with hanging.write("every") as session:
                session.execute(text("UPDATE studies SET description = 'held'"))
                not_now(client.post(f"{api.base}/trials/1/tell", json={"value": 1}))
                until(lambda: client.post(f"{api.base}/trials/1/tell", json={"value": 1}).status_code == 200)
                session.execute(text("SELECT 1"))  # it wakes up

        with pytest.raises(DBAPIError) as lost:
            hang()
        assert lost.value.connection_invalidated  # which the API answers with 503
        assert api.get()["description"] == ""
        assert api.counts() == {"complete": 1}
    hanging.dispose()


def test_whatever_a_crash_hits_half_way_is_answered_503_and_never_500(cluster: Cluster) -> None:
    statuses: Counter[int] = Counter()
    stop = threading.Event()
    with serving("--database", cluster.url("faults")) as (_, address):
        httpx2.put(address + STUDY, json={"space": SPACE}).raise_for_status()

        def work() -> None:
            with httpx2.Client(base_url=address, timeout=120) as http:
                while not stop.is_set():
                    asked = http.post(f"{STUDY}/ask", json={})
                    statuses[asked.status_code] += 1
                    for trial in asked.json().get("trials", []):
                        told = http.post(f"{STUDY}/trials/{trial['number']}/tell", json={"value": trial["params"]["x"]})
                        statuses[told.status_code] += 1
                    statuses[http.get(f"{STUDY}/best").status_code] += 1

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = statuses[200]
                until(lambda b=before: statuses[200] > b + 20)  # type: ignore[misc]
                cluster.crash("immediate")
                cluster.start()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert statuses[503] > 0
    assert set(statuses) <= {200, 404, 503}, statuses


def test_a_server_that_finds_no_database_says_so_in_one_line(tmp_path: Path) -> None:
    said = run("serve", "--port", "0", "--database", f"postgresql://nobody@/x?host={tmp_path}", status=1).stderr
    assert "cannot use the database" in said
    assert "Traceback" not in said
    (tmp_path / "text.db").write_text("this is no database, only text; " * 100)
    said = run("migrate", "--database", f"sqlite:///{tmp_path / 'text.db'}", status=1).stderr
    assert "not a database" in said
    assert "Traceback" not in said


def test_a_full_disk_loses_nothing_that_was_acknowledged_and_needs_no_restart(tmp_path: Path) -> None:
    """The disk is full for the server alone: its files may not grow any more."""
    with (
        serving("--database", f"sqlite:///{tmp_path / 'full.db'}") as (process, address),
        httpx2.Client(base_url=address, timeout=120) as http,
    ):
        unlimited = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        assert http.put(STUDY, json={"space": SPACE, "algorithm": "random"}).status_code == 201
        acknowledged: dict[int, float] = {}
        for _ in range(3):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**15, unlimited[1]))
            refused = 0
            for _ in range(200):
                answer = http.post(f"{STUDY}/trials", json={"params": {"x": 0.5}, "value": len(acknowledged)})
                if answer.status_code == 201:
                    acknowledged[answer.json()["number"]] = len(acknowledged)
                else:
                    not_now(answer)
                    refused += 1
            assert refused
            assert http.get("/healthz").status_code == 200
            assert http.get(STUDY).status_code in (200, 503)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
            until(lambda: http.post(f"{STUDY}/trials", json={"params": {"x": 0.4}}).status_code == 201)
        found = http.get(f"{STUDY}/trials", params={"state": "complete", "limit": 1000}).json()["items"]
        assert {trial["number"]: trial["values"]["value"] for trial in found} == acknowledged
        assert 'status="500"' not in http.get("/metrics").text
    store = Store(f"sqlite:///{tmp_path / 'full.db'}")
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    store.dispose()


def test_a_file_that_became_read_only_is_503_for_writes_until_it_is_writable_again(
    tmp_path: Path, migrated_sqlite: Path
) -> None:
    """`query_only` lets SQLite answer as it does for a file that may not be written; root may write every file."""
    from sqlalchemy import event

    shutil.copy(migrated_sqlite, tmp_path / "test.db")
    app = create_app(Settings(database=f"sqlite:///{tmp_path / 'test.db'}", sweep_seconds=0.01))
    is_read_only = False
    numbers = itertools.count()

    @event.listens_for(app.state.store.engine, "begin", insert=True)
    def begin(connection: Any) -> None:
        # A new text each time: it takes effect when it is compiled, and what was compiled before is kept.
        connection.exec_driver_sql(f"PRAGMA query_only={int(is_read_only)} -- {next(numbers)}")

    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        api = Api(client)
        api.create()
        api.one()
        is_read_only = True
        not_now(client.post(f"{api.base}/ask", json={}))
        not_now(client.post(f"{api.base}/trials/1/tell", json={"value": 1}))
        assert api.counts() == {"running": 1}
        assert client.get("/healthz").status_code == 200
        is_read_only = False
        until(lambda: client.post(f"{api.base}/trials/1/tell", json={"value": 1}).status_code == 200)
        until(lambda: client.post(f"{api.base}/ask", json={}).status_code == 200)
        assert api.counts() == {"complete": 1, "running": 1}


def test_a_server_that_is_told_to_stop_answers_what_it_has_begun(database_url: str) -> None:
    store = Store(database_url)
    with serving("--database", database_url) as (process, address), httpx2.Client(base_url=address, timeout=60) as http:
        http.put(STUDY, json={"space": SPACE, "algorithm": "random"}).raise_for_status()
        http.post(f"{STUDY}/ask").raise_for_status()
        with connect(address) as connection:
            with store.write("every") as session:  # the tell has to wait for us
                session.execute(text("UPDATE studies SET description = 'held'"))
                connection.sendall(
                    f"POST {STUDY}/trials/1/tell HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: 12\r\nExpect: 100-continue\r\n\r\n".encode()
                )
                assert b"100 Continue" in connection.recv(65536)  # so the server has begun with it
                connection.sendall(b'{"value": 1}')
                process.send_signal(signal.SIGTERM)
                until(lambda: refuses(address))
            assert b"HTTP/1.1 200 OK" in rest(connection)
        assert process.wait(timeout=60) in (0, -signal.SIGTERM)  # once all is done it ends as it was told to
    with store.read("every") as session:
        assert session.execute(text("SELECT state FROM trials")).scalar_one() == "complete"
    store.dispose()


def refuses(address: str) -> bool:
    try:
        with connect(address):
            return False
    except ConnectionRefusedError:
        return True


#: A server in a process whose clock is wrong by so many seconds; PostgreSQL, a process of its own, has the right one.
SHIFTED = """
    import datetime, sys, time
    shift, real = float(sys.argv[1]), time.time
    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(real() + shift, tz)
    datetime.datetime = Shifted
    time.time = lambda: real() + shift
    from app.cli import main
    main(sys.argv[2:])
"""


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_replica_whose_clock_is_an_hour_off_reclaims_neither_early_nor_late(
    migrated_postgresql: Callable[[], str], shift: int
) -> None:
    url = migrated_postgresql()
    store = Store(url)
    command = [sys.executable, "-c", textwrap.dedent(SHIFTED), str(shift)]
    with (
        serving("--database", url, sweep_seconds=3600) as (_, right),
        serving("--database", url, command=command, sweep_seconds=0.05) as (_, wrong),
    ):
        httpx2.put(right + STUDY, json={"space": SPACE, "algorithm": "random"}).raise_for_status()
        for by, number in ((right, 1), (wrong, 2)):
            lease = httpx2.post(f"{by}{STUDY}/ask", json={"lease_seconds": 600}).json()["trials"][0]["lease"]
            with store.read("every") as session:  # as long as was asked for, by the clock that all replicas share
                left = session.execute(
                    text("SELECT lease_expires_at - clock_timestamp() FROM trials WHERE number = :n"), {"n": number}
                ).scalar_one()
            assert timedelta(0) < left <= timedelta(seconds=600)
            for reader in (right, wrong):  # a look, too, reclaims what is overdue
                assert httpx2.get(f"{reader}{STUDY}/trials/{number}").json()["state"] == "running"
            beat = httpx2.post(f"{wrong}{STUDY}/trials/{number}/heartbeat", json={"lease": lease["token"]})
            assert beat.status_code == 200
        with store.write("every") as session:
            session.execute(text("UPDATE trials SET lease_expires_at = clock_timestamp() - interval '1 second'"))
        for number in (1, 2):
            assert httpx2.get(f"{wrong}{STUDY}/trials/{number}").json()["state"] == "waiting"
    store.dispose()
