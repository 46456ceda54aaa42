"""A study's prior as its owner sees it: what was considered, what is lent now, what the guard did; and its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select

from app.db import knowledge, studies
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.errors import FieldError, Invalid, NumericalError
from app.services.memory import Memory
from app.services.priors import Lent, is_open
from app.services.sources import consider, portrait_of_study, settle
from app.services.turns import short_turns

#: Trials of the course that is shown: the first ones, in which the past weighs most.
MAX_COURSE = 1000
N_ITEMS = 5
#: Summed weight of the sources below which the past has no say.
SILENT = 0.02


@dataclass(frozen=True)
class SourceNow:
    """weight, agreement: by objective; of the present model, and of the ranking of the study's own results."""

    study: str
    similarity: float
    is_taken: bool
    is_excluded: bool
    cap: float
    why: str
    matched: Mapping[str, str]
    n_results: int
    weight: Mapping[str, float]
    agreement: Mapping[str, float | None]


@dataclass(frozen=True)
class Item:
    """expected_quantile: by objective, the part of the past results that should be better."""

    params: Mapping[str, Any]
    expected_quantile: Mapping[str, float]


@dataclass(frozen=True)
class Guard:
    """state: waiting, trusting, doubting (its weight is nearly nothing), cut (the portfolio was cut short)."""

    state: str
    weight: float
    why: str


@dataclass(frozen=True)
class PriorNow:
    """course: number, source and weight of every trial handed out."""

    knowledge_version: int
    sources: Sequence[SourceNow]
    portfolio: Sequence[Item]
    guard: Guard
    course: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Row:
    name: str
    similarity: float
    is_taken: bool
    cap: float
    why: str
    matched: Mapping[str, str]
    n_results: int


def show(store: Store, address: Address, memory: Memory) -> PriorNow:
    """Before the first ask: what would be considered now.  Raises: StudyNotFound."""
    with memory.histories.turn(Address(address.project_id, address.name)):
        with store.read(address.project_id) as session:
            here = studies.open_study(session, address)
            rows = _rows(here)
            course = _course(here)
            lending = memory.priors.look(here)
            news = memory.histories.news(here)
        history = memory.histories.grown(here, news)
    with short_turns():
        return _seen(here, rows, course, lending(), history)


def _rows(here: OpenStudy) -> list[_Row]:
    from app.search.space import SearchSpace
    from app.search.transfer import matching

    if here.study.warm_start == "off":
        return []
    space = here.definition.space
    if is_open(here):
        names = here.study.warm_start if isinstance(here.study.warm_start, list) else None
        found = consider(
            here.session, here.study.project_id, portrait_of_study(here), names=names, apart_from=here.study.id
        )
        return [
            _Row(one.lesson.name, one.likeness.similarity, one.is_taken, 1.0, one.why, one.likeness.matched,
                 one.lesson.n_results)
            for one in found
        ]  # fmt: skip
    rows = [
        _Row(lesson.name, source.similarity, source.is_taken, source.cap, source.why,
             matching(space, SearchSpace.from_json(lesson.space)), lesson.n_results)
        for source, lesson in knowledge.sources(here)
    ]  # fmt: skip
    if isinstance(here.study.warm_start, list):
        there = {row.name for row in rows}
        why = "named, but deleted, or with fewer than five results when it was asked for"
        rows += [_Row(name, 0.0, False, 1.0, why, {}, 0) for name in here.study.warm_start if name not in there]
    return rows


def _course(here: OpenStudy) -> list[dict[str, Any]]:
    rows = here.session.execute(
        select(Trial.number, Trial.origin)
        .where(Trial.study_id == here.study.id, Trial.attempt > 0)
        .order_by(Trial.number)
        .limit(MAX_COURSE)
    )
    return [
        {"number": number, "source": origin["source"], "prior_weight": origin.get("prior_weight", 0.0)}
        for number, origin in rows
    ]


