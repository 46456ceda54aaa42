"""What becomes of a trial whose block ends, however it ends."""

import json
import signal
import threading
import time

import httpx
import pytest

import metatune

STUDY = {"name": "s", "uid": "u1", "objectives": [{"name": "value", "direction": "minimize"}]}
STATES = {"tell": "complete", "release": "waiting"}


class LoopServer:
    """Hands out trials without end (or `n`), and takes what it is told."""

    def __init__(self, n: int = 10**6) -> None:
        self.n_left = n
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.number = 0
        self.lock = threading.Lock()
        self.refuse: dict[str, httpx.Response] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        verb = request.url.path.rsplit("/", 1)[-1]
        body = json.loads(request.content or b"{}")
        with self.lock:
            self.calls.append((verb, body))
            if verb in self.refuse:
                return self.refuse[verb]
            if verb == "ask":
                return httpx.Response(200, json=self._ask())
        if verb == "best":
            return httpx.Response(404, json={"code": "no-result-yet", "detail": "none"})
        if verb in STATES:
            number = int(request.url.path.split("/")[-2])
            state = body.get("state", STATES[verb])
            values = {"value": body["value"]} if "value" in body else None
            return httpx.Response(200, json={"number": number, "state": state, "params": {}, "values": values})
        if verb in ("heartbeat", "report"):
            return httpx.Response(200, json={"prune": verb == "report", "stop": False})
        return httpx.Response(200, json=STUDY)

    def _ask(self) -> dict[str, object]:
        if self.n_left == 0:
            return {"trials": [], "done": True, "reason": "max_trials"}
        self.n_left -= 1
        self.number += 1
        trial = {"number": self.number, "state": "running", "params": {"x": 1.0}, "lease": {"token": "t"}}
        return {"trials": [trial], "done": False, "reason": None}

    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.calls if verb not in ("s", "best")]

    def last(self) -> dict[str, object]:
        return self.calls[-1][1]


@pytest.fixture
def server():
    return LoopServer()


@pytest.fixture
def study(server):
    with metatune.Client("http://t", transport=httpx.MockTransport(server)) as client:
        yield client.study("s")


def test_a_told_trial_is_left_alone(server, study):
    with study.trial() as trial:
        trial.tell(0.5)
    assert server.verbs() == ["ask", "tell"]
    assert trial.value == 0.5


def test_a_block_without_a_result_fails(server, study):
    with study.trial():
        pass
    assert server.last()["state"] == "failed"
    assert "without a result" in str(server.last()["reason"])


def test_pruned_is_told_and_swallowed(server, study):
    with study.trial() as trial:
        if trial.report(1, 0.3):
            raise metatune.Pruned("no hope")
    assert (server.last()["state"], server.last()["reason"]) == ("pruned", "no hope")


def test_infeasible_is_told_and_swallowed(server, study):
    with study.trial():
        raise metatune.Infeasible
    assert server.last()["state"] == "infeasible"


def test_an_exception_fails_the_trial_and_goes_its_way(server, study):
    with pytest.raises(ZeroDivisionError), study.trial():
        print(1 / 0)
    reason = str(server.last()["reason"])
    assert server.last()["state"] == "failed"
    assert reason.startswith("ZeroDivisionError: division by zero\n\nTraceback")
    assert "print(1 / 0)" in reason


def test_of_a_long_traceback_the_end_is_sent(server, study):
    with pytest.raises(ZeroDivisionError), study.trial():
        raise ZeroDivisionError("x" * 20_000)
    assert len(str(server.last()["reason"])) <= 10_000
    fault: Exception = ZeroDivisionError("first")
    for n in range(200):
        try:
            raise OSError(f"after {n} others") from fault
        except OSError as after:
            fault = after
    with pytest.raises(OSError, match="after"), study.trial():
        raise fault
    reason = str(server.last()["reason"])
    assert len(reason) <= 10_000
    assert reason.startswith("OSError: after 199 others")
    assert reason.endswith("OSError: after 199 others\n")


def test_a_failure_that_says_enough_is_told_without_a_traceback(server, study):
    with pytest.raises(metatune.Failed), study.trial():
        raise metatune.Failed("exit code 3")
    assert (server.last()["state"], server.last()["reason"]) == ("failed", "exit code 3")


def test_a_worker_that_resumes_needs_a_name(server, study):
    with pytest.raises(ValueError, match="METATUNE_WORKER"):
        study.optimize(lambda _: 1.0, n_trials=1, resume=True)
    study.optimize(lambda _: 1.0, n_trials=4, n_jobs=2, resume=True, worker="node", progress=False)
    asks = [body for verb, body in server.calls if verb == "ask"]
    assert {body["worker"] for body in asks} == {"node/0", "node/1"}
    assert sorted(body["worker"] for body in asks if body.get("resume")) == ["node/0", "node/1"]


