"""Server-Sent Events, over a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import pytest
import uvicorn
from sqlalchemy import delete, select, update

from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Event
from app.main import create_app
from app.services import upkeep
from app.settings import Settings
from tests.conftest import Api


@pytest.fixture
def served(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr("app.api.events.POLL_SECONDS", 0.02)
    app = create_app(Settings(database=database_url, sweep_seconds=3600))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield Api(client)  # type: ignore[arg-type]
    server.should_exit = True
    thread.join(20)


def watch(
    api: Api, n_events: int, *, after: int | None = None, query: str = "", once_open: Callable[[], Any] | None = None
) -> list[dict[str, Any]]:
    """The next events; `once_open` is called when the stream stands."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    frames: list[dict[str, Any]] = []
    with api.client.stream("GET", f"{api.base}/events{query}", headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        frame: dict[str, Any] = {}
        for line in response.iter_lines():
            if once_open is not None and line.startswith(": watching"):
                once_open()
            if not line and "event" in frame:
                frame["data"] = json.loads(frame["data"])
                frames.append(frame)
                frame = {}
                if len(frames) == n_events:
                    break
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                frame[name] = value
    return frames


def test_what_happens_is_told_with_study_number_state_and_revision(served: Api, age_leases: Callable[[], None]) -> None:
    served.create(algorithm="random", max_retries=5)

    def act() -> None:
        served.one()
        served.report(1, step=1, value=0.5)
        served.report(1, step=1, value=0.5)
        served.do("release", 1)
        served.one()
        age_leases()
        served.one()
        served.tell(1, value=1.0)
        served.tell(1, value=1.0)
        served.add(params={"x": 0.5})
        served.remove(2)
        served.patch(description="new")

    frames = watch(served, 10, once_open=act)
    assert [(frame["event"], frame["data"]["number"], frame["data"]["state"]) for frame in frames] == [
        ("trial.created", 1, "running"),
        ("trial.reported", 1, "running"),
        ("trial.released", 1, "waiting"),
        ("trial.started", 1, "running"),
        ("trial.expired", 1, "waiting"),
        ("trial.started", 1, "running"),
        ("trial.finished", 1, "complete"),
        ("trial.created", 2, "waiting"),
        ("trial.removed", 2, "removed"),
        ("study.updated", None, "active"),
    ]
    for frame in frames:
        assert set(frame["data"]) == {"study", "number", "state", "revision"}
        assert frame["data"]["study"] == "study"
        assert frame["data"]["revision"] == int(frame["id"])
    ids = [int(frame["id"]) for frame in frames]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_ids_have_no_gap_and_a_stream_goes_on_where_it_was_left(served: Api) -> None:
    served.create(algorithm="random")
    served.ask(count=5)
    every = watch(served, 6, after=0)
    assert [int(frame["id"]) for frame in every] == [1, 2, 3, 4, 5, 6]
    assert watch(served, 3, after=3) == every[3:]
    assert watch(served, 3, query="?after=3") == every[3:]


def test_ids_have_no_gap_though_many_write_at_once(served: Api) -> None:
    served.create(algorithm="random")

    def work(k: int) -> None:
        for trial in served.ask(count=2, worker=f"w{k}")["trials"]:
            served.report(trial["number"], step=1, value=1.0)
            served.tell(trial["number"], value=1.0)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work, k) for k in range(4)]
        frames = watch(served, 25, after=0)
        for future in futures:
            future.result()
    assert [int(frame["id"]) for frame in frames] == list(range(1, 26))


def test_events_that_are_gone_are_announced_by_one_reset(served: Api, store: Store) -> None:
    served.create(algorithm="random")
    served.ask(count=4)
    with store.write(EVERY_PROJECT) as session:
        session.execute(delete(Event).where(Event.revision <= 3))
    reset, after = watch(served, 2, after=1, once_open=lambda: served.ask())
    assert (reset["event"], reset["id"]) == ("reset", "5")
    assert (after["event"], after["id"]) == ("trial.created", "6")
    assert watch(served, 2, after=3)[0]["id"] == "4", "nothing was missed after 3"


def test_an_id_from_the_future_is_a_reset(served: Api) -> None:
    served.create()
    assert watch(served, 1, after=99)[0]["event"] == "reset"


def test_an_id_that_is_none_and_a_study_that_is_none_are_refused(served: Api) -> None:
    served.create()
    for bad in ("x", "-1", "1.5", "9" * 40):
        response = served.client.get(f"{served.base}/events", headers={"Last-Event-ID": bad})
        assert response.status_code == 422, bad
        assert response.headers["content-type"] == "application/problem+json"
    assert served.client.get("/v1/studies/nobody/events").status_code == 404


def test_a_stream_ends_when_its_study_is_deleted(served: Api) -> None:
    served.create()
    remove = lambda: served.call("DELETE", f"{served.base}?purge=true", status=204)  # noqa: E731
    assert watch(served, 99, once_open=remove) == []


def test_a_quiet_stream_says_that_it_lives(served: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.events.COMMENT_SECONDS", 0.05)
    served.create()
    with served.client.stream("GET", f"{served.base}/events") as response:
        comments = [line for line, _ in zip(response.iter_lines(), range(8), strict=False) if line.startswith(":")]
    assert ": still here" in comments


def test_events_older_than_a_day_or_beyond_the_last_ones_are_dropped(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def revisions() -> list[int]:
        with store.read(EVERY_PROJECT) as session:
            return list(session.scalars(select(Event.revision).order_by(Event.revision)))

    api.create(algorithm="random")
    api.ask(count=9)
    with store.write(EVERY_PROJECT) as session:
        for event in session.scalars(select(Event).where(Event.revision <= 2)).all():
            session.execute(
                update(Event)
                .where(Event.revision == event.revision)
                .values(created_at=event.created_at - timedelta(hours=25))
            )
    upkeep.clean(store)
    assert revisions() == [3, 4, 5, 6, 7, 8, 9, 10]
    monkeypatch.setattr(upkeep, "EVENTS_KEPT", 3)
    upkeep.clean(store)
    assert revisions() == [8, 9, 10]
