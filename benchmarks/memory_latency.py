"""CPU of an ask that builds on 15 past studies of 100 observations, among few studies stored and among many.

In this process, on a new SQLite file: what is timed is the ask's service with its transactions, not HTTP. Beside it
Optuna's TPE at 100 trials, from the environment of the peers, since milliseconds of two machines do not compare.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import insert, select

from app.db import knowledge
from app.db.migrate import migrate
from app.db.session import Store, database_now
from app.db.studies import Address
from app.db.tables import Lesson, LessonWord
from app.measurement import Result
from app.search.space import SearchSpace
from app.search.suggest import Goal, History, Record, suggest
from app.search.transfer import learn
from app.services import define_study
from app.services.ask import AskCall, ask
from app.services.define_study import Given
from app.services.memory import Memory
from app.services.tell import tell_many

SPACE = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in "abcdef"}
N_SOURCES, N_OBSERVATIONS, N_TRIALS = 15, 100, 60
OPTUNA = """
import time, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))
taken = []
for k in range(120):
    started = time.process_time()
    trial = study.ask()
    x = [trial.suggest_float(name, 0.0, 1.0) for name in "abcdef"]
    taken.append(time.process_time() - started)
    study.tell(trial, sum((u - 0.4) ** 2 for u in x))
print(sorted(taken[100:])[10] * 1e3)
"""


def loss(params: dict[str, float], center: float) -> float:
    return sum((value - center) ** 2 for value in params.values())


def fill(store: Store, n_stored: int) -> None:
    """Past studies of one kind; those beyond the first 15 are copies under other names."""
    space, goal = SearchSpace.from_json(SPACE), Goal(("minimize",))
    empty = History.of(space, goal, [])
    taught = []
    for k in range(N_SOURCES):
        points = suggest(space, goal, empty, count=N_OBSERVATIONS, seed=k, first_number=1, algorithm="random").points
        records = [
            Record(n, point.params, "complete", (loss(point.params, 0.3 + 0.02 * k),))  # type: ignore[arg-type]
            for n, point in enumerate(points, start=1)
        ]
        lesson = learn(History.of(space, goal, records), 0, k)
        taught.append(
            [{"name": "value", "direction": "minimize", "lesson": None if lesson is None else lesson.to_json()}]
        )
    with store.write(1) as session:
        now = session.execute(select(database_now())).scalar_one()
        for start in range(0, n_stored, 500):
            rows = [
                {
                    "project_id": 1, "study_id": None, "name": f"past-{k}", "is_latest": True, "n_changes": 1,
                    "n_results": N_OBSERVATIONS, "signature": knowledge.signature(space), "space": SPACE,
                    "description": f"a study of six numbers {k}", "tags": {}, "metafeatures": {"n_rows": float(k)},
                    "objectives": taught[k % N_SOURCES], "created_at": now,
                }
                for k in range(start, min(start + 500, n_stored))
            ]  # fmt: skip
            ids = session.scalars(insert(Lesson).returning(Lesson.id, sort_by_parameter_order=True), rows).all()
            words = [
                {"lesson_id": i, "word": word, "project_id": 1}
                for i, row in zip(ids, rows, strict=True)
                for word in [*knowledge.words_of(str(row["name"]), str(row["description"])), *(f"={p}" for p in SPACE)]
            ]
            session.execute(insert(LessonWord), words)


def measure(n_stored: int) -> tuple[float, float, float]:
    """CPU ms of the first ask, and the median and the 90th percentile of those after."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'memory.db'}")
        migrate(store)
        fill(store, n_stored)
        address, memory = Address(1, "new"), Memory()
        fields = {"space": SPACE, "seed": 1, "description": "a study of six numbers"}
        define_study.put(store, address, Given("new", fields))
        taken = []
        for _ in range(N_TRIALS):
            started = time.process_time()
            (answer,) = ask(store, address, [AskCall()], memory)
            taken.append(1e3 * (time.process_time() - started))
            trial = answer.trials[0]  # type: ignore[union-attr]
            tell_many(store, address, [Result(trial.number, "complete", loss(trial.params, 0.5), None)])
        store.dispose()
    return taken[0], float(np.median(taken[1:])), float(np.quantile(taken[1:], 0.9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stored", type=int, nargs="+", default=[15, 10_000])
    parser.add_argument("--optuna", type=Path, default=Path(".venv-peers/optuna/bin/python"))
    given = parser.parse_args()
    for n_stored in given.stored:
        first, middle, late = measure(n_stored)
        print(
            f"{n_stored:6} studies stored: first ask {first:.0f} ms, then {middle:.1f} (90 %: {late:.1f}) ms of CPU",
            flush=True,
        )
    if given.optuna.exists():
        found = subprocess.run([given.optuna, "-c", OPTUNA], check=True, capture_output=True, text=True)
        print(f"Optuna's TPE at 100 trials: {float(found.stdout):.1f} ms of CPU")


if __name__ == "__main__":
    main()
