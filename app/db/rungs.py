"""The values of trials at the rungs of ASHA and Hyperband, and which paused trials may go on.

A trial that reaches a rung leaves a row there, so that judging it is counting in one range of an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from app.db.studies import OpenStudy
from app.db.tables import RungValue, Trial
from app.search.constraints import Array
from app.search.rungs import COMPARED, Standing, promotable, standing

Place = tuple[ColumnElement[bool], ...]


@dataclass(frozen=True)
class Promotion:
    """A paused trial that may go on, and the rung where it stopped."""

    trial_id: int
    rung: int


def reach(here: OpenStudy, trial: Trial, step: int, losses: list[float] | None) -> None:
    """Notes a report at every rung of the trial's bracket for which it is the first at or beyond it."""
    rule = here.definition.pruning
    if rule.rungs is None:
        return
    bracket = rule.bracket(trial.number)
    wanted = range(bracket, rule.rungs.reached(step))
    if not wanted:
        return
    there = {row.rung: row for row in _of(here, trial)}
    is_single = here.definition.is_single
    for rung in wanted:
        row = there.get(rung)
        if row is None:
            row = RungValue(
                trial_id=trial.id, rung=rung, study_id=here.study.id, bracket=bracket, step=step, may_go_on=False
            )
            here.session.add(row)
        elif row.step < step:
            continue
        row.step, row.losses = step, losses
        row.loss = losses[0] if losses is not None and is_single else None
    here.session.flush()


def leave(here: OpenStudy, trial: Trial) -> None:
    here.session.execute(delete(RungValue).where(RungValue.trial_id == trial.id))


def _of(here: OpenStudy, trial: Trial) -> list[RungValue]:
    """Its rows, rising."""
    query = select(RungValue).where(RungValue.trial_id == trial.id).order_by(RungValue.rung)
    return list(here.session.scalars(query))


def highest(here: OpenStudy, trial: Trial) -> RungValue | None:
    """The highest rung that it reached."""
    rows = _of(here, trial)
    return rows[-1] if rows else None


def standing_of(here: OpenStudy, row: RungValue) -> Standing:
    """How it stands at its rung, among all other trials of its bracket that reached it."""
    place = _place(here, row.bracket, row.rung)
    if not here.definition.is_single:
        others = [one for one in _newest(here, place) if one.trial_id != row.trial_id]
        return standing(_rows(here, [row])[0], _rows(here, others))
    n_values = here.session.execute(select(func.count()).where(*place)).scalar_one()
    is_better = RungValue.loss.is_not(None) if row.loss is None else RungValue.loss < row.loss
    n_better = here.session.execute(select(func.count()).where(*place, is_better)).scalar_one()
    return Standing(n_values - 1, n_better)


def mark(here: OpenStudy, trial: Trial) -> None:
    """Says at the trial's highest rung whether it may be promoted from there; to be called when that changed."""
    row = highest(here, trial)
    if row is None:
        return
    is_free = trial.state == "paused" and trial.in_space and not trial.stop_requested
    may_go_on = is_free and row.losses is not None
    if row.may_go_on != may_go_on:
        row.may_go_on = may_go_on
        here.session.flush()


def mark_all(here: OpenStudy) -> None:
    """The same for every paused trial, after the space was changed."""
    here.session.flush()
    legal = select(Trial.id).where(
        Trial.study_id == here.study.id,
        Trial.state == "paused",
        Trial.in_space.is_(True),
        Trial.stop_requested.is_(False),
    )
    here.session.execute(update(RungValue).where(RungValue.study_id == here.study.id).values(may_go_on=False))
    for trial in here.session.scalars(select(Trial).where(Trial.id.in_(legal))):
        mark(here, trial)


