"""`tune`: a learner's own hyperparameters, searched by a metatune study of the same project.

Each trial is a short training, judged on the validation classes, in tasks that no other judgement draws. The study is a
study like any other: it can be looked at while it runs, earlier learners' studies start it ahead, and it starts later
ones ahead. Half of the job's episodes and seconds go to the trials, the other half to the learner that they find.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.db import studies
from app.db.studies import Address
from app.errors import AppError, Invalid
from app.fewshot.judge import Judgement, Tasks, judged
from app.fewshot.spec import LearnerSpec
from app.fewshot.tasks import Pool
from app.fewshot.training import Training
from app.fewshot.tunable import space_of
from app.measurement import Result
from app.services import define_study
from app.services.ask import AskCall, Asked, ask
from app.services.learning import learn
from app.services.memory import Memory
from app.services.tell import tell_many
from app.worker.unit import Unit

SHARE = 0.5  # of the job
TASKS_OF_A_TRIAL = 200
TRIAL_SEED = 0x7E57
CHECK_SECONDS = 1.0


class Pools(Protocol):
    """Of `learners.Pools`, what a trial needs."""

    spec: LearnerSpec
    train: Pool
    validation: Pool
    tasks: Tasks


@dataclass(frozen=True)
class Found:
    """The best trial's options, and where to look at all of them."""

    study: str
    n_trials: int
    options: Mapping[str, Any]
    judgement: float | None


def tuned(unit: Unit, pools_with: Callable[[Mapping[str, Any]], Pools]) -> Found:
    """Tries the job's number of trials, less those that earlier attempts told already.

    pools_with: what a learner with these options is trained and judged on.  Raises: Ended.
    """
    body = unit.body
    n_trials = int(body["tune"]["trials"])
    first = pools_with({}).spec
    address = Address(unit.project_id, f"tune-{unit.uid}", by="worker")
    define_study.put(unit.store, address, define_study.Given(address.name, _study(body, first, n_trials)))
    memory, worker = Memory(), f"learner-{unit.uid}"
    while True:
        asked = ask(unit.store, address, [AskCall(worker=worker, resume=True)], memory)[0]
        if not isinstance(asked, Asked):
            raise asked if isinstance(asked, AppError) else RuntimeError("an ask without a deadline was not answered")
        if not asked.trials:
            break
        trial = asked.trials[0]
        share = SHARE * (trial.number - 1) / n_trials
        unit.progress(share, f"trial {trial.number} of {n_trials}: {trial.params}")
        result = Result(trial.number, lease=trial.lease_token)
        try:
            score = _tried(unit, pools_with(trial.params), n_trials)
            result = replace(result, value=score.mean, noise=(score.half_width / 1.96) ** 2)
        except Invalid as problem:  # more rows than an update may have
            result = replace(result, state="infeasible", reason=str(problem))
        told = tell_many(unit.store, address, [result])[0]
        if isinstance(told, AppError):
            raise told
    learn(unit.store, address, memory)
    with unit.store.read(unit.project_id) as session:
        best = studies.best(studies.open_study(session, address))
        options, value = (dict(best.params), best.value) if best is not None else ({}, None)
    return Found(address.name, n_trials, options, value)


def _study(body: Mapping[str, Any], spec: LearnerSpec, n_trials: int) -> dict[str, Any]:
    """What earlier learners are alike in: the space, the words, and what the tasks are."""
    return {
        "space": space_of(spec.method, spec.backbone, body["options"]),
        "direction": "minimize" if spec.kind == "regression" else "maximize",
        "description": f"few-shot {spec.kind} learner {spec.method} with {spec.backbone}",
        "metafeatures": {"ways": spec.ways, "shots": spec.shots},
        "stop": {"max_trials": n_trials},
        "seed": spec.seed,
    }


def _tried(unit: Unit, pools: Pools, n_trials: int) -> Judgement:
    """A short training; ends by episodes or seconds, whichever comes first."""
    training = Training(pools.spec, pools.train)
    goal = max(1, int(SHARE * unit.body["episodes"] / n_trials))
    started_at = checked_at = time.monotonic()
    most = math.inf if (asked := unit.body["max_seconds"]) is None else SHARE * asked / n_trials
    while (fraction := max(training.n_episodes / goal, (time.monotonic() - started_at) / most)) < 1:
        training.advance(1, fraction)
        if time.monotonic() - checked_at > CHECK_SECONDS:
            unit.check()
            checked_at = time.monotonic()
    tasks = replace(pools.tasks, n_episodes=TASKS_OF_A_TRIAL, seed=TRIAL_SEED)
    return judged(training.learner(), pools.validation, tasks)[0]
