"""`make demo`: tune a support vector machine through the server, and see what that is worth.

Starts a server on an empty database, evaluates scikit-learn's defaults, tunes, and gives random search the
same budget. On a terminal the server is left running, with calls to try; elsewhere it is stopped.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import metatune
from benchmarks import digits_svm
from benchmarks.server import Server, free_port

BUDGET = 50
SEED = 0
STUDY = "digits-svm"


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="metatune-demo-"))
    stays = sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("1", "true")
    with Server(folder, free_port(8000)) as server:
        print(f"Server at {server.url}, its database in {folder}\n")
        print(digits_svm.__doc__.split("\n\n")[1].replace("\n", " ") + "\n")
        with metatune.Client(server.url, retry_seconds=30) as client:
            compare(client)
        if stays:
            print(calls_to_try(server))
            server.leave_running()
    if not stays:
        shutil.rmtree(folder)


def compare(client: metatune.Client) -> None:
    rows = [("scikit-learn's defaults", digits_svm.DEFAULTS, digits_svm.loss(digits_svm.DEFAULTS))]
    for label, name, algorithm in (("random search", f"{STUDY}-random", "random"), ("metatune", STUDY, "auto")):
        print(f"{label}: {BUDGET} trials", flush=True)
        started_at = time.monotonic()
        study = client.study(name, digits_svm.SPACE, direction="minimize", algorithm=algorithm, seed=SEED)
        study.optimize(lambda trial: digits_svm.loss(trial.params), n_trials=BUDGET)
        best = study.best
        print(f"{time.monotonic() - started_at:.0f} s, best in trial {best.number}\n", flush=True)
        rows.append((f"{label}, {BUDGET} trials", best.params, best.value or float("nan")))

    print(f"{'':26}{'log loss, cross-validated':>27}{'log loss, held back':>22}{'accuracy, held back':>22}")
    for label, params, loss in rows:
        checked = digits_svm.held_back(params)
        print(f"{label:26}{loss:27.4f}{checked.log_loss:22.4f}{checked.accuracy:22.1%}")
    shown = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in rows[-1][1].items()
    )
    print(f"\nBest configuration: {shown}")


def calls_to_try(server: Server) -> str:
    study = f"{server.url}/v1/studies/{STUDY}"
    return f"""
The server is still running at {server.url} (documentation: {server.url}/docs). Try:

  curl {study}/best
  curl '{study}/trials?order_by=value&limit=3'
  curl -X POST {study}/ask

Stop it with: kill {server.pid}"""


if __name__ == "__main__":
    main()
