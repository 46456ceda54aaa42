"""Leave one task out: a new study on one table, with the others of its family as past studies.

Every run is a line of the results file; what is there already is not run again, so that a long comparison can be cut
into pieces and go on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402

from benchmarks.transfer.methods import METHODS, Metatune  # noqa: E402
from benchmarks.transfer.tables import HELD_OUT, SCENARIOS, Table, load, past_studies  # noqa: E402

RESULTS = Path(__file__).resolve().parents[1] / "results" / "transfer"


def run(
    tables: dict[str, Table], target: Table, method: str, scenario: str, seed: int, evals: int, pool: bool
) -> dict[str, Any]:
    optimiser = METHODS[method](target.space, seed)
    past = past_studies(tables, target, scenario, seed)
    started = time.process_time()
    if past:
        optimiser.warm_start(past)
    learning = time.process_time() - started
    if pool and isinstance(optimiser, Metatune):
        optimiser.set_candidates([target.params(row) for row in target.X])
    asks, losses = [], []
    is_taken = np.zeros(len(target.y), dtype=bool)
    for _ in range(evals):
        started = time.process_time()
        params = optimiser.ask()
        asks.append(time.process_time() - started)
        row = target.nearest(params, is_taken if pool else None)
        is_taken[row] = True
        losses.append(float(target.y[row]))
        optimiser.tell(target.params(target.X[row]) if pool else params, losses[-1])
    return {
        "task": target.key, "method": method, "scenario": scenario, "seed": seed, "pool": pool,
        "losses": losses, "learning_seconds": round(learning, 4), "first_ask_seconds": round(asks[0], 4),
        "ask_seconds": round(float(np.median(asks[1:])), 4),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["metatune"], choices=list(METHODS))
    parser.add_argument("--scenarios", nargs="+", default=["cold", "good"], choices=SCENARIOS)
    parser.add_argument("--part", default="chosen-on", choices=("chosen-on", "held-out", "all"))
    parser.add_argument("--families", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evals", type=int, default=50)
    parser.add_argument("--pool", action="store_true", help="only rows of the table, none twice")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    tables = load()
    given.out.mkdir(parents=True, exist_ok=True)
    for method in given.methods:
        file = given.out / f"{method}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        done = {tuple(json.loads(line)[k] for k in ("task", "scenario", "seed", "pool")) for line in lines}
        for scenario in given.scenarios:
            for target in tables.values():
                if not target.is_target or (given.families and target.family not in given.families):
                    continue
                if given.part != "all" and (target.key in HELD_OUT) != (given.part == "held-out"):
                    continue
                for seed in range(given.seeds):
                    if (target.key, scenario, seed, given.pool) in done:
                        continue
                    found = run(tables, target, method, scenario, seed, given.evals, given.pool)
                    with file.open("a") as out:
                        out.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
