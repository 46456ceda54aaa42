"""The evaluations of a search, as rows: what each is to try, and what was told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.db.tables import JobPart
from app.nas.problem import Problem, Task, Told

FINISHED = ("succeeded", "failed")


def told_of(parts: Sequence[JobPart]) -> list[Told]:
    """What was submitted, by number; what is not finished is pending."""
    return [
        Told(
            tuple(part.task["genes"]),
            part.task["repeat"],
            part.task["epochs"],
            None if part.result is None else part.result.get("value"),
            is_pending=part.state not in FINISHED,
        )
        for part in parts
    ]


def n_done(parts: Sequence[JobPart]) -> int:
    """How many of the first ones are finished: what comes next depends on these alone."""
    return next((i for i, part in enumerate(parts) if part.state not in FINISHED), len(parts))


def task_of(problem: Problem, task: Task) -> dict[str, Any]:
    genes = task.genes
    return {
        "genes": list(genes),
        "key": problem.space.key(genes),
        "architecture": problem.space.describe(genes),
        "repeat": task.repeat,
        "epochs": task.epochs,
        "why": task.why,
        "complexity": problem.complexity(genes),
        "count": problem.count(genes),
        "parameters": problem.parameters(genes),
        "promise": problem.promise(genes),
        "trainings": problem.trainings(genes),
    }
