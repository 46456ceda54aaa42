"""Reports on the way, and the questions that pruning asks of them. None of them reads all reports of a study.

Where the trials of a study report the same steps, the values at one step are one range of an index, and counting in
it is all that the median rule needs. The values at the rungs of ASHA are rows of their own (`app.db.rungs`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db import rungs
from app.db.studies import OpenStudy
from app.db.tables import Report, Trial
from app.search.constraints import Array
from app.search.pruning import without_ties
from app.search.rungs import COMPARED, Standing, rank

#: Where trials report different steps, the median is that of so many of the newest trials that went as far.
NEWEST = 200
#: A curve is fitted to its first and its latest reports: enough of either to see its shape.
FIRST, LATEST = 32, 96


def reports_of(session: Session, trial: Trial) -> list[Report]:
    """By step; of a step reported in several attempts the latest one."""
    rows = session.scalars(select(Report).where(Report.trial_id == trial.id).order_by(Report.step, Report.attempt))
    return list({report.step: report for report in rows}.values())


def report_at(session: Session, trial: Trial, step: int) -> Report | None:
    """Of the attempt that is under way."""
    return session.get(Report, (trial.id, trial.attempt, step))


def keep(here: OpenStudy, trial: Trial, step: int, told: Mapping[str, Any]) -> None:
    """A new report of a running trial. Its values are numbers, or the words for what is not finite."""
    session = here.session
    if trial.attempt > 1:
        older = (Report.trial_id == trial.id, Report.step == step)
        session.execute(update(Report).where(*older).values(is_current=False))
    session.add(_report(here, trial, trial.attempt, step, told, is_current=True))
    session.flush()
    if losses(here, told) is not None:
        if trial.last_step is None or step >= trial.last_step:
            trial.last_step, trial.last_values = step, dict(told)
    elif step == trial.last_step:  # a new attempt came to nothing there
        _look_back(here, trial)
    rungs.reach(here, trial, step, losses(here, told))


def bring(here: OpenStudy, trial: Trial, given: Sequence[tuple[int, int, Mapping[str, Any], Any]]) -> None:
    """All reports of a trial that has none yet: (attempt, step, values, created_at)."""
    latest = {step: attempt for attempt, step, *_ in sorted(given, key=lambda one: one[:2])}
    current: dict[int, Mapping[str, Any]] = {}
    for attempt, step, told, created_at in given:
        is_current = trial.state != "removed" and latest[step] == attempt
        here.session.add(_report(here, trial, attempt, step, told, is_current=is_current, created_at=created_at))
        if latest[step] == attempt:
            current[step] = told
    finite = [step for step, told in current.items() if losses(here, told) is not None]
    if finite:
        trial.last_step, trial.last_values = max(finite), dict(current[max(finite)])
    here.session.flush()
    steps = here.definition.pruning.rungs.steps if here.definition.pruning.rungs is not None else ()
    firsts = {min(step for step in current if step >= at) for at in steps if current and at <= max(current)}
    for step in sorted(firsts) if trial.state != "removed" else ():
        rungs.reach(here, trial, step, losses(here, current[step]))
    here.session.flush()


def _report(
    here: OpenStudy,
    trial: Trial,
    attempt: int,
    step: int,
    told: Mapping[str, Any],
    *,
    is_current: bool,
    created_at: Any = None,
) -> Report:
    first = told.get(here.definition.objectives[0].name)
    return Report(
        trial_id=trial.id,
        attempt=attempt,
        step=step,
        value=float(first) if isinstance(first, (int, float)) and math.isfinite(first) else None,
        values=dict(told),
        created_at=created_at or here.now,
        study_id=here.study.id,
        is_current=is_current,
    )


def forget(here: OpenStudy, trial: Trial) -> None:
    """A removed trial's reports stay with it, and are compared with no more."""
    here.session.flush()
    here.session.execute(update(Report).where(Report.trial_id == trial.id).values(is_current=False))
    rungs.leave(here, trial)


def _look_back(here: OpenStudy, trial: Trial) -> None:
    finite = [report for report in reports_of(here.session, trial) if losses(here, report.values) is not None]
    last = finite[-1] if finite else None
    trial.last_step = None if last is None else last.step
    trial.last_values = None if last is None else dict(last.values)


