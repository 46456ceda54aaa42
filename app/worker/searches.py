"""Architecture search as a job: hands out evaluations, takes them in order of submission, trains the best again.

A table answers in batches inside this job; remote scripts answer through a study (`app.worker.outside`). Trainings are
parts of their own, so that ten workers make one search ten times as wide: the task with number n is made as soon as
those up to n − parallel are finished.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from app.db import artefacts, uploads
from app.db.jobs import OpenJob
from app.db.session import Store
from app.nas.data import Split
from app.nas.network import Network, Shape
from app.nas.plan import Plan
from app.nas.problem import Problem, Told
from app.nas.search import Recommended, Settings, propose_number, recommend
from app.nas.strategies import Memory
from app.nas.table import Lookup, Table, read
from app.services.basis import basis_of
from app.services.examples import shape_of, split_for
from app.worker import outside
from app.worker.evaluations import FINISHED, n_done, task_of, told_of
from app.worker.latency import Latencies
from app.worker.unit import Done, Unit

KIND = "search"
TABLE = "table"
#: Evaluations of a table between two writes.
BATCH = 25
#: Of the progress of a search that trains, what the last training is.
LAST_SHARE = 0.05


def run(unit: Unit) -> Done:
    plan = Plan.of(unit.body)
    return {"table": _on_table, "train": _on_data, "external": _outside}[plan.evaluator["name"]](unit, plan)


# --- a table ----------------------------------------------------------------------------------------------------


def _on_table(unit: Unit, plan: Plan) -> Done:
    table = load_table(unit.store, unit.project_id, plan.evaluator["table"])
    lookup = Lookup.of(table, plan.space)
    problem, settings, memory = plan.problem_of_table(lookup), _settings(unit, plan), Memory()
    told = told_of(unit.parts())
    while len(told) < plan.evaluations and not _is_over(plan, unit):
        batch = []
        for number in range(len(told) + 1, min(len(told) + BATCH, plan.evaluations) + 1):
            task = propose_number(problem, settings, told, number, memory)
            value = lookup.evaluate(task, plan.seed)
            told.append(Told(task.genes, task.repeat, task.epochs, value))
            batch.append((number, task_of(problem, task), {"value": value}))
            unit.check()
        unit.record(batch, len(told) / plan.evaluations)
    best = recommend(problem, told)
    return Done({"evaluations": len(told), "best": None if best is None else _answer(problem, best), "model": None})


def load_table(store: Store, project_id: int, name: str) -> Table:
    """Raises: DatasetNotFound."""
    with store.read(project_id) as session:
        upload = uploads.get(session, project_id, TABLE, name)
    return read(artefacts.read(store, project_id, upload.artefact_id), str(upload.summary["file"]))


# --- trainings --------------------------------------------------------------------------------------------------


def _on_data(unit: Unit, plan: Plan) -> Done:
    shape, n_classes = unit.look(_shape)
    latencies = Latencies(unit)
    problem = plan.problem_of_networks(shape, n_classes, latencies.of)
    settings, memory = _settings(unit, plan), Memory()
    parts = unit.parts()
    while True:
        first_open = n_done(parts)
        is_over = len(parts) >= plan.evaluations or _is_over(plan, unit)
        if not is_over and len(parts) < first_open + plan.parallel:
            told = told_of(parts)
            new = []
            while len(told) < min(first_open + plan.parallel, plan.evaluations):
                task = propose_number(problem, settings, told, len(told) + 1, memory)
                told.append(Told(task.genes, task.repeat, task.epochs, is_pending=True))
                new.append((len(told), task_of(problem, task)))
            latencies.keep()
            unit.submit(new)
        elif is_over and first_open == len(parts):
            break
        finished = sum(part.state in FINISHED for part in parts)
        parts = unit.wait()
        if sum(part.state in FINISHED for part in parts) > finished:
            unit.progress((1.0 - LAST_SHARE) * min(1.0, first_open / plan.evaluations))
    told = told_of(parts)
    best = recommend(problem, told)
    if best is None:
        reasons = {part.error for part in parts if part.error}
        raise ValueError(f"no evaluation succeeded; the last reason: {sorted(map(str, reasons))[-1:]}")
    unit.progress(1.0 - LAST_SHARE, f"training the best again: {plan.space.describe(best.genes)}")
    return _trained_again(unit, plan, problem, best, plan.space.network(best.genes, shape, n_classes), len(told))


def _trained_again(unit: Unit, plan: Plan, problem: Problem, best: Recommended, network: Network, n_told: int) -> Done:
    """The best one once more, and judged on the part of the examples that the search never saw."""
    from app.nas.exported import to_onnx  # here: only this takes JAX and ONNX
    from app.nas.train import train

    split = _split(unit)
    outcome = train(
        network,
        split,
        epochs=plan.evaluator["epochs"],
        seed=_seed(plan.seed, 0),
        patience=plan.evaluator.get("patience"),
        on_epoch=lambda epoch, accuracy: unit.check(),
    )
    raw = split.held_out_x * split.scale + split.centre
    predicted = outcome.trained.probabilities(raw).argmax(axis=1)
    model = {
        "accuracy": float(np.mean(predicted == split.held_out_y)),
        "validation_accuracy": outcome.accuracy,
        "held_out_examples": len(split.held_out_y),
        "parameters": network.parameters(),
        "flops": network.flops(),
    }
    answer = _answer(problem, best)
    packed = outcome.trained.pack(to_onnx(outcome.trained), architecture=answer["architecture"], **model)
    return Done({"evaluations": n_told, "best": answer, "model": model}, packed)


def run_part(unit: Unit) -> dict[str, Any]:
    """One training."""
    from app.nas.train import train  # here: only this takes JAX

    plan = Plan.of(unit.body)
    split = _split(unit)
    assert unit.number is not None  # noqa: S101  (it is a part)
    started_at = time.process_time()
    epochs = unit.task["epochs"]
    outcome = train(
        plan.space.network(tuple(unit.task["genes"]), split.shape, len(split.labels)),
        split,
        epochs=epochs,
        seed=_seed(plan.seed, unit.number),
        patience=plan.evaluator.get("patience"),
        on_epoch=lambda epoch, accuracy: unit.progress(epoch / epochs),
    )
    seconds = time.process_time() - started_at
    return {"value": outcome.accuracy, "curve": outcome.curve, "cpu_seconds": round(seconds, 3)}


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


# --- somebody else's scripts ------------------------------------------------------------------------------------


def _outside(unit: Unit, plan: Plan) -> Done:
    latencies = Latencies(unit)
    problem = plan.problem_of_networks(*unit.look(_shape), latencies.of)
    told = outside.evaluated(unit, plan, _settings(unit, plan), problem, latencies)
    n_told = sum(not one.is_pending for one in told)
    best = recommend(problem, told)
    return Done({"evaluations": n_told, "best": None if best is None else _answer(problem, best), "model": None})


# --- what all have ----------------------------------------------------------------------------------------------


def _settings(unit: Unit, plan: Plan) -> Settings:
    return replace(plan.settings(), advised=unit.look(basis_of).advised)


def _shape(here: OpenJob) -> tuple[Shape, int]:
    return shape_of(here.session, here.job.project_id, here.job.body["evaluator"], basis_of(here).examples)


def _split(unit: Unit) -> Split:
    return split_for(unit.store, unit.project_id, str(unit.look(basis_of).examples))


def _is_over(plan: Plan, unit: Unit) -> bool:
    return plan.max_seconds is not None and unit.seconds() > plan.max_seconds


def _answer(problem: Problem, best: Recommended) -> dict[str, Any]:
    genes = best.genes
    return {
        "key": problem.space.key(genes),
        "architecture": problem.space.describe(genes),
        "metric": best.mean,
        "deviation": best.deviation,
        "complexity": problem.complexity(genes),
        "parameters": problem.parameters(genes),
        "reward": best.reward,
    }
