"""Tell: how a trial ended. Idempotent by itself: the same result again changes nothing."""

from __future__ import annotations

from app.db import studies, trials
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.errors import AppError, TrialFinishedDifferently
from app.lifecycle import FINISHED
from app.measurement import Result, Verdict, judge, merged_metadata


def tell_many(store: Store, address: Address, results: list[Result]) -> list[Trial | AppError]:
    """In the order given, in one transaction; each takes effect or fails by itself.

    Raises: StudyNotFound, StudyReplaced.
    """
    with store.write() as session:
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
    if trial.state in FINISHED:
        return _told_again(trial, result, verdict)
    trials.check_lease(trial, result.lease)
    if verdict.state == "pruned":
        last = trials.last_report(here.session, trial)
        values = dict(last.values) if last is not None else None
        verdict = Verdict("pruned", values, None, verdict.reason)
    metadata = merged_metadata(trial.info, result.metadata)
    finish(here, trial, verdict, noise=result.noise, cost=result.cost)
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


def _told_again(trial: Trial, result: Result, verdict: Verdict) -> Trial:
    same_values = verdict.state == "pruned" or verdict.values == trial.values
    if verdict.state == trial.state and same_values and (result.noise, result.cost) == (trial.noise, trial.cost):
        return trial
    raise TrialFinishedDifferently(
        f"trial {trial.number} is {trial.state} already with another result, which stands; PATCH corrects it",
        here={"state": trial.state, "values": trial.values, "noise": trial.noise, "cost": trial.cost},
    )
