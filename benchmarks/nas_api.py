"""`python -m benchmarks.nas_api URL`: the searches of `benchmarks.nas` through a server's jobs, value for value.

Uploads the tables of NAS-Bench-201, lets the server search each with three seeds, and makes the same searches here.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import urllib.request
from typing import Any

import numpy as np

from app.nas.search import Settings, recommend, search
from app.nas.strategies import Strategy
from benchmarks.nas import MARKS, TABLES, bench_of, table

SEEDS = range(3)
BOUNDARY = "a-boundary-that-no-archive-has"


def call(url: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": kind})) as answer:
        return json.load(answer)


def upload(url: str, name: str) -> None:
    there, file = table(name), io.BytesIO()
    np.savez(file, X=np.array(there.genes, dtype=np.int64), y=there.values, parameters=there.measures["parameters"])
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="name"\r\n\r\n{name}\r\n--{BOUNDARY}\r\n'
    head += f'Content-Disposition: form-data; name="file"; filename="{name}.npz"\r\n\r\n'
    body = head.encode() + file.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode()
    call(f"{url}/v1/nas/tables", body, f"multipart/form-data; boundary={BOUNDARY}")


def through_jobs(url: str, name: str, seed: int) -> tuple[str, list[tuple[int, str, float]]]:
    """The recommended architecture, and number, architecture and value of every evaluation."""
    address = f"{url}/v1/nas/searches/{name}-{seed}"
    body = {
        "name": f"{name}-{seed}",
        "space": bench_of(name).space.to_json(),
        "strategy": "gp",
        "evaluator": {"name": "table", "table": name},
        "budget": {"evaluations": MARKS[-1]},
        "seed": seed,
    }
    call(f"{url}/v1/nas/searches", json.dumps(body).encode())
    while (done := call(address))["state"] in ("queued", "running"):
        time.sleep(1)
    assert done["state"] == "succeeded", done["error"]
    items = call(f"{address}/architectures?limit=1000")["items"]
    evaluations = [(one["number"], item["key"], one["value"]) for item in items for one in item["evaluations"]]
    return done["result"]["best"]["key"], sorted(evaluations)


def here(name: str, seed: int) -> tuple[str, list[tuple[int, str, float]]]:
    bench = bench_of(name)
    problem = bench.lookup.problem(measure="parameters", penalty=0.0)
    told = search(problem, Settings(Strategy("gp"), seed, MARKS[-1]), lambda task: bench.lookup.evaluate(task, seed))
    best = recommend(problem, told)
    assert best is not None
    found = [(number, bench.space.key(one.genes), float(one.value or 0.0)) for number, one in enumerate(told, start=1)]
    return bench.space.key(best.genes), found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    url = parser.parse_args().url
    for name in TABLES:
        upload(url, name)
        for seed in SEEDS:
            there, computed = through_jobs(url, name, seed), here(name, seed)
            same = sum(a == b for a, b in zip(there[1], computed[1], strict=True))
            print(f"{name}, seed {seed}: {same} of {len(computed[1])} evaluations and the recommendation "
                  f"{'are' if there[0] == computed[0] else 'ARE NOT'} the same", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
