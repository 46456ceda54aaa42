"""What the model learns from: the trials of a study as its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import bindparam, select

from app.db.studies import OpenStudy
from app.db.tables import RungValue, Trial
from app.definition import Definition
from app.lifecycle import FINISHED
from app.search.history import Record, State

#: One number for every objective.
Values = tuple[float, ...]

_LEARNED_FROM = (
    Trial.id,
    Trial.number,
    Trial.params,
    Trial.state,
    Trial.values,
    Trial.noise,
    Trial.cost,
    Trial.attempt,
    Trial.last_values,
    Trial.is_partial,
)


def records_of(here: OpenStudy) -> list[Record]:
    """Finished and pending trials, by number; a `pruned` or `paused` one counts with its last report.

    Lost and removed ones teach nothing, and are there only so that they are not suggested again.
    """
    return [record for record in changes_since(here, -1).values() if record is not None]


_CHANGED = (Trial.study_id == bindparam("study_id"), Trial.last_change > bindparam("seen"))
_CHANGES = select(*_LEARNED_FROM).where(*_CHANGED).order_by(Trial.number)
_CHANGES_AT_RUNGS = (
    select(RungValue.trial_id, RungValue.rung, RungValue.losses)
    .join(Trial, Trial.id == RungValue.trial_id)
    .where(*_CHANGED, RungValue.losses.is_not(None))
)


def changes_since(here: OpenStudy, seen: int) -> dict[int, Record | None]:
    """The records of the trials that changed after the study's first `seen` changes, by number; None: it has none."""
    changed = {"study_id": here.study.id, "seen": seen}
    rows = here.session.execute(_CHANGES, changed).all()
    at_rungs = _at_rungs(here, changed)
    return {
        row.number: None
        if row.is_partial or (row.state == "removed" and row.attempt == 0)
        else _record(here.definition, row, at_rungs.get(row.id, ()))
        for row in rows
    }


def _at_rungs(here: OpenStudy, changed: Mapping[str, int]) -> dict[int, tuple[Values | None, ...]]:
    """What the trials had come to at the rungs, in the user's units, by their row's id."""
    rungs = here.definition.pruning.rungs
    if rungs is None:
        return {}
    rows = here.session.execute(_CHANGES_AT_RUNGS, changed)
    signs = here.definition.goal.signs.tolist()
    found: dict[int, list[Values | None]] = {}
    for row in rows:
        own = found.setdefault(row.trial_id, [None] * len(rungs.steps))
        own[row.rung] = tuple(sign * loss for sign, loss in zip(signs, row.losses, strict=True))
    return {trial_id: tuple(own) for trial_id, own in found.items()}


#: What the model takes a trial for that is neither finished nor pending.
_STATES: dict[str, State] = {"lost": "failed", "removed": "failed", "paused": "pruned"}


def _record(definition: Definition, row: Any, at_rungs: tuple[Values | None, ...]) -> Record:
    state: State = row.state if row.state in FINISHED else _STATES.get(row.state, "pending")
    measured: Mapping[str, float] | None = row.last_values if row.state == "paused" else row.values
    values = outcomes = None
    if measured is not None and state in ("complete", "pruned"):
        told = [measured.get(objective.name) for objective in definition.objectives]
        if all(isinstance(value, (int, float)) for value in told):
            values = tuple(float(cast(float, value)) for value in told)
            if all(outcome.name in measured for outcome in definition.outcomes):
                outcomes = tuple(float(measured[outcome.name]) for outcome in definition.outcomes)
    if values is None and state in ("complete", "pruned"):
        state = "failed"  # pruned before its first report: nothing is known of the objective
    return Record(
        number=row.number,
        params=row.params,
        state=state,
        values=values,
        outcomes=outcomes or None,
        noise=row.noise,
        cost=row.cost,
        at_rungs=at_rungs,
    )
