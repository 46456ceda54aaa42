"""Does a run outlive its server, its network and its own processes? `make client-survival`.

Four client processes share 500 trials. Meanwhile the server is killed and started again, the network is cut for a
minute, and client processes are killed and started again with `resume`. Every client writes down each value that it
computed; afterwards the study must hold all of them, each finished once, and none computed twice but by a client that
was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import metatune
from benchmarks.server import Server
from tests.ledger.proxy import Proxy

STUDY = "survival"
SPACE = {"x": metatune.float_(0.0, 1.0), "kind": metatune.categorical(["a", "b"])}
#: A trial takes a while, in which a server may go.
WORK_SECONDS = 0.02
GIVE_UP_SECONDS = 900.0


@dataclass
class Plan:
    n_trials: int = 500
    n_clients: int = 4
    n_server_kills: int = 20
    n_client_kills: int = 8
    cut_seconds: float = 60.0
    #: Clients that do not try again, keep nothing, and go on: the audit has to notice.
    is_careless: bool = False


@dataclass
class Findings:
    """What is wrong; all empty, if the run survived."""

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    seconds: float = 0.0
    n_computed: int = 0

    @property
    def problems(self) -> dict[str, list[str]]:
        return {name: found for name, found in (("lost", self.lost), ("twice", self.twice)) if found}


def value_of(params: dict[str, object]) -> float:
    return float(str(params["x"])) ** 2 + (params["kind"] == "a")


def client(url: str, name: str, ledger: Path, *, is_careless: bool) -> None:
    """One client process: works until the study is done."""
    out = ledger.open("ab")

    def objective(trial: metatune.Trial) -> float:
        time.sleep(WORK_SECONDS)
        if trial.number % 7 == 0:
            trial.report(1, 0.5)
        value = value_of(trial.params)
        out.write(json.dumps({"number": trial.number, "value": value}).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())
        return value

    if is_careless:
        with metatune.Client(url, retry_seconds=0, outbox=False) as here:
            while True:
                try:
                    here.study(STUDY).optimize(objective, lease_seconds=2, progress=False, worker=name)
                    return
                except metatune.MetatuneError:
                    time.sleep(0.05)
    with metatune.Client(url, retry_seconds=GIVE_UP_SECONDS) as here:
        here.study(STUDY).optimize(objective, progress=False, worker=name, resume=True)


class Clients:
    """The processes, by name, each with a ledger that outlives it."""

    def __init__(self, folder: Path, url: str, plan: Plan) -> None:
        self._folder = folder
        self._url = url
        self._is_careless = plan.is_careless
        self.names = [f"client-{n}" for n in range(plan.n_clients)]
        self._processes = {name: self._start(name) for name in self.names}

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.clients.survival", "client", self._url, name]
        command += [str(self.ledger(name)), *(["--careless"] if self._is_careless else [])]
        environment = {**os.environ, "METATUNE_OUTBOX": str(self._folder / "outbox")}
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ledger(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def kill_and_start(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()
        self._processes[name] = self._start(name)

    def computed(self) -> list[tuple[int, float]]:
        ledgers = [self.ledger(name) for name in self.names if self.ledger(name).exists()]
        lines = [line for ledger in ledgers for line in ledger.read_text().splitlines(keepends=True)]
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [(one["number"], one["value"]) for one in said]

    def wait(self) -> None:
        for name, process in self._processes.items():
            if process.wait(timeout=GIVE_UP_SECONDS) != 0:
                raise RuntimeError(f"{name} ended badly:\n{(self._folder / f'{name}.log').read_text()[-4000:]}")

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


def survive(folder: Path, plan: Plan, rng: random.Random) -> Findings:
    """Runs it all in `folder`.  Raises: RuntimeError, if the run does not come to its end."""
    started_at = time.monotonic()
    with Server(folder) as server, Proxy(server.port) as proxy, metatune.Client(server.url) as direct:
        stop = {"max_trials": plan.n_trials}
        study = direct.study(STUDY, SPACE, direction="minimize", algorithm="random", stop=stop, max_retries=1000)
        clients = Clients(folder, proxy.url, plan)
        try:
            acts = ["server"] * plan.n_server_kills + ["client"] * plan.n_client_kills
            rng.shuffle(acts)
            acts.insert(len(acts) // 2, "network")
            for n, act in enumerate(acts):
                _wait_for(clients, plan.n_trials * (n + 1) // (len(acts) + 1), started_at)
                if act == "server":
                    server.kill()
                    time.sleep(rng.uniform(0.0, 0.5))
                    server.start()
                elif act == "client":
                    clients.kill_and_start(rng.choice(clients.names))
                else:
                    proxy.cut(plan.cut_seconds)
            clients.wait()
        finally:
            clients.stop()
        findings = audit(study, clients.computed(), folder / "outbox", plan)
    findings.seconds = time.monotonic() - started_at
    return findings


def _wait_for(clients: Clients, n_computed: int, started_at: float) -> None:
    while len(clients.computed()) < n_computed:
        if time.monotonic() - started_at > GIVE_UP_SECONDS:
            raise RuntimeError(f"no progress: {len(clients.computed())} values computed, waiting for {n_computed}")
        time.sleep(0.05)


def audit(study: metatune.Study, computed: list[tuple[int, float]], outbox: Path, plan: Plan) -> Findings:
    findings = Findings(n_computed=len(computed))
    kept = {trial.number: trial for trial in study.trials()}
    if sorted(kept) != list(range(1, plan.n_trials + 1)):
        findings.lost.append(f"the study has {len(kept)} trials of {plan.n_trials}")
    findings.lost += [f"trial {n} is {trial.state}" for n, trial in kept.items() if trial.state != "complete"]
    findings.lost += [
        f"trial {number} was computed as {value}, the study has {kept[number].value}"
        for number, value in computed
        if number not in kept or kept[number].value != value
    ]
    findings.lost += [f"{file} still waits" for file in outbox.rglob("*.json")]
    finished = Counter(event["number"] for event in study.export()["events"] if event["type"] == "trial.finished")
    findings.twice += [f"trial {number} was finished {n} times" for number, n in finished.items() if n != 1]
    n_again = len(computed) - len({number for number, _ in computed})
    if n_again > plan.n_client_kills:
        findings.twice.append(f"{n_again} trials were computed again, and {plan.n_client_kills} clients were killed")
    return findings


def main() -> None:
    parser = argparse.ArgumentParser()
    parsers = parser.add_subparsers(dest="do", required=True)
    one = parsers.add_parser("client")
    one.add_argument("url")
    one.add_argument("name")
    one.add_argument("ledger", type=Path)
    one.add_argument("--careless", action="store_true")
    run = parsers.add_parser("run")
    run.add_argument("--trials", type=int, default=500)
    run.add_argument("--server-kills", type=int, default=20)
    run.add_argument("--cut", type=float, default=60.0)
    run.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.do == "client":
        client(given.url, given.name, given.ledger, is_careless=given.careless)
        return
    plan = Plan(n_trials=given.trials, n_server_kills=given.server_kills, cut_seconds=given.cut)
    with tempfile.TemporaryDirectory(prefix="mt-survival-") as folder:
        findings = survive(Path(folder), plan, random.Random(given.seed))
    verdict = findings.problems or "nothing lost, nothing told twice"
    print(
        f"{plan.n_trials} trials from {plan.n_clients} processes in {findings.seconds:.0f} s: the server killed "
        f"{plan.n_server_kills} times, the network cut for {plan.cut_seconds:g} s, clients killed "
        f"{plan.n_client_kills} times; {findings.n_computed} values computed; {verdict}"
    )
    sys.exit(1 if findings.problems else 0)


if __name__ == "__main__":
    main()
