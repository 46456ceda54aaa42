"""A result is on disk until the server has it, and counts once."""

import json
import logging
import os
import time
from pathlib import Path

import httpx
import pytest

import metatune
from metatune.outbox import KEY_LASTS_SECONDS, Outbox
from metatune.wire import Request, creating

STUDY = {"name": "s", "uid": "u1", "objectives": [{"name": "value", "direction": "minimize"}]}
TRIAL = {"number": 1, "state": "running", "attempt": 1, "params": {"x": 0.5}, "lease": {"token": "t1"}}
AWAY = httpx.ConnectError("refused")
DONE = {**TRIAL, "state": "complete", "values": {"value": 0.25}, "lease": None}


class Server:
    """Answers by the last word of the path; an exception is a server that is away."""

    def __init__(self) -> None:
        self.answers = {
            "s": httpx.Response(200, json=STUDY),
            "ask": httpx.Response(200, json={"trials": [TRIAL], "done": False, "reason": None}),
            "tell": httpx.Response(200, json=DONE),
            "trials": httpx.Response(201, json={**DONE, "number": 2}),
        }
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.keys: list[str | None] = []
        self.seen_on_disk: list[int] = []
        self.outbox: Path | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.rsplit("/", 1)[-1]
        self.calls.append((verb, json.loads(request.content or b"{}")))
        self.keys.append(request.headers.get("Idempotency-Key"))
        if self.outbox is not None:
            self.seen_on_disk.append(len(files(self.outbox)))
        answer = self.answers[verb]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tells(self) -> list[dict[str, object]]:
        return [body for verb, body in self.calls if verb == "tell"]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.json") if path.parent.name != "refused")


def refused(folder: Path) -> list[Path]:
    return sorted(folder.rglob("refused/*.json"))


@pytest.fixture
def server(outbox):
    server = Server()
    server.outbox = outbox
    return server


def client_of(server: Server) -> metatune.Client:
    return metatune.Client("http://tuner:1", transport=httpx.MockTransport(server), retry_seconds=0)


def left_behind(server: Server) -> metatune.Trial:
    """A result that an earlier process told while the server was away."""
    [trial] = client_of(server).study("s").ask()
    server.answers["tell"] = AWAY
    trial.tell(0.25, cost=3)
    server.answers["tell"] = httpx.Response(200, json=DONE)
    return trial


def test_a_result_is_on_disk_while_it_is_sent_and_gone_when_it_was_taken(server, outbox):
    [trial] = client_of(server).study("s").ask()
    trial.tell(0.25)
    assert server.seen_on_disk[-1] == 1
    assert files(outbox) == []
    assert trial.is_delivered


def test_a_result_that_cannot_be_sent_is_kept_and_the_work_goes_on(server, outbox, caplog):
    trial = left_behind(server)
    assert len(files(outbox)) == 1
    assert (trial.state, trial.value, trial.is_delivered) == ("complete", 0.25, False)
    assert "kept in" in caplog.text


def test_what_waits_is_delivered_when_the_study_is_opened_and_once(server, outbox):
    left_behind(server)
    study = client_of(server).study("s")
    assert study.delivered == metatune.Delivered(delivered=1)
    assert server.tells()[-1] == {"value": 0.25, "cost": 3, "lease": "t1", "study_uid": "u1"}
    assert files(outbox) == []
    assert client_of(server).study("s").delivered == metatune.Delivered()


def test_what_waits_is_delivered_before_the_next_ask(server, outbox):
    study = client_of(server).study("s")
    [trial] = study.ask()
    server.answers["tell"] = httpx.Response(503)
    trial.tell(0.25)
    server.answers["tell"] = httpx.Response(200, json=DONE)
    study.ask()
    assert [verb for verb, _ in server.calls][-2:] == ["tell", "ask"]
    assert files(outbox) == []


def test_a_result_that_waited_too_long_for_its_lease_is_offered_without_it(server, outbox):
    left_behind(server)
    answers = iter([httpx.Response(409, json={"code": "lease-lost", "detail": "late"}), httpx.Response(200, json=DONE)])
    transport = httpx.MockTransport(lambda request: next(answers) if "tell" in request.url.path else server(request))
    study = metatune.Client("http://tuner:1", transport=transport, retry_seconds=0).study("s")
    assert study.delivered == metatune.Delivered(delivered=1)


@pytest.mark.parametrize("outcome", ["fail", "pruned", "infeasible"])
def test_only_a_value_is_offered_without_its_lease(server, outbox, outcome):
    [trial] = client_of(server).study("s").ask()
    server.answers["tell"] = AWAY
    getattr(trial, outcome)("because")
    server.answers["tell"] = httpx.Response(409, json={"code": "lease-lost", "detail": "late"})
    assert client_of(server).study("s").delivered == metatune.Delivered(refused=1)
    assert len(server.tells()) == 2
    assert len(refused(outbox)) == 1


def test_what_the_server_refuses_for_good_is_put_aside_for_a_person(server, outbox, caplog):
    left_behind(server)
    server.answers["tell"] = httpx.Response(409, json={"code": "trial-finished-differently", "detail": "the first"})
    assert client_of(server).study("s").delivered == metatune.Delivered(refused=1)
    assert files(outbox) == []
    [aside] = refused(outbox)
    assert json.loads(aside.read_text())["json"]["value"] == 0.25
    assert str(aside) in caplog.text