def _seen(here: OpenStudy, rows: Sequence[_Row], course: list[dict[str, Any]], lent: Lent, history: Any) -> PriorNow:
    from app.search.leave_one_out import rank_correlation

    objectives, version = here.definition.objectives, abs(here.study.knowledge_version or 0)
    weights: dict[str, dict[str, float]] = {row.name: {} for row in rows}
    agreement: dict[str, dict[str, float | None]] = {row.name: {} for row in rows}
    measured = np.flatnonzero(history.is_measured)
    for j, objective in enumerate(objectives):
        past = None if lent.prior is None else lent.prior.pasts[j]
        if past is None:
            continue
        own = _weights(here, lent, history, j)
        expected = past.means(history.units[measured])
        for s, name in enumerate(lent.names[j]):
            weights[name][objective.name] = float(own[s])
            values = history.objectives[measured, j]
            agreement[name][objective.name] = rank_correlation(expected[:, s], values) if len(values) > 2 else None
    sources = [
        SourceNow(
            row.name, row.similarity, row.is_taken, row.cap == 0.0, row.cap, row.why, row.matched, row.n_results,
            weights[row.name], agreement[row.name],
        )
        for row in rows
    ]  # fmt: skip
    return PriorNow(version, sources, _items(here, lent, history), _guard(here, lent, history, weights), course)


def _weights(here: OpenStudy, lent: Lent, history: Any, j: int) -> Any:
    """Of an objective's sources in the mean of its model; before there is one, equal shares."""
    from app.search.kernels import Embedding
    from app.search.models import model
    from app.search.quantities import objective_quantity

    prior = lent.prior
    past = None if prior is None else prior.pasts[j]
    if prior is None or past is None:
        return np.empty(0)
    if int(history.is_measured.sum()) < 2:
        return past.caps / max(len(past.caps), 1)
    try:
        modelled = model(
            history, Embedding.of(here.definition.space), objective_quantity(history, j), here.definition.seed,
            prior.hyper_prior(j),
        )  # fmt: skip
    except NumericalError:
        return np.zeros(len(past.caps))
    return prior.blend(modelled, past)[0].weights


def _items(here: OpenStudy, lent: Lent, history: Any) -> list[Item]:
    from scipy.special import ndtr

    if lent.prior is None:
        return []
    rows = lent.prior.items(history, N_ITEMS)
    space = here.definition.space
    quantiles = {
        objective.name: ndtr(past.means(rows).mean(axis=1))
        for objective, past in zip(here.definition.objectives, lent.prior.pasts, strict=True)
        if past is not None
    }
    return [
        Item(space.decode(row), {name: float(of[k]) for name, of in quantiles.items()}) for k, row in enumerate(rows)
    ]


def _guard(here: OpenStudy, lent: Lent, history: Any, weights: Mapping[str, Mapping[str, float]]) -> Guard:
    if lent.prior is None:
        why = "warm_start is off" if here.study.warm_start == "off" else "no past study lends to this one"
        return Guard("waiting", 0.0, why)
    weight = min(1.0, sum(sum(own.values()) for own in weights.values()) / len(here.definition.objectives))
    if int(history.is_measured.sum()) < 2:
        return Guard("waiting", weight, "the study has no two results to compare with what was expected")
    if lent.prior.n_own(history) is not None:
        return Guard("cut", weight, "results rank against what the sources expected: the portfolio was cut short")
    if weight < SILENT:
        return Guard("doubting", weight, "without the past the model predicts the study's own results better")
    return Guard("trusting", weight, "with the past the model predicts the study's own results better")


# --- by hand ----------------------------------------------------------------------------------------------------


def patch(store: Store, address: Address, changes: Sequence[Mapping[str, Any]], memory: Memory) -> None:
    """Excludes or caps sources, from the next suggestion on.

    Args:
        changes: {"study", "excluded" or "cap"} each.
    Raises: StudyNotFound; Invalid, for a study that is no source.
    """
    settle(store, address, memory)
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        by_name = {lesson.name: source for source, lesson in knowledge.sources(here)}
        for k, change in enumerate(changes):
            source = by_name.get(change["study"])
            if source is None:
                there = ", ".join(sorted(by_name)) or "none"
                raise Invalid(
                    f"{change['study']!r} is no source of this study; its sources: {there}",
                    errors=[FieldError(f"/sources/{k}/study", f"is none of: {there}")],
                )
        before = {name: source.cap for name, source in by_name.items()}
        for change in changes:
            source = by_name[change["study"]]
            if "excluded" in change:
                source.cap = 0.0 if change["excluded"] else 1.0
            if change.get("cap") is not None:
                source.cap = change["cap"]
        after = {name: source.cap for name, source in by_name.items()}
        if after == before:
            return
        here.study.knowledge_version = abs(here.study.knowledge_version or 0) + 1
        here.record("study.updated", here.study.state)
        here.log("prior", before=before, after=after)
        here.audit("prior-changed", before=before, after=after)
