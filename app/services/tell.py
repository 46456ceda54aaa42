"""Tell: how a trial ended, or that it paused at a rung. Idempotent by itself: the same again changes nothing."""

from __future__ import annotations

from app.db import rungs, studies, trials
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.errors import AppError, IllegalMove, TrialFinishedDifferently
from app.lifecycle import FINISHED
from app.measurement import Result, Verdict, judge, merged_metadata


def tell_many(store: Store, address: Address, results: list[Result]) -> list[Trial | AppError]:
    """In the order given, in one transaction; each takes effect or fails by itself.

    Raises: StudyNotFound, StudyReplaced.
    """
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        answers: list[Trial | AppError] = []
        found = trials.numbered(here, {result.number for result in results})
        for result in results:
            try:
                answers.append(_tell(here, trials.existing(here, found, result.number), result))
            except AppError as problem:  # raised before anything of this result was written
                answers.append(problem)
        return answers


def _tell(here: OpenStudy, trial: Trial, result: Result) -> Trial:
    verdict = judge(here.definition, result)
    if trial.state in FINISHED or trial.state == verdict.state == "paused":
        return _told_again(here, trial, result, verdict)
    trials.check_lease(trial, result.lease)
    if verdict.state == "paused":
        return _pause(here, trial, result)
    if verdict.state == "pruned":
        verdict = Verdict("pruned", trial.last_values, None, verdict.reason)
    metadata = merged_metadata(trial.info, result.metadata)
    finish(here, trial, verdict, noise=result.noise, cost=_cost(here, trial, result))
    trial.info = metadata
    here.record("trial.finished", trial.state, trial.number)
    return trial


def finish(here: OpenStudy, trial: Trial, verdict: Verdict, *, noise: float | None, cost: float | None) -> None:
    """Writes the result into the trial and moves it.  Raises: IllegalMove."""
    here.move(trial, verdict.state)
    trials.write_verdict(here, trial, verdict)
    trial.noise, trial.cost = noise, cost
    trial.lease_token = trial.lease_expires_at = None
    trial.waiting_rank = trial.waiting_since = None
    trial.finished_at = here.now
    trial.finished_revision = here.study.revision + 1  # that of the event about to be recorded


def _pause(here: OpenStudy, trial: Trial, result: Result) -> Trial:
    """The trial stops at its rung, and waits for its promotion in nobody's hands.

    Raises: IllegalMove, if it is not to pause, or did not report that far.
    """
    number, until_step = trial.number, trial.until_step
    row = rungs.highest(here, trial)
    if not here.definition.pruning.promote:
        raise IllegalMove(
            f"study {here.study.name!r} promotes no paused trials (its pruning has no `promote`); "
            "tell a result, or release the trial",
            state=trial.state,
        )
    if until_step is None:
        raise IllegalMove(f"trial {number} has no until_step: it runs to the end; tell its value", state=trial.state)
    if row is None or row.step < until_step:
        raise IllegalMove(
            f"trial {number} is to pause at step {until_step}, which it did not report; report it first, then pause",
            state=trial.state,
        )
    metadata = merged_metadata(trial.info, result.metadata)
    if trial.state == "waiting" and result.lease is not None and trial.lease_seconds is not None:
        here.move(trial, "running")  # its lease ran out while nobody else took it: the worker was only slow
        trial.waiting_rank = trial.waiting_since = None
    here.move(trial, "paused")
    trial.info, trial.reason = metadata, result.reason
    trial.noise, trial.cost = result.noise, _cost(here, trial, result)
    trial.lease_token = trial.lease_expires_at = None
    rungs.mark(here, trial)
    here.record("trial.released", trial.state, number)
    return trial


def _cost(here: OpenStudy, trial: Trial, result: Result) -> float | None:
    """Of a trial that may pause: what it took in all so far; left out, what was told before stands."""
    return trial.cost if result.cost is None and here.definition.pruning.promote else result.cost


def _told_again(here: OpenStudy, trial: Trial, result: Result, verdict: Verdict) -> Trial:
    same_values = verdict.state in ("pruned", "paused") or verdict.values == trial.values
    same_rest = (result.noise, _cost(here, trial, result)) == (trial.noise, trial.cost)
    if verdict.state == trial.state and same_values and same_rest:
        return trial
    raise TrialFinishedDifferently(
        f"trial {trial.number} is {trial.state} already with another result, which stands; PATCH corrects it",
        here={"state": trial.state, "values": trial.values, "noise": trial.noise, "cost": trial.cost},
    )
