"""How soon a server that was killed under load answers again: `make bench-recovery`.

Clients ask and tell without a pause; the server and its children get SIGKILL; the same command is started at once,
and the time is taken until `/readyz` is 200. The clients go on trying all the while, as real ones do. Also said: the
processor time of the start.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.server import Server
from benchmarks.throughput import cpu_seconds

STUDY = "/v1/studies/recovery"
CLIENTS = 4
#: What the project promises, in seconds.
PROMISE = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--database", help="postgresql://…; a SQLite file of its own, unless given")
    parser.add_argument("--load", type=float, default=2.0, help="seconds of asks and tells before each kill")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder), database=given.database) as server:
        waits, starts = kill_again_and_again(server, given.kills, given.load)
    median, p95, longest = np.percentile(waits, (50, 95, 100))
    print(f"{given.kills} kills: ready after {median:.2f} s (median), {p95:.2f} (p95), {longest:.2f} (longest);")
    print(f"{np.mean(np.array(waits) <= PROMISE):.0%} within {PROMISE:g} s; processor time of a start:", end=" ")
    print(f"{np.median(starts):.2f} s (median), {min(starts):.2f} to {max(starts):.2f}")


def kill_again_and_again(server: Server, n_kills: int, load_seconds: float) -> tuple[list[float], list[float]]:
    """Seconds until it was ready after each kill, and seconds of the processor until then."""
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
    httpx.put(server.url + STUDY, json={"space": space, "algorithm": "random"}).raise_for_status()
    is_over = threading.Event()
    clients = [threading.Thread(target=work, args=(server.url + STUDY, k, is_over)) for k in range(CLIENTS)]
    for client in clients:
        client.start()
    waits, starts = [], []
    try:
        for _ in range(n_kills):
            time.sleep(load_seconds)
            server.kill()
            killed = time.perf_counter()
            server.start()
            waits.append(time.perf_counter() - killed)
            starts.append(cpu_seconds(server.pid))
    finally:
        is_over.set()
        for client in clients:
            client.join()
    return waits, starts


def work(url: str, seed: int, is_over: threading.Event) -> None:
    """Asks and tells; when nobody answers it tries again, ever more seldom, as the client package does."""
    rng, pause = random.Random(seed), 0.1
    with httpx.Client(timeout=10.0) as http:
        while not is_over.is_set():
            try:
                trial = http.post(f"{url}/ask").raise_for_status().json()["trials"][0]
                http.post(f"{url}/trials/{trial['number']}/tell", json={"value": rng.random()})
                pause = 0.1
            except httpx.HTTPError:
                is_over.wait(pause)
                pause = min(2 * pause, 5.0)


if __name__ == "__main__":
    main()
