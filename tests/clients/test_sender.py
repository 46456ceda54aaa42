"""What the client puts on the wire, and how it keeps trying."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest

import metatune
from metatune import sender
from metatune.errors import problem_in

TRIAL = {
    "number": 1,
    "state": "running",
    "attempt": 1,
    "params": {"x": 0.5},
    "lease": {"token": "t1", "expires_at": "z"},
}
STUDY = {"name": "s", "uid": "u1", "objectives": [{"name": "value", "direction": "minimize"}]}


class Server:
    """Answers what it is told to, in order, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]) -> None:
        self.answers: Iterator[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]] = iter(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(request.content) for request in self.requests]


def client_of(server: Server, **settings: object) -> metatune.Client:
    return metatune.Client("http://tuner:1", transport=httpx.MockTransport(server), **settings)


def problem(status: int, code: str, **fields: object) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": f"it is {code}", **fields})


@pytest.fixture
def pauses(monkeypatch):
    """Time stands still but for the pauses of the sender, which are listed."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(slept))
    return slept


def asked(*trials: dict[str, object]) -> httpx.Response:
    return httpx.Response(200, json={"trials": list(trials), "done": False, "reason": None})


def test_a_study_is_put_under_its_name_with_only_the_fields_given():
    server = Server(httpx.Response(201, json=STUDY))
    client_of(server).study("s", {"x": metatune.float_(0, 1)}, direction="minimize", seed=3)
    [request] = server.requests
    assert (request.method, request.url.path) == ("PUT", "/v1/studies/s")
    assert server.bodies() == [
        {"space": {"x": {"type": "float", "low": 0, "high": 1}}, "direction": "minimize", "seed": 3}
    ]


def test_a_study_without_definition_is_looked_up():
    server = Server(httpx.Response(200, json=STUDY))
    client_of(server).study("s")
    assert server.requests[0].method == "GET"


def test_a_study_without_name_is_created_with_an_idempotency_key():
    server = Server(httpx.Response(201, json=STUDY))
    assert client_of(server).study(space={"x": metatune.bool_()}).name == "s"
    assert server.requests[0].url.path == "/v1/studies"
    assert server.requests[0].headers["Idempotency-Key"]


def test_address_and_key_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("METATUNE_URL", "http://elsewhere:9/")
    monkeypatch.setenv("METATUNE_KEY", "secret")
    server = Server(httpx.Response(200, json={}))
    metatune.Client(transport=httpx.MockTransport(server)).me()
    assert str(server.requests[0].url) == "http://elsewhere:9/v1/me"
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_an_ask_that_got_no_answer_is_repeated_under_the_same_idempotency_key(pauses):
    server = Server(
        httpx.Response(200, json=STUDY),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(503),
        asked(TRIAL),
        asked(TRIAL),
    )
    study = client_of(server).study("s")
    study.ask()
    first = [request.headers["Idempotency-Key"] for request in server.requests[1:]]
    study.ask()
    assert len(set(first)) == 1
    assert server.requests[-1].headers["Idempotency-Key"] not in first
    assert len({request.content for request in server.requests[1:5]}) == 1


def test_retry_after_is_waited_for(pauses):
    server = Server(httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200, json={}))
    client_of(server).me()
    assert pauses == [7.0]


def test_retry_after_may_be_a_date():
    def wish(text: str) -> float:
        return problem_in(httpx.Response(503, headers={"Retry-After": text})).retry_after_seconds

    assert wish("Fri, 31 Dec 2999 23:59:59 GMT") > 1e9
    assert wish("soon") == 0.0
    assert wish("12") == 12.0


def test_pauses_double_and_are_spread(pauses):
    server = Server(*[httpx.Response(502)] * 8, httpx.Response(200, json={}))
    client_of(server).me()
    assert len(set(pauses)) == 8
    for attempt, pause in enumerate(pauses):
        longest = min(sender.LONGEST_PAUSE_SECONDS, sender.FIRST_PAUSE_SECONDS * 2**attempt)
        assert sender.SHORTEST_PAUSE_SECONDS <= pause <= longest


def test_a_call_gives_up_in_the_end_and_says_where_it_tried(pauses):
    server = Server(*itertools.repeat(httpx.ConnectError("refused"), 1000))
    with pytest.raises(metatune.ServerUnreachable, match=r"http://tuner:1 \(refused\).*METATUNE_URL"):
        client_of(server, retry_seconds=100).me()
    assert 80 < sum(pauses) <= 100


def test_a_busy_server_is_named_as_such_in_the_end(pauses):
    server = Server(*[problem(503, "unavailable")] * 100)
    with pytest.raises(metatune.Unavailable, match="it is unavailable"):
        client_of(server, retry_seconds=10).me()


def test_a_raw_post_that_may_have_arrived_is_not_sent_again(pauses):
    server = Server(httpx.ReadError("reset"))
    with pytest.raises(metatune.ServerUnreachable):
        client_of(server).request("POST", "/v1/studies/s/copy", {"name": "t"})
    assert len(server.requests) == 1


def test_a_raw_post_that_cannot_have_arrived_is_sent_again(pauses):
    server = Server(httpx.ConnectError("refused"), httpx.Response(201, json={"name": "t"}))
    assert client_of(server).request("POST", "/v1/studies/s/copy", {"name": "t"}) == {"name": "t"}


def test_an_address_that_is_none_fails_at_once(pauses):
    with pytest.raises(metatune.ServerUnreachable, match="cannot send"):
        metatune.Client("tuner:8000").me()
    assert pauses == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "unreadable", metatune.BadRequest),
        (401, "unauthenticated", metatune.Unauthenticated),
        (403, "forbidden", metatune.Forbidden),
        (404, "study-not-found", metatune.NotFound),
        (404, "no-result-yet", metatune.NoResultYet),
        (409, "lease-lost", metatune.LeaseLost),
        (409, "study-replaced", metatune.StudyReplaced),
        (409, "something-new", metatune.Conflict),
        (422, "not-available-yet", metatune.NotAvailableYet),
        (500, "error", metatune.ServerFault),
    ],
)
def test_a_refusal_becomes_the_error_of_its_code_and_is_not_repeated(status, code, kind):
    server = Server(problem(status, code))
    with pytest.raises(kind) as caught:
        client_of(server).me()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.problem["detail"] == f"it is {code}"


def test_a_message_lists_every_wrong_field():
    errors = [{"pointer": "/space/x/low", "detail": "low must be below high, got [2, 1]"}]
    server = Server(problem(422, "invalid-space", errors=errors))
    with pytest.raises(metatune.Invalid, match=r"/space/x/low: low must be below high, got \[2, 1\]"):
        client_of(server).study("s", {"x": metatune.float_(2, 1)})


def test_a_message_lists_every_difference():
    differs = [{"pointer": "/seed", "here": 7, "given": 8}]
    server = Server(problem(409, "study-differs", differs=differs))
    with pytest.raises(metatune.StudyDiffers, match="/seed: the study has 7, you gave 8"):
        client_of(server).study("s", {"x": metatune.bool_()}, seed=8)


def test_a_page_that_is_no_problem_document_is_quoted():
    server = Server(httpx.Response(404, text="<h1>nginx</h1>"))
    with pytest.raises(metatune.NotFound, match="nginx"):
        client_of(server).me()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float32(0.5), 0.5),
        (np.float64("inf"), "inf"),
        (np.int64(3), 3.0),
        (np.array(2.0), 2.0),
        (True, 1.0),
    ],
)
def test_any_number_is_told_in_plain_json(value, written):
    server = Server(httpx.Response(200, json=STUDY), asked(TRIAL), httpx.Response(200, json=TRIAL))
    client_of(server).study("s").ask()[0].tell(value, metadata={"seen": np.int64(4)})
    assert json.loads(server.requests[-1].content) == {
        "value": written,
        "metadata": {"seen": 4},
        "lease": "t1",
        "study_uid": "u1",
    }


@pytest.mark.parametrize("value", [None, "0.5", [0.5]])
def test_what_is_no_number_is_refused_before_it_is_sent(value):
    server = Server(httpx.Response(200, json=STUDY), asked(TRIAL))
    [trial] = client_of(server).study("s").ask()
    with pytest.raises(TypeError, match="a result is a number"):
        trial.tell(value)


def test_trials_are_fetched_page_by_page_as_one_goes():
    pages = [
        httpx.Response(200, json={"items": [{**TRIAL, "number": 1}, {**TRIAL, "number": 2}], "next": "c2"}),
        httpx.Response(200, json={"items": [{**TRIAL, "number": 3}], "next": None}),
    ]
    server = Server(httpx.Response(200, json=STUDY), *pages)
    trials = client_of(server).study("s").trials(state="complete")
    assert next(trials).number == 1
    assert len(server.requests) == 2
    assert [trial.number for trial in trials] == [2, 3]
    assert dict(server.requests[-1].url.params) == {"state": "complete", "limit": "200", "after": "c2"}


def test_importing_the_package_brings_in_nothing_heavy():
    """What takes longer than all of it together waits until it is used; docs/benchmarks.md has the figure."""
    heavy = "('numpy', 'pandas', 'httpx', 'tenacity', 'asyncio', 'email', 'typer', 'rich', 'app')"
    code = f"import sys, metatune; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
