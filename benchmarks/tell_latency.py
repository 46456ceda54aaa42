"""How long a tell takes while suggestions for many askers are being computed: `make bench-tell-latency`.

A study with a long history makes every ask slow for real; processes of askers keep a line waiting, while this process
tells results of the same study over HTTP, one at a time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import numpy as np

from benchmarks.server import Server

STUDY = "/v1/studies/slow"
DIMENSIONS = 14
PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="finished ones that the model learns from")
    parser.add_argument("--askers", type=int, default=32)
    parser.add_argument("--tells", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.03, help="seconds between two tells")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        waiting = prepare(server.url, given.trials, 2 * given.tells + 50)
        alone = tell_all(server.url, waiting[: given.tells], given.pause)
        one_ask = time_one_ask(server.url)
        busy, n_asks = tell_while_asked(server.url, waiting[given.tells : 2 * given.tells], given.pause, given.askers)
    print(
        f"a study with {given.trials} finished trials in {DIMENSIONS} dimensions; one ask alone takes {one_ask:.2f} s"
    )
    print(f"{'tells, in ms':32}{'median':>9}{'p90':>9}{'p99':>9}{'longest':>9}")
    for name, seconds in (("nobody asks", alone), (f"{given.askers} askers wait ({n_asks} answered)", busy)):
        cells = [1000 * float(np.percentile(seconds, q)) for q in (50, 90, 99, 100)]
        print(f"{name:32}" + "".join(f"{cell:9.1f}" for cell in cells))


def prepare(url: str, n_trials: int, n_running: int) -> list[int]:
    """Makes the study with its history; the numbers of trials that are running and can be told."""
    rng = random.Random(1)
    space = {f"x{k}": {"type": "float", "low": 0.0, "high": 1.0} for k in range(DIMENSIONS)}

    def params() -> dict[str, float]:
        return {name: rng.random() for name in space}

    with httpx.Client(base_url=url + STUDY, timeout=300.0) as http:
        http.put(url + STUDY, json={"space": space, "algorithm": "gp", "seed": 1}).raise_for_status()
        points = [params() for _ in range(n_trials)]
        imports = [{"params": point, "value": sum((x - 0.4) ** 2 for x in point.values())} for point in points]
        if imports:
            http.post("/trials", json={"trials": imports}).raise_for_status()
        http.post("/trials", json={"trials": [{"params": params()} for _ in range(n_running)]}).raise_for_status()
        asked = http.post("/ask", json={"count": min(n_running, 1000)}).raise_for_status().json()
        return [trial["number"] for trial in asked["trials"]]


def time_one_ask(url: str) -> float:
    with httpx.Client(base_url=url + STUDY, timeout=300.0) as http:
        started = time.perf_counter()
        http.post("/ask", json={"deadline_seconds": None}).raise_for_status()
        return time.perf_counter() - started


def tell_all(url: str, numbers: Sequence[int], pause: float) -> list[float]:
    """Seconds that each tell took."""
    seconds = []
    with httpx.Client(base_url=url + STUDY, timeout=300.0) as http:
        for number in numbers:
            started = time.perf_counter()
            http.post(f"/trials/{number}/tell", json={"value": 1.0}).raise_for_status()
            seconds.append(time.perf_counter() - started)
            time.sleep(pause)
    return seconds


def tell_while_asked(url: str, numbers: Sequence[int], pause: float, n_askers: int) -> tuple[list[float], int]:
    """Seconds that each tell took, and how many asks were answered meanwhile."""
    context = multiprocessing.get_context("spawn")
    stop, answered = context.Event(), context.Value("i", 0)
    share = [n_askers // PROCESSES + (k < n_askers % PROCESSES) for k in range(PROCESSES)]
    processes = [context.Process(target=keep_asking, args=(url, n, stop, answered)) for n in share]
    for process in processes:
        process.start()
    time.sleep(3.0)  # until all askers stand in line
    before = answered.value
    try:
        seconds = tell_all(url, numbers, pause)
        return seconds, answered.value - before
    finally:
        stop.set()
        for process in processes:
            process.terminate()
            process.join()


def keep_asking(url: str, n_askers: int, stop: Event, answered) -> None:  # type: ignore[no-untyped-def]
    def asker() -> None:
        with httpx.Client(base_url=url + STUDY, timeout=600.0) as http:
            while not stop.is_set():
                http.post("/ask", json={}).raise_for_status()
                with answered.get_lock():
                    answered.value += 1

    threads = [threading.Thread(target=asker, daemon=True) for _ in range(n_askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
