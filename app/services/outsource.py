"""Outsource: the evaluations of a search are trials of the study of its name, which remote scripts ask for and tell.

The study suggests nothing by itself. The search enqueues what it wants to know, as many at a time as it may have under
way, and takes what came of it, its learning curve included, in the order in which it was enqueued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.db import jobs, studies, trials
from app.db.jobs import OpenJob
from app.db.reports import reports_of
from app.db.studies import Address, OpenStudy
from app.db.tables import JobPart, Trial
from app.definition import Definition, Objective
from app.errors import NameTaken, StudyNotFound
from app.lifecycle import UNFINISHED
from app.nas.parameters import parameters, params
from app.nas.plan import Plan
from app.search.options import ENQUEUED
from app.search.pruning import PruningRule
from app.search.space import SearchSpace

#: Of a task, what a script is told beside the parameters.
TOLD = ("architecture", "key", "repeat", "epochs", "parameters")
#: What ends an evaluation without a value.
FAILED = ("failed", "infeasible", "lost", "removed")


def begin(here: OpenJob) -> None:
    """Makes the study, in the transaction that makes the job.  Raises: NameTaken."""
    plan, name = Plan.of(here.job.body), here.job.name
    try:
        _study(here)
    except StudyNotFound:
        pass
    else:
        raise NameTaken(
            f"there is a study {name!r} already, and the search would be asked through it; take another name"
        )
    definition = Definition(
        space=SearchSpace.from_json(parameters(plan.space)),
        objectives=(Objective(plan.metric, "maximize"),),
        outcomes=(),
        algorithm={"name": ENQUEUED},
        pruning=PruningRule.from_json(None),
        seed=plan.seed,
    )
    settings = {
        "description": f"architectures of the search {name!r}",
        "tags": {},
        "stop": {},
        "metafeatures": {},
        "warm_start": "off",
        "max_retries": 3,
    }
    study = studies.insert(here.session, Address(here.job.project_id, name, by=here.by), definition, settings)
    study.audit("created")


def enqueue(here: OpenJob, tasks: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
    """Parts of the job, each with a waiting trial.  Raises: StudyNotFound."""
    plan, study = Plan.of(here.job.body), _study(here, lock=True)
    if study.definition.algorithm["name"] != ENQUEUED:
        raise StudyNotFound(f"the study {here.job.name!r} is another one than the search made")
    made = []
    for number, task in tasks:
        point = params(plan.space, tuple(task["genes"]))
        trial = trials.make(
            study,
            state="waiting",
            params=point,
            origin={"source": "enqueued", "prior_weight": 0.0, "speculated": False, "why": task["why"]},
            config_key=study.definition.space.key(point),
            info={name: task[name] for name in TOLD},
            waiting_rank=trials.ENQUEUED,
            waiting_since=here.now,
        )
        made.append((number, {**task, "trial": trial.number}))
    jobs.add_parts(here, made)
    here.changed()


def take(here: OpenJob) -> list[JobPart]:
    """The parts by number, with what was told of their trials meanwhile.  Raises: StudyNotFound."""
    study = _study(here)
    parts = list(jobs.parts(here.session, here.job.id))
    under_way = [part for part in parts if part.state in UNFINISHED]
    found = trials.numbered(study, [part.task["trial"] for part in under_way])
    for part in under_way:
        _take(here, part, found[part.task["trial"]])
    return parts


def revision(here: OpenJob) -> int:
    """Goes up with whatever happens in the study.  Raises: StudyNotFound."""
    return _study(here).study.revision


def _take(here: OpenJob, part: JobPart, trial: Trial) -> None:
    if trial.state in FAILED:
        why = f"trial {trial.number} is {trial.state}"
        part.state, part.error = "failed", why if trial.reason is None else f"{why}: {trial.reason}"[: jobs.MAX_ERROR]
    elif trial.state in ("complete", "pruned"):
        reports = reports_of(here.session, trial)
        curve = [report.value for report in reports if report.value is not None]
        value = trial.value if trial.value is not None else curve[-1] if curve else None
        part.state = "failed" if value is None else "succeeded"
        part.error = None if value is not None else f"trial {trial.number} was pruned before its first report"
        part.result = {"value": value, "curve": curve}
    elif trial.state == "running":
        part.state, part.started_at = "running", trial.started_at
    if part.state not in UNFINISHED:
        part.progress, part.started_at, part.finished_at = 1.0, trial.started_at, here.now


def _study(here: OpenJob, *, lock: bool = False) -> OpenStudy:
    return studies.open_study(here.session, Address(here.job.project_id, here.job.name, by=here.by), lock=lock)
