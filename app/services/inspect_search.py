"""What a search found, from its rows alone: architectures with their evaluations, the front, the recommendation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.db import jobs
from app.db.jobs import Address
from app.db.session import Store
from app.db.tables import Job, JobPart
from app.nas.front import non_dominated
from app.nas.plan import Plan
from app.nas.problem import Problem, Told
from app.nas.search import beliefs
from app.nas.spaces import Genes


@dataclass(frozen=True)
class Evaluation:
    number: int
    state: str
    value: float | None
    epochs: int | None
    curve: list[float] | None
    error: str | None


@dataclass(frozen=True)
class Found:
    """A distinct architecture. `mean` is what the model believes; none while nothing was measured."""

    genes: Genes
    key: str
    architecture: dict[str, Any]
    complexity: float
    count: float
    parameters: float
    mean: float | None
    deviation: float | None
    reward: float | None
    evaluations: list[Evaluation]


@dataclass(frozen=True)
class Inspected:
    job: Job
    plan: Plan
    #: Best reward first; those without a value last.
    found: list[Found]

    @property
    def best(self) -> Found | None:
        return self.found[0] if self.found and self.found[0].reward is not None else None

    @property
    def front(self) -> list[Found]:
        """Metric against complexity, the smallest first."""
        measured = [one for one in self.found if one.mean is not None]
        places = non_dominated(
            np.array([one.mean for one in measured], dtype=float), np.array([one.complexity for one in measured])
        )
        return [measured[i] for i in places]


def inspect(store: Store, address: Address, penalty: float | None = None) -> Inspected:
    """`penalty`: ranked by another one, without evaluating anything again.  Raises: JobNotFound."""
    with store.read(address.project_id) as session:
        here = jobs.get(session, address)
        parts = list(jobs.parts(session, here.job.id))
    return Inspected(here.job, Plan.of(here.job.body), _found(here.job, parts, penalty))


def _found(job: Job, parts: Sequence[JobPart], penalty: float | None) -> list[Found]:
    plan = Plan.of(job.body)
    tasks: dict[Genes, dict[str, Any]] = {}
    evaluations: dict[Genes, list[Evaluation]] = {}
    told = []
    for part in parts:
        genes = tuple(part.task["genes"])
        tasks.setdefault(genes, part.task)
        result = part.result or {}
        told.append(Told(genes, part.task["repeat"], part.task["epochs"], result.get("value")))
        evaluations.setdefault(genes, []).append(
            Evaluation(
                part.number, part.state, result.get("value"), part.task["epochs"], result.get("curve"), part.error
            )
        )
    problem = Problem(
        plan.space,
        count=lambda genes: float(tasks[genes]["count"]),
        parameters=lambda genes: float(tasks[genes]["parameters"]),
        penalty=plan.penalty if penalty is None else penalty,
        promise=lambda genes: tasks[genes].get("promise", 0.0),
        trainings=lambda genes: tasks[genes].get("trainings"),
        _complexities={genes: task["complexity"] for genes, task in tasks.items()},
    )
    summary, means, deviations = beliefs(problem, told)
    believed = {genes: (float(m), float(d)) for genes, m, d in zip(summary.genes, means, deviations, strict=True)}
    found = []
    for genes, task in tasks.items():
        mean, deviation = believed.get(genes, (None, None))
        found.append(
            Found(
                genes,
                task["key"],
                task["architecture"],
                task["complexity"],
                task["count"],
                task["parameters"],
                mean,
                deviation,
                None if mean is None else problem.reward(genes, mean),
                evaluations[genes],
            )
        )
    return sorted(found, key=lambda one: -float("inf") if one.reward is None else one.reward, reverse=True)