def losses(here: OpenStudy, told: Mapping[str, Any]) -> list[float] | None:
    """The objectives, minimised; None if one of them is not finite, or missing."""
    found = []
    for objective in here.definition.objectives:
        value = told.get(objective.name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        found.append(float(value) if objective.direction == "minimize" else -float(value))
    return found


# --- what the median rule asks ----------------------------------------------------------------------------------


def standing_at_step(here: OpenStudy, trial: Trial, step: int, told: Mapping[str, Any], *, enough: int) -> Standing:
    """How the trial stands among the others' reports at this step; `enough`: how many of those are wanted.

    One objective: its best report so far. Several: the present one, by its rank among the newest 512 trials.
    If fewer reported this very step, the last reports up to it of the newest trials that went as far.
    """
    if not here.definition.is_single:
        return _rank_at_step(here, trial, step, told)
    is_low = here.definition.direction == "minimize"
    own = select(func.min(Report.value) if is_low else func.max(Report.value)).where(
        Report.trial_id == trial.id, Report.is_current.is_(True), Report.step <= step
    )
    best: Any = here.session.execute(own).scalar_one()
    is_better = Report.value < best if is_low else Report.value > best
    place = (Report.study_id == here.study.id, Report.step == step, Report.is_current.is_(True))
    n_values = here.session.execute(select(func.count()).where(*place, Report.value.is_not(None))).scalar_one()
    if n_values > enough or here.study.next_number <= enough:
        n_better = here.session.execute(select(func.count()).where(*place, is_better)).scalar_one()
        return Standing(n_values - 1, n_better)
    others = _last_up_to(here, trial, step)
    return Standing(len(others), sum(other < best if is_low else other > best for other in others))


def _last_up_to(here: OpenStudy, trial: Trial, step: int) -> list[float]:
    last = (
        select(Report.value)
        .where(
            Report.trial_id == Trial.id,
            Report.is_current.is_(True),
            Report.step <= step,
            Report.value.is_not(None),
        )
        .order_by(Report.step.desc())
        .limit(1)
        .correlate(Trial)
        .scalar_subquery()
    )
    found = here.session.scalars(
        select(last).where(
            Trial.study_id == here.study.id,
            Trial.number >= here.study.next_number - 1 - NEWEST,
            Trial.id != trial.id,
            Trial.last_step >= step,
            Trial.state != "removed",
        )
    )
    return [value for value in found if value is not None]


def _rank_at_step(here: OpenStudy, trial: Trial, step: int, told: Mapping[str, Any]) -> Standing:
    found = here.session.scalars(
        select(Report.values)
        .join(Trial, Trial.id == Report.trial_id)
        .where(
            Trial.study_id == here.study.id,
            Trial.number >= here.study.next_number - COMPARED,
            Trial.id != trial.id,
            Report.step == step,
            Report.is_current.is_(True),
        )
        .order_by(Trial.number)
    )
    rows = [row for row in (losses(here, values) for values in [told, *found]) if row is not None]
    return without_ties(rank(np.array(rows, dtype=np.float64))[0])


# --- what the learning-curve rule asks --------------------------------------------------------------------------


def curve_of(here: OpenStudy, trial: Trial, step: int) -> tuple[list[int], Array]:
    """Its finite reports up to this step, (n,) steps and (n, m) losses: the first ones and the latest."""
    query = select(Report.step, Report.values).where(
        Report.trial_id == trial.id, Report.is_current.is_(True), Report.step <= step
    )
    latest = here.session.execute(query.order_by(Report.step.desc()).limit(LATEST)).all()
    first = here.session.execute(query.order_by(Report.step).limit(FIRST)).all() if len(latest) == LATEST else []
    by_step = {row.step: losses(here, row.values) for row in (*first, *latest)}
    kept = sorted((at, row) for at, row in by_step.items() if row is not None)
    n_objectives = len(here.definition.objectives)
    return [at for at, _ in kept], np.array([row for _, row in kept], dtype=np.float64).reshape(-1, n_objectives)


def finals(here: OpenStudy) -> Array:
    """(k, m) what complete feasible trials came to, minimised: with one objective the best, repeated, else the newest.

    With one objective only the best counts, and how many there are.
    """
    definition = here.definition
    feasible = (Trial.study_id == here.study.id, Trial.state == "complete", Trial.feasible.is_(True))
    if definition.is_single:
        is_low = definition.direction == "minimize"
        best = here.session.execute(
            select(Trial.value)
            .where(*feasible, Trial.value.is_not(None))
            .order_by(Trial.value if is_low else Trial.value.desc())
            .limit(1)
        ).scalar_one_or_none()
        if best is None:
            return np.empty((0, 1))
        return np.full((here.study.n_complete, 1), best if is_low else -best)
    newest = here.session.scalars(select(Trial.values).where(*feasible).order_by(Trial.number.desc()).limit(COMPARED))
    rows = [row for values in newest if values and (row := losses(here, values)) is not None]
    return np.array(rows, dtype=np.float64).reshape(-1, len(definition.objectives))
