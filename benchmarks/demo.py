"""`make demo`: tune a support vector machine through the server, and see what that is worth.

Starts a server on an empty database, evaluates scikit-learn's defaults, tunes, and gives random search the
same budget. In the second act a reader of digits is tuned anew every month, and in the fourth twice: from nothing, and
from what the server remembers of the three before. On a terminal the server is left running, with calls to try;
elsewhere it is stopped.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import metatune
from benchmarks import digits_svm, monthly_digits
from benchmarks.server import Server, free_port

BUDGET = 50
SEED = 0
STUDY = "digits-svm"
MONTHLY_BUDGET = 30
NEW_MONTH = monthly_digits.N_MONTHS
CURVE_AT = (1, 2, 3, 5, 10, 15, 20, 25, 30)  # trials
WIDTH = 50

Loss = Callable[[Mapping[str, Any], int], float]  # of a configuration in a month


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="metatune-demo-"))
    stays = sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("1", "true")
    with Server(folder, free_port(8000)) as server:
        print(f"Server at {server.url}, its database in {folder}\n")
        print(digits_svm.__doc__.split("\n\n")[1].replace("\n", " ") + "\n")
        with metatune.Client(server.url, retry_seconds=30) as client:
            compare(client)
            remember(client)
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
        study = client.study(
            name, digits_svm.SPACE, direction="minimize", algorithm=algorithm, seed=SEED,
            description="support vector machine on handwritten digits", warm_start="off",
        )  # fmt: skip
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


@dataclass(frozen=True)
class Curves:
    """The best loss after 1, 2, 3, ... trials, from nothing and from memory."""

    cold: list[float]
    warm: list[float]

    @property
    def met(self) -> int | None:
        """The first trial from memory that is as good as the end from nothing; None, if there is none."""
        return next((n for n, value in enumerate(self.warm, start=1) if value <= self.cold[-1]), None)


def begin_month(client: metatune.Client, loss: Loss, seed: int, prefix: str = "", *, progress: bool = True) -> Curves:
    """Tunes in the earlier months, then in the new one without them and with them."""
    earlier = [f"{prefix}month-{month}" for month in range(1, NEW_MONTH)]

    def tune(name: str, month: int, warm_start: list[str] | Literal["off"] = "off") -> list[float]:
        study = client.study(
            name, monthly_digits.SPACE, direction="minimize", seed=seed, warm_start=warm_start,
            description="reader of handwritten digits on the forms of one month",
        )  # fmt: skip
        losses: list[float] = []

        def objective(trial: metatune.Trial) -> float:
            losses.append(loss(trial.params, month))
            return losses[-1]

        study.optimize(objective, n_trials=MONTHLY_BUDGET, progress=progress)
        return [min(losses[:n]) for n in range(1, len(losses) + 1)]

    for month, earlier_name in enumerate(earlier, start=1):
        tune(earlier_name, month)
    name = f"{prefix}month-{NEW_MONTH}"
    return Curves(cold=tune(f"{name}-cold", NEW_MONTH), warm=tune(name, NEW_MONTH, earlier))


def remember(client: metatune.Client) -> None:
    """The second act: the curves of a cold and of a warm start, and where the warm one met the cold one's end."""
    print(
        f"\nSecond act: a reader of digits with twelve hyperparameters is tuned on the forms of {NEW_MONTH - 1} months."
    )
    print(
        f"Then come those of another: {MONTHLY_BUDGET} trials from nothing, then {MONTHLY_BUDGET} from memory.",
        flush=True,
    )
    curves = begin_month(client, monthly_digits.loss, SEED)
    cold, warm = curves.cold, curves.warm
    worst, best = max(cold[0], warm[0]), min(cold[-1], warm[-1])
    print(f"\nBest Brier score so far\n{'trials':>6}{'from nothing':>14}{'from memory':>13}   (* nothing, o memory)")
    for n in CURVE_AT:
        picture = drawn(cold[n - 1], warm[n - 1], best, worst)
        print(f"{n:6}{cold[n - 1]:14.4f}{warm[n - 1]:13.4f}   {picture}")
    as_good = next((n for n, value in enumerate(cold, start=1) if value <= warm[0]), None)
    if as_good is not None:
        print(f"\nThe first trial from memory is as good as the best of {as_good} trials from nothing.")
    end = f"{MONTHLY_BUDGET} trials from nothing end at {cold[-1]:.4f}"
    print(f"\n{end}; from memory " + (f"trial {curves.met} is there." if curves.met else f"{warm[-1]:.4f}."))


def drawn(cold: float, warm: float, best: float, worst: float) -> str:
    """Both values on one line of `WIDTH` characters, on a logarithmic scale."""
    places = [round((WIDTH - 1) * math.log(value / best) / math.log(worst / best)) for value in (cold, warm)]
    line = [" "] * WIDTH
    line[places[0]] = "*"
    line[places[1]] = "o"
    return "".join(line).rstrip()


def calls_to_try(server: Server) -> str:
    study = f"{server.url}/v1/studies/{STUDY}"
    return f"""
The server is still running at {server.url} (documentation: {server.url}/docs). Try:

  curl {study}/best
  curl '{study}/trials?order_by=value&limit=3'
  curl -X POST {study}/ask
  curl {server.url}/v1/studies/month-{NEW_MONTH}/prior

Stop it with: kill {server.pid}"""


if __name__ == "__main__":
    main()
