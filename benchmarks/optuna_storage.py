"""Pairs of ask and tell a second on Optuna's own storage: run by `benchmarks/throughput.py` in the peer's environment.

    .venv-peers/optuna/bin/python benchmarks/optuna_storage.py sqlite:///optuna.db --trials 1000 --clients 16

Its sampler is the random one, so the figure is that of the storage alone. It prints `ready` when the trials are there;
then every line that it is given is answered by the rate of a round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import threading
import time
from typing import Any

import optuna

STUDY = "bench"
PARAMETERS = ("x", "y", "z")


def open_study(url: str) -> Any:
    engine = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
    return optuna.create_study(
        study_name=STUDY, storage=storage, sampler=optuna.samplers.RandomSampler(), load_if_exists=True
    )


def load(url: str, threads: int, seconds: float, counts: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    done = [0] * threads
    all_are_open = threading.Barrier(threads)  # reading the trials there are is no part of a pair

    def run(k: int) -> None:
        study = open_study(url)
        all_are_open.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            trial = study.ask()
            values = [trial.suggest_float(name, 0.0, 1.0) for name in PARAMETERS]
            study.tell(trial, values[0])
            done[k] += 1

    workers = [threading.Thread(target=run, args=(k,)) for k in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    counts.put(sum(done))


def measure(url: str, clients: int, seconds: float) -> float:
    """Pairs a second of `clients` threads in two processes, as for our server."""
    context = multiprocessing.get_context("spawn")
    counts = context.Queue()
    processes = [context.Process(target=load, args=(url, clients // 2, seconds, counts)) for _ in range(2)]
    for process in processes:
        process.start()
    total: int = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    return total / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distribution = optuna.distributions.FloatDistribution(0.0, 1.0)
    space = dict.fromkeys(PARAMETERS, distribution)
    open_study(given.url).add_trials(
        [
            optuna.trial.create_trial(
                params=dict.fromkeys(PARAMETERS, k / given.trials), distributions=space, value=0.0
            )
            for k in range(given.trials)
        ]
    )
    print("ready", flush=True)
    for _ in sys.stdin:
        print(measure(given.url, given.clients, given.seconds), flush=True)


if __name__ == "__main__":
    main()
