"""A search that other people's scripts evaluate: waits for what they tell, and says what is to be tried next."""

from __future__ import annotations

from app.db import jobs
from app.db.jobs import OpenJob
from app.nas.plan import Plan
from app.nas.problem import Problem, Told
from app.nas.search import Settings, propose_number
from app.nas.strategies import Memory
from app.services import outsource
from app.worker.evaluations import n_done, task_of, told_of
from app.worker.latency import Latencies
from app.worker.unit import Unit

#: Between two looks at the study: as long may a script wait for its next architecture.
LOOK_SECONDS = 0.25


def evaluated(unit: Unit, plan: Plan, settings: Settings, problem: Problem, latencies: Latencies) -> list[Told]:
    """All evaluations, in order; those that were under way when the time was up are pending.

    Raises: Ended; StudyNotFound, if somebody deleted the study.
    """
    memory = Memory()
    unit.within(_alive)
    while True:
        seen = unit.look(outsource.revision)
        parts = unit.within(outsource.take)
        told, first_open = told_of(parts), n_done(parts)
        if first_open == plan.evaluations or _is_over(plan, unit):
            unit.within(jobs.cancel_parts)
            return told
        new = []
        while len(told) < min(first_open + plan.parallel, plan.evaluations):
            task = propose_number(problem, settings, told, len(told) + 1, memory)
            told.append(Told(task.genes, task.repeat, task.epochs, is_pending=True))
            new.append((len(told), task_of(problem, task)))
        if new:
            latencies.keep()
            unit.progress(first_open / plan.evaluations)
            unit.within(lambda here, new=tuple(new): outsource.enqueue(here, new))  # type: ignore[misc]
            continue
        while unit.look(outsource.revision) == seen and not _is_over(plan, unit):
            unit.leaving.wait(LOOK_SECONDS)


def _alive(here: OpenJob) -> None:
    """Scripts may take days: that a worker waited for them, and died meanwhile, is no failure of the search."""
    here.job.stalled = 0


def _is_over(plan: Plan, unit: Unit) -> bool:
    return plan.max_seconds is not None and unit.seconds() > plan.max_seconds
