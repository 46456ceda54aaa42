"""Events as they happen, over streams that break."""

import asyncio
import itertools
import threading

import httpx
import pytest

import metatune
from benchmarks.server import Server
from metatune.events import Feed
from tests.ledger.proxy import Proxy

FRAME = 'id: {0}\nevent: trial.created\ndata: {{"study": "s", "number": {0}, "state": "running", "revision": {0}}}\n\n'


class Broken(httpx.SyncByteStream):
    """Some lines, and then the connection is gone."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __iter__(self):
        yield self.text.encode()
        raise httpx.ReadError("reset")


@pytest.fixture
def pauses(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("metatune.watch.time.sleep", slept.append)
    return slept


def events_of(*answers, **settings):
    """The events of a client whose connections bring these answers, and the headers it sent."""
    requests = []
    left = iter(answers)

    def answer(request):
        requests.append(request)
        return next(left)

    client = metatune.Client("http://t", transport=httpx.MockTransport(answer), **settings)
    return client.watch("s"), requests


def stream(text):
    return httpx.Response(200, stream=Broken(text))


def test_after_a_break_the_events_go_on_behind_the_last_one(pauses):
    events, requests = events_of(stream(FRAME.format(1) + FRAME.format(2)), stream(FRAME.format(3)))
    assert [next(events).revision for _ in range(3)] == [1, 2, 3]
    assert [request.headers.get("Last-Event-ID") for request in requests] == [None, "2"]


def test_a_break_before_the_first_event_loses_nothing_either(pauses):
    events, requests = events_of(stream("id: 7\nretry: 2000\n: watching s\n\n"), stream(FRAME.format(8)))
    assert next(events) == metatune.Event("trial.created", "s", 8, "running", 8)
    assert requests[1].headers["Last-Event-ID"] == "7"


def test_half_an_event_is_none(pauses):
    events, requests = events_of(stream(FRAME.format(1) + FRAME.format(2)[:30]), stream(FRAME.format(2)))
    assert [next(events).revision for _ in range(2)] == [1, 2]
    assert requests[1].headers["Last-Event-ID"] == "1"


def test_the_server_says_how_long_to_wait(pauses):
    events, _ = events_of(httpx.Response(200, text="retry: 500\n\n"), stream(FRAME.format(1)))
    next(events)
    assert pauses == [0.5]


def test_a_study_that_is_gone_ends_the_watch(pauses):
    events, _ = events_of(stream(FRAME.format(1)), httpx.Response(404, json={"code": "study-not-found"}))
    next(events)
    with pytest.raises(metatune.NotFound):
        next(events)


def test_a_server_that_stays_silent_ends_the_watch(monkeypatch, pauses):
    monkeypatch.setattr("metatune.events.time.monotonic", lambda: sum(pauses))
    events, _ = events_of(*[httpx.Response(503)] * 1000, retry_seconds=100)
    with pytest.raises(metatune.Unavailable):
        next(events)
    assert 100 < sum(pauses) < 130


@pytest.mark.parametrize("name", [None, 5])
def test_lines_of_any_shape_are_read(name):
    feed = Feed("s", name, 60)
    lines = ["\ufeff: a comment", "data:{", 'data: "study": "s", "revision": 3}', "data", "nonsense: x", "id:3", ""]
    [event] = [event for line in lines if (event := feed.take(line))]
    assert (event.type, event.revision, event.number) == ("message", 3, None)
    assert feed.request().headers["Last-Event-ID"] == "3"


def test_every_event_arrives_once_over_a_network_that_is_cut(tmp_path):
    n_trials = 30
    with (
        Server(tmp_path) as server,
        Proxy(server.port) as proxy,
        metatune.Client(server.url) as direct,
        metatune.Client(proxy.url) as watching,
    ):
        study = direct.study("s", {"x": metatune.float_(0, 1)}, algorithm="random")
        events = watching.watch(study, after=0)
        seen = []

        def look():
            for event in events:
                seen.append(event)
                if event.state == "complete" and event.number == n_trials:
                    return

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        for n in range(n_trials):
            study.optimize(lambda trial: trial.params["x"], n_trials=1, progress=False)
            if n % 10 == 5:
                proxy.cut(0.05)
        watcher.join(timeout=60)
    revisions = [event.revision for event in seen]
    assert revisions == list(range(revisions[0], revisions[-1] + 1))
    finished = [event.number for event in seen if event.type == "trial.finished"]
    assert finished == list(range(1, n_trials + 1))


def test_the_asynchronous_client_watches_too(tmp_path):
    async def look(url):
        async with metatune.AsyncClient(url) as client:
            study = await client.study("s", {"x": metatune.float_(0, 1)}, algorithm="random")
            await study.optimize(lambda trial: trial.params["x"], n_trials=2, progress=False)
            seen = []
            async for event in client.watch(study, after=0):
                seen.append(event.type)
                if seen.count("trial.finished") == 2:
                    return seen

    with Server(tmp_path) as server:
        seen = asyncio.run(asyncio.wait_for(look(server.url), 60))
    assert [kind for kind, _ in itertools.groupby(kind for kind in seen if kind.startswith("trial."))] == [
        "trial.created",
        "trial.finished",
        "trial.created",
        "trial.finished",
    ]