def test_what_is_refused_when_it_is_told_is_the_callers_to_handle(server, outbox):
    [trial] = client_of(server).study("s").ask()
    server.answers["tell"] = httpx.Response(422, json={"code": "invalid", "detail": "no such objective"})
    with pytest.raises(metatune.Invalid):
        trial.tell({"speed": 1.0})
    assert files(outbox) == refused(outbox) == []


def test_a_server_that_fails_or_a_key_that_ended_costs_no_result(server, outbox):
    [trial] = client_of(server).study("s").ask()
    server.answers["tell"] = httpx.Response(500)
    with pytest.raises(metatune.ServerFault):
        trial.tell(0.25)
    server.answers["tell"] = httpx.Response(401)
    with pytest.raises(metatune.Unauthenticated):
        trial.tell(0.25)
    assert len(files(outbox)) == 2
    server.answers["tell"] = httpx.Response(200, json=DONE)
    assert client_of(server).study("s").delivered.delivered == 2


def test_while_the_server_is_away_all_of_it_goes_on_waiting(server, outbox):
    left_behind(server)
    left_behind_again = client_of(server).study
    server.answers["tell"] = AWAY
    assert left_behind_again("s").delivered == metatune.Delivered(waiting=1)
    assert len(files(outbox)) == 1


def test_what_another_process_is_delivering_is_left_to_it(outbox):
    mine, theirs = Outbox(outbox, "http://tuner:1"), Outbox(outbox, "http://tuner:1")
    letter = mine.keep("u1", Request("POST", "/tell", json={}))
    assert list(theirs.waiting("u1")) == []
    mine.leave(letter)
    [taken] = theirs.waiting("u1")
    assert list(mine.waiting("u1")) == []
    theirs.drop(taken)
    theirs.leave(taken)
    assert list(mine.waiting("u1")) == []


def test_a_study_of_another_uid_leaves_it_alone(server, outbox):
    left_behind(server)
    server.answers["s"] = httpx.Response(200, json={**STUDY, "uid": "u2"})
    assert client_of(server).study("s").delivered == metatune.Delivered()
    assert len(files(outbox)) == 1


def test_an_import_is_delivered_under_the_key_of_its_first_attempt(server, outbox):
    study = client_of(server).study("s")
    server.answers["trials"] = httpx.ReadError("reset")
    with pytest.raises(metatune.ServerUnreachable):
        study.add({"x": 0.1}, 1.0)
    server.answers["trials"] = httpx.Response(201, json=DONE)
    client_of(server).study("s")
    first, second = (key for key in server.keys if key)
    assert first == second


def test_an_import_that_the_server_may_have_forgotten_is_not_sent_twice(outbox, monkeypatch):
    box = Outbox(outbox, "http://tuner:1")
    letter = box.keep("u1", creating("/v1/studies/s/trials", {"params": {}, "value": 1.0}))
    assert not letter.is_too_old
    later = time.time() + KEY_LASTS_SECONDS + 1
    monkeypatch.setattr("time.time", lambda: later)
    box.leave(letter)
    [waiting] = box.waiting("u1")
    assert waiting.is_too_old
    assert not Outbox(outbox, "http://tuner:1").keep("u1", Request("POST", "/tell", json={})).is_too_old


def test_a_folder_that_cannot_be_written_costs_a_warning_and_no_result(server, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    client = metatune.Client("http://t:1", transport=httpx.MockTransport(server), outbox=tmp_path / "file" / "outbox")
    [trial] = client.study("s").ask()
    assert trial.tell(0.25).state == "complete"
    assert "METATUNE_OUTBOX" in caplog.text


def test_without_an_outbox_an_unreachable_server_is_an_error(server, outbox):
    client = metatune.Client("http://t:1", transport=httpx.MockTransport(server), outbox=False, retry_seconds=0)
    [trial] = client.study("s").ask()
    server.answers["tell"] = AWAY
    with pytest.raises(metatune.ServerUnreachable):
        trial.tell(0.25)
    assert files(outbox) == []


def test_a_half_written_or_foreign_file_is_left_where_it_is(server, outbox, caplog):
    left_behind(server)
    [file] = files(outbox)
    (file.parent / "0.json").write_text('{"study_uid": ')
    (file.parent / "1.partial").write_text("")
    assert client_of(server).study("s").delivered == metatune.Delivered(delivered=1)
    assert (file.parent / "0.json").exists()
    assert "cannot be read" in caplog.text


def test_only_this_user_reads_what_waits(server, outbox):
    left_behind(server)
    [file] = files(outbox)
    assert os.stat(file).st_mode & 0o077 == 0
    assert os.stat(file.parent).st_mode & 0o077 == 0


def test_values_of_any_kind_survive_the_disk(server, outbox, caplog):
    caplog.set_level(logging.INFO)
    [trial] = client_of(server).study("s").ask()
    server.answers["tell"] = AWAY
    trial.tell(float("nan"), metadata={"why": float("inf")})
    server.answers["tell"] = httpx.Response(200, json=DONE)
    client_of(server).study("s")
    assert server.tells()[-1]["value"] == "nan"
    assert "1 results that waited on disk were delivered" in caplog.text