def test_an_interruption_of_many_threads_gives_back_what_they_have(server, study):
    working = threading.Barrier(3)

    def objective(_):
        working.wait(5)
        threading.Event().wait(60)

    def interrupt():
        working.wait(5)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(SystemExit) as ended:
        study.optimize(objective, n_jobs=2, progress=False)
    assert ended.value.code == 128 + signal.SIGTERM
    assert server.verbs() == ["ask", "ask", "release", "release"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interruption_gives_the_trial_back(server, study):
    with pytest.raises(KeyboardInterrupt), study.trial():
        raise KeyboardInterrupt
    assert server.verbs() == ["ask", "release"]


def test_a_lost_lease_is_not_answered_with_a_failure(server, study):
    server.refuse["tell"] = httpx.Response(409, json={"code": "lease-lost", "detail": "too late"})
    with pytest.raises(metatune.LeaseLost, match="heartbeats"), study.trial() as trial:
        trial.tell(1.0)
    assert server.verbs() == ["ask", "tell"]


def test_heartbeats_come_while_the_block_works_and_end_with_it(server, study):
    with study.trial(lease_seconds=0.08) as trial:
        time.sleep(0.2)
        trial.tell(1.0)
    n_beats = server.verbs().count("heartbeat")
    time.sleep(0.1)
    assert 1 <= n_beats == server.verbs().count("heartbeat")


def test_a_heartbeat_that_finds_the_trial_gone_says_stop(server, study):
    server.refuse["heartbeat"] = httpx.Response(404, json={"code": "trial-removed", "detail": "gone"})
    with study.trial(lease_seconds=0.04) as trial:
        for _ in range(100):
            if trial.signal:
                break
            time.sleep(0.02)
        trial.tell(1.0)
    assert trial.signal.stop


def test_a_done_study_says_so(study, server):
    server.n_left = 0
    with pytest.raises(metatune.StudyDone, match="max_trials"), study.trial():
        pass


def test_optimize_finishes_as_many_as_it_was_told(server, study):
    study.optimize(lambda trial: trial.params["x"], n_trials=5, progress=False)
    assert server.verbs() == ["ask", "tell"] * 5


def test_optimize_ends_when_the_study_does(server, study):
    server.n_left = 3
    study.optimize(lambda trial: trial.params["x"], progress=False)
    assert server.verbs() == ["ask", "tell"] * 3 + ["ask"]


def test_optimize_shares_its_budget_between_threads(server, study):
    study.optimize(lambda trial: trial.params["x"], n_trials=20, n_jobs=4, progress=False)
    assert server.verbs().count("tell") == server.verbs().count("ask") == 20


def test_optimize_goes_on_after_a_failure(server, study):
    def every_other_fails(trial):
        if trial.number % 2:
            raise OSError("disk full")
        return 1.0

    study.optimize(every_other_fails, n_trials=12, progress=False)
    assert server.verbs().count("tell") == 12


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_optimize_gives_up_on_an_objective_that_only_fails(server, study, n_jobs):
    with pytest.raises(TypeError, match="returned None"):
        study.optimize(lambda _: None, n_trials=100, max_failures=4, n_jobs=n_jobs, progress=False)
    assert 4 <= server.verbs().count("tell") <= 4 + n_jobs


def test_optimize_offers_a_result_whose_lease_was_lost(server, study):
    answers = iter([httpx.Response(409, json={"code": "lease-lost", "detail": "too late"})])

    class Once(dict):
        def __contains__(self, verb):
            return verb == "tell" and (refusal := next(answers, None)) is not None and self.update(tell=refusal) is None

    server.refuse = Once()
    study.optimize(lambda _: 1.0, n_trials=1, progress=False)
    tells = [body for verb, body in server.calls if verb == "tell"]
    assert [body.get("lease") for body in tells] == ["t", None]


def test_optimize_drops_a_result_that_another_worker_told_first(server, study):
    server.refuse["tell"] = httpx.Response(409, json={"code": "trial-finished-differently", "detail": "too late"})
    study.optimize(lambda _: 1.0, n_trials=2, progress=False)
    assert server.verbs() == ["ask", "tell"] * 2


def test_optimize_prints_a_line_for_each_trial_where_there_is_no_terminal(study, capsys):
    study.optimize(lambda trial: 1.0 / trial.number, n_trials=2)
    assert capsys.readouterr().err.splitlines() == [
        "1/2  trial 1 complete  1  best 1 (trial 1)",
        "2/2  trial 2 complete  0.5  best 0.5 (trial 2)",
    ]


def test_an_objective_may_tell_by_itself(server, study):
    study.optimize(lambda trial: trial.pruned() and None, n_trials=1, progress=False)
    assert server.verbs() == ["ask", "tell"]


def test_optimize_draws_a_bar_on_a_terminal(study, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    study.optimize(lambda trial: 1.0 / trial.number, n_trials=4)
    last = capsys.readouterr().err.split("\r")[-1]
    assert "4/4" in last
    assert "best 0.25 (trial 4)" in last
