"""What an ask hands out, prepared before the study is locked: which points, under which numbers.

A suggestion belongs to its number, whoever gets it: so it is a function of the seed, the number and what was known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.db import idempotency, rungs, trials
from app.db.idempotency import Once
from app.db.studies import OpenStudy
from app.db.tables import Trial
from app.errors import Invalid
from app.search import suggest as search
from app.search.draw import MODELLED, draw
from app.search.history import History, Record
from app.search.suggest import Suggestion
from app.services.stopping import budget


@dataclass(frozen=True)
class Wish:
    """The part of a call that decides which points it needs."""

    count: int
    worker: str | None
    resume: bool
    fixed: Mapping[str, Any]
    once: Once | None


@dataclass(frozen=True)
class Planned:
    """A point for one number, and the values it was to keep."""

    suggestion: Suggestion
    fixed: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class Plan:
    """New points by number, and completions of enqueued trials that were given in part."""

    next_number: int
    space_version: int
    fresh: Mapping[int, Planned] = field(default_factory=dict)
    completions: Mapping[int, Suggestion] = field(default_factory=dict)

    def stands(self, here: OpenStudy) -> bool:
        """Tells that came in meanwhile leave a plan as good as it was; other asks took its numbers."""
        return self.next_number == here.study.next_number and self.space_version == here.study.space_version


@dataclass(frozen=True)
class Needs:
    """What has to be computed: new points (how many, keeping which values) and completions of enqueued trials."""

    fresh: tuple[tuple[int, Mapping[str, Any]], ...]
    partial: tuple[Trial, ...]

    def __bool__(self) -> bool:
        return bool(self.fresh or self.partial)


def algorithm_in_use(here: OpenStudy) -> tuple[str, str]:
    """Its name, and why it is the one."""
    definition = here.definition
    return search.choose_algorithm(
        definition.space, definition.goal, definition.algorithm["name"], here.study.next_number - 1
    )


def is_modelled(here: OpenStudy) -> bool:
    return algorithm_in_use(here)[0] in MODELLED


def foresee(here: OpenStudy, wishes: Sequence[Wish]) -> Needs:
    """What the wishes will need, if nothing changes: an estimate, the write transaction decides."""
    if here.study.state != "active":
        return Needs((), ())
    limit = budget(here)
    left = limit.left
    n_wanted = sum(wish.count for wish in wishes)
    n_promoted = len(rungs.promotions(here, n_wanted)) if limit.allows_promotions else 0
    ready = list(trials.waiting(here, n_wanted))
    partial = []
    fresh: list[tuple[int, Mapping[str, Any]]] = []
    for wish in wishes:
        if idempotency.is_known(here.session, wish.once):
            continue
        count = wish.count
        if wish.resume and wish.worker:
            count -= len(trials.held_by(here, wish.worker, wish.count))
        fixed = checked(here, wish.fixed)
        room = count if left is None else min(count, left)
        if not fixed:
            taken_up, ready = ready[:room], ready[room:]
            partial += [trial for trial in taken_up if trial.is_partial]
            going_on = min(count - len(taken_up), n_promoted)
            n_promoted -= going_on
            left = None if left is None else left - len(taken_up)
            count -= len(taken_up) + going_on
        count = count if left is None else min(count, left)
        left = None if left is None else left - count
        if count and fresh and not fixed and not fresh[-1][1]:
            fresh[-1] = (fresh[-1][0] + count, fixed)  # neighbours that fix nothing are one batch
        elif count:
            fresh.append((count, fixed))
    return Needs(tuple(fresh), tuple(partial))


def checked(here: OpenStudy, fixed: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is fixed as the space means it; nothing, if that is wrong: the write transaction will say so."""
    try:
        return here.definition.space.check(fixed, partial=True) if fixed else {}
    except Invalid:
        return {}


def compute(here: OpenStudy, records: Sequence[Record], needs: Needs) -> Plan:
    """The model's points, each seeing those before it as pending. No session, no lock."""
    definition = here.definition
    known = list(records)
    options = {name: value for name, value in definition.algorithm.items() if name != "name"}

    def suggestions(count: int, first_number: int, fixed: Mapping[str, Any]) -> tuple[Suggestion, ...]:
        points = search.suggest(
            definition.space,
            definition.goal,
            History.of(definition.space, definition.goal, known),
            count=count,
            seed=definition.seed,
            first_number=first_number,
            algorithm=definition.algorithm["name"],
            options=options,
            fixed=fixed,
        ).points
        known.extend(
            Record(number=first_number + k, params=point.params, state="pending") for k, point in enumerate(points)
        )
        return points

    completions = {
        trial.number: suggestion
        for trial in needs.partial
        for suggestion in suggestions(1, trial.number, checked(here, trial.params))
    }
    number = here.study.next_number
    fresh: dict[int, Planned] = {}
    for count, fixed in needs.fresh:
        for k, point in enumerate(suggestions(count, number, fixed)):
            fresh[number + k] = Planned(point, fixed, definition.space.key(point.params))
        number += count
    return Plan(here.study.next_number, here.study.space_version, fresh, completions)


def draw_ahead(here: OpenStudy, needs: Needs) -> Plan:
    """Points without a model, so that one query tells which of them are taken; those are drawn again one by one."""
    definition = here.definition
    number = here.study.next_number
    fresh: dict[int, Planned] = {}
    picked: set[str] = set()
    for count, fixed in needs.fresh:
        for _ in range(count):
            point = draw(
                definition.space,
                definition.algorithm,
                seed=definition.seed,
                number=number,
                taken=picked.__contains__,
                fixed=fixed,
            )
            if point is not None:
                fresh[number] = Planned(point, fixed, definition.space.key(point.params))
                picked.add(fresh[number].key)
            number += 1
    return Plan(here.study.next_number, here.study.space_version, fresh)
