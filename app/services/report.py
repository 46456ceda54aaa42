"""Report and heartbeat: a running trial says that it lives, and learns whether it should go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app.db import reports, rungs, studies, trials
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.errors import IllegalMove, ReportDiffers, TrialFinishedDifferently, TrialRemoved
from app.lifecycle import FINISHED
from app.measurement import check_names, merged_metadata
from app.search.pruning import Decision, asha, curve, median


@dataclass(frozen=True)
class Word:
    """What the trial hears back."""

    prune: bool = False
    stop: bool = False
    reason: str | None = None
    rung: int | None = None
    lease_expires_at: datetime | None = None


REMOVED = Word(stop=True, reason="trial-removed")


def report(
    store: Store,
    address: Address,
    number: int,
    *,
    step: int,
    values: Mapping[str, float] | None,
    value: float | None,
    lease: str | None,
) -> Word:
    """Keeps the value of a step, per attempt, and decides about pruning.

    Raises: LeaseLost, ReportDiffers, TrialFinishedDifferently, InvalidMeasurement.
    """
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        try:
            trial = trials.get(here, number)
        except TrialRemoved:
            return REMOVED
        told = objective_values(here, values, value)
        kept = reports.report_at(session, trial, step)
        if kept is not None and kept.values == told and (trial.state in FINISHED or trial.state == "paused"):
            return Word()
        if kept is not None and kept.values != told and trial.state not in FINISHED:
            trials.check_lease(trial, lease)  # the step is of the present attempt: an overslept worker must hear that
            raise ReportDiffers(
                f"trial {number} reported {kept.values} at step {step} already; report a later step", here=kept.values
            )
        revive(here, trial, lease)
        if kept is None:
            reports.keep(here, trial, step, told)
            here.record("trial.reported", trial.state, number)
        decision = _decide(here, trial, step, told)
        word = _word(here, trial)
        return replace(word, prune=decision.prune, rung=decision.rung, reason=word.reason or decision.reason)


def heartbeat(
    store: Store,
    address: Address,
    number: int,
    *,
    checkpoint: str | None,
    metadata: Mapping[str, Any],
    lease: str | None,
) -> Word:
    """Extends the lease; keeps where the last checkpoint is.  Raises: LeaseLost, TrialFinishedDifferently."""
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        try:
            trial = trials.get(here, number)
        except TrialRemoved:
            return REMOVED
        revive(here, trial, lease)
        trial.checkpoint = trial.checkpoint if checkpoint is None else checkpoint
        trial.info = merged_metadata(trial.info, metadata)
        return _word(here, trial)


def objective_values(here: OpenStudy, values: Mapping[str, float] | None, value: float | None) -> dict[str, Any]:
    """By objective's name; a non-finite number as its word, since JSON has none.

    Raises: InvalidMeasurement, if a name is missing or unknown.
    """
    objectives = replace(here.definition, outcomes=())
    single = objectives.objectives[0].name if objectives.is_single else "value"
    told = values if values is not None else {} if value is None else {single: value}
    check_names(objectives, told)
    return {
        name: float(told[name]) if math.isfinite(told[name]) else str(float(told[name])) for name in objectives.measured
    }


def revive(here: OpenStudy, trial: Trial, lease: str | None) -> None:
    """Checks that the caller may still speak for the trial, and extends its lease.

    A lease that ran out while nobody else took the trial is taken up again: the worker was only slow. One that was
    released is not.
    Raises: TrialFinishedDifferently, LeaseLost, IllegalMove.
    """
    if trial.state in FINISHED:
        raise TrialFinishedDifferently(
            f"trial {trial.number} is {trial.state} already: somebody else told its result; stop working on it",
            here={"state": trial.state, "values": trial.values},
        )
    trials.check_lease(trial, lease)
    if trial.state == "waiting" and lease is not None and trial.lease_seconds is not None:
        here.move(trial, "running")
        trial.waiting_rank = trial.waiting_since = None
        here.record("trial.started", trial.state, trial.number)
    if trial.state != "running":
        raise IllegalMove(
            f"trial {trial.number} is {trial.state}, not running; ask for a trial first", state=trial.state
        )
    trials.extend(here, trial)


def _decide(here: OpenStudy, trial: Trial, step: int, told: Mapping[str, Any]) -> Decision:
    rule = here.definition.pruning
    if rule.rule == "off":
        return Decision(prune=False)
    wrong = next((value for value in told.values() if isinstance(value, str)), None)
    if wrong is not None:
        return Decision(prune=True, reason=f"the value is {wrong}")
    if rule.rungs is not None:
        return _decide_at_rung(here, trial, step)
    if step < rule.min_step:
        return Decision(prune=False)
    if rule.rule == "median":
        standing = reports.standing_at_step(here, trial, step, told, enough=rule.min_trials)
        return median(standing, step=step, min_step=rule.min_step, min_trials=rule.min_trials)
    if here.study.n_complete < rule.min_trials or rule.max_step is None or step >= rule.max_step:
        return Decision(prune=False)
    steps, losses = reports.curve_of(here, trial, step)
    return curve(
        steps,
        losses,
        reports.finals(here),
        last_step=rule.max_step,
        min_trials=rule.min_trials,
        threshold=rule.threshold,
    )


def _decide_at_rung(here: OpenStudy, trial: Trial, step: int) -> Decision:
    """Once, at the highest rung that this report reaches first. A trial that is to pause there is not judged."""
    rule = here.definition.pruning
    shown = rule.rung_shown(trial.number, step)
    row = rungs.highest(here, trial)
    if rule.promote or rule.rungs is None or row is None or row.step != step or step >= (rule.max_step or 0):
        return Decision(prune=False, rung=shown)
    return asha(rungs.standing_of(here, row), rung=row.rung, step=rule.rungs.steps[row.rung], eta=rule.eta)


def _word(here: OpenStudy, trial: Trial) -> Word:
    reason = "study-stopped" if here.study.state == "stopped" else "stop-requested" if trial.stop_requested else None
    return Word(stop=reason is not None, reason=reason, lease_expires_at=trial.lease_expires_at)