def promotions(here: OpenStudy, limit: int) -> list[Promotion]:
    """Paused trials that belong to the best 1/eta of their rung, those of the highest rungs first."""
    rule = here.definition.pruning
    if here.study.n_paused == 0 or limit <= 0 or not rule.promote:
        return []
    found: list[Promotion] = []
    for bracket, rung in _where_paused(here):
        place = _place(here, bracket, rung)
        at_rung = _first(here, place, rule.eta, limit) if here.definition.is_single else _best(here, place, rule.eta)
        found += [Promotion(trial_id, rung) for trial_id in at_rung]
    return found[:limit]


def last_hope(here: OpenStudy) -> Promotion | None:
    """The best paused trial of the highest rung: where no trial came to the end otherwise, it does."""
    for bracket, rung in _where_paused(here):
        place = _place(here, bracket, rung)
        at_rung = _first(here, place, 1, 1) if here.definition.is_single else _best(here, place, 1)
        if at_rung:
            return Promotion(at_rung[0], rung)
    return None


def take(here: OpenStudy, promotion: Promotion) -> Trial:
    """The promoted trial, now on its way to the next rung or to the end."""
    rule = here.definition.pruning
    trial = here.session.get_one(Trial, promotion.trial_id)
    here.session.get_one(RungValue, (trial.id, promotion.rung)).may_go_on = False
    trial.until_step = None if rule.rungs is None else rule.rungs.until_step(promotion.rung + 1)
    here.session.flush()
    return trial


def _where_paused(here: OpenStudy) -> list[tuple[int, int]]:
    """(bracket, rung) with a trial that is free to be promoted, the highest rungs first."""
    rows = here.session.execute(
        select(RungValue.bracket, RungValue.rung)
        .where(RungValue.study_id == here.study.id, RungValue.may_go_on.is_(True))
        .distinct()
        .order_by(RungValue.rung.desc(), RungValue.bracket)
    )
    return [(row.bracket, row.rung) for row in rows]


def _place(here: OpenStudy, bracket: int, rung: int) -> Place:
    return RungValue.study_id == here.study.id, RungValue.bracket == bracket, RungValue.rung == rung


def _first(here: OpenStudy, place: Place, eta: int, limit: int) -> list[int]:
    """Ids of paused trials among the best 1/eta, best first, as `app.search.rungs.promotable` finds them."""
    session = here.session
    n_values = session.execute(select(func.count()).where(*place)).scalar_one()
    if n_values < eta:
        return []
    by_loss = (RungValue.loss, RungValue.trial_id)
    paused = select(RungValue.trial_id).where(*place, RungValue.may_go_on.is_(True))
    bar = session.execute(
        select(*by_loss)
        .where(*place, RungValue.loss.is_not(None))
        .order_by(*by_loss)
        .offset(n_values // eta - 1)
        .limit(1)
    ).one_or_none()
    if bar is not None:
        is_equal = and_(RungValue.loss == bar.loss, RungValue.trial_id <= bar.trial_id)
        paused = paused.where(or_(RungValue.loss < bar.loss, is_equal))
    return list(session.scalars(paused.order_by(*by_loss).limit(limit)))


def _best(here: OpenStudy, place: Place, eta: int) -> list[int]:
    """The same with several objectives, among the newest trials that reached the rung."""
    rows = _newest(here, place)[::-1]
    is_paused = np.array([row.may_go_on for row in rows], dtype=bool)
    return [rows[i].trial_id for i in promotable(_rows(here, rows), is_paused, eta)]


def _newest(here: OpenStudy, place: Place) -> Sequence[Any]:
    several = RungValue.loss.is_(None)  # always so with several objectives: the index has them by trial
    query = select(RungValue.trial_id, RungValue.losses, RungValue.may_go_on).where(*place, several)
    return here.session.execute(query.order_by(RungValue.trial_id.desc()).limit(COMPARED)).all()


def _rows(here: OpenStudy, rows: Sequence[Any]) -> Array:
    """(n, m) losses, NaN where they were not finite."""
    n_objectives = len(here.definition.objectives)
    return np.array([row.losses or [np.nan] * n_objectives for row in rows], dtype=np.float64).reshape(-1, n_objectives)
