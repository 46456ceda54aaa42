"""How long an ask takes on a modelled study, with points computed ahead and without: `make bench-ask-latency`.

One worker: it tells, pauses as if it trained something, and asks; only the ask is timed, over HTTP. Also said: how long
the server takes from its start until it is ready, and how much memory its process takes.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.server import Server

STUDY = "/v1/studies/bench"
DIMENSIONS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="finished ones that the model learns from")
    parser.add_argument("--asks", type=int, default=60)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between a result and the next ask")
    parser.add_argument("--algorithm", default="gp")
    given = parser.parse_args()
    print(
        f"{given.algorithm}, {given.trials} trials in {DIMENSIONS} dimensions, an ask {given.pause:g} s after each tell"
    )
    print(f"{'in ms':24}{'median':>9}{'p90':>9}{'p99':>9}{'longest':>9}   prepared   ready after   memory")
    for name, setting in (("computed ahead", "true"), ("computed when asked", "false")):
        program = ["env", f"METATUNE_SPECULATE={setting}", str(Path(sys.executable).parent / "metatune-server")]
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            with Server(Path(folder), command=program) as server:
                ready = time.perf_counter() - started
                seconds, n_ahead = time_asks(server.url, given.algorithm, given.trials, given.asks, given.pause)
                memory = resident_megabytes(server.pid)
        cells = [1000 * float(np.percentile(seconds, q)) for q in (50, 90, 99, 100)]
        print(
            f"{name:24}" + "".join(f"{cell:9.1f}" for cell in cells),
            f"  {n_ahead:3} of {len(seconds):3}   {ready:9.2f} s   {memory:4.0f} MB",
            flush=True,
        )


def time_asks(url: str, algorithm: str, n_trials: int, n_asks: int, pause: float) -> tuple[list[float], int]:
    """Seconds that each ask took, and how many of their points had been computed ahead."""
    rng = random.Random(1)
    space = {f"x{k}": {"type": "float", "low": 0.0, "high": 1.0} for k in range(DIMENSIONS)}

    def value(params: dict[str, float]) -> float:
        return sum((x - 0.4) ** 2 for x in params.values()) + rng.gauss(0.0, 0.01)

    seconds, n_ahead = [], 0
    with httpx.Client(base_url=url + STUDY, timeout=300.0) as http:
        http.put(url + STUDY, json={"space": space, "algorithm": algorithm, "seed": 1}).raise_for_status()
        points = [{name: rng.random() for name in space} for _ in range(n_trials)]
        for start in range(0, n_trials, 1000):
            imports = [{"params": point, "value": value(point)} for point in points[start : start + 1000]]
            http.post("/trials", json={"trials": imports}).raise_for_status()
        for k in range(n_asks + 2):
            started = time.perf_counter()
            answer = http.post("/ask", json={"deadline_seconds": None}).raise_for_status()
            took = time.perf_counter() - started
            (trial,) = answer.json()["trials"]
            if k >= 2:  # the first ask fits the model, and the second may still be followed by it
                seconds.append(took)
                n_ahead += trial["origin"]["speculated"]
            told = {"value": value(trial["params"])}
            http.post(f"/trials/{trial['number']}/tell", json=told).raise_for_status()
            time.sleep(pause)
    return seconds, n_ahead


def resident_megabytes(process: int) -> float:
    """The most that the process ever had in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
