"""What an ask hands out, prepared before the study is locked: which points, under which numbers.

A suggestion belongs to its number, whoever gets it: so it is a function of the seed, the number and what was known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from app import tracing
from app.db import idempotency, rungs, trials
from app.db.idempotency import Once
from app.db.studies import OpenStudy
from app.db.tables import Trial
from app.definition import Definition
from app.errors import Invalid
from app.figures import MODEL_SECONDS
from app.search import suggest as search
from app.search.draw import MODELLED, draw
from app.search.history import History, Record
from app.search.suggest import Suggestion
from app.services.lines import Computed, Line, Lines, State
from app.services.stopping import budget
from app.services.turns import short_turns

if TYPE_CHECKING:
    from app.search.prior import Prior


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
    speculated: bool = False


@dataclass(frozen=True)
class Plan:
    """New points by number, and completions of enqueued trials that were given in part; `line`: whose points it has."""

    next_number: int
    space_version: int
    fresh: Mapping[int, Planned] = field(default_factory=dict)
    completions: Mapping[int, Suggestion] = field(default_factory=dict)
    line: Line | None = None

    def at(self, here: OpenStudy) -> Plan | None:
        """The plan, if it stands: tells that came in meanwhile leave it so; other asks took its numbers."""
        stands = self.next_number == here.study.next_number and self.space_version == here.study.space_version
        return self if stands else None


@dataclass(frozen=True)
class Needs:
    """What has to be computed: new points (how many, keeping which values) and completions of enqueued trials."""

    fresh: tuple[tuple[int, Mapping[str, Any]], ...]
    partial: tuple[Trial, ...]

    def __bool__(self) -> bool:
        return bool(self.fresh or self.partial)

    @property
    def in_line(self) -> int | None:
        """How many points, if they are nothing but the next ones."""
        return self.fresh[0][0] if len(self.fresh) == 1 and not self.fresh[0][1] and not self.partial else None


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


def ready(here: OpenStudy, needs: Needs, lines: Lines) -> Plan | None:
    """The points that were computed already on the study's present state."""
    line = lines.at(State.of(here))
    if line is None or needs.in_line is None:
        return None
    computed = line.ready(here.study.next_number, needs.in_line)
    return None if computed is None else _plan_of(here, line, computed)


def compute(here: OpenStudy, history: History, needs: Needs, lines: Lines, prior: Prior | None = None) -> Plan:
    """The model's points, each seeing those before it as pending. No session, no lock of the database."""
    if needs.in_line is not None:
        line = line_of(here, history, lines, prior)
        return _plan_of(here, line, line.points(here.study.next_number, needs.in_line))
    known = history

    def suggestions(count: int, first_number: int, fixed: Mapping[str, Any]) -> list[Suggestion]:
        nonlocal known
        points = list(islice(_points(here.definition, known, first_number, fixed, prior), count))
        known = known.grown(
            Record(number=first_number + k, params=point.params, state="pending") for k, point in enumerate(points)
        )
        return points

    number = here.study.next_number
    fresh: dict[int, Planned] = {}
    with short_turns():
        completions = {
            trial.number: suggestion
            for trial in needs.partial
            for suggestion in suggestions(1, trial.number, checked(here, trial.params))
        }
        for count, fixed in needs.fresh:
            for k, point in enumerate(suggestions(count, number, fixed)):
                fresh[number + k] = Planned(point, fixed, here.definition.space.key(point.params))
            number += count
    return Plan(here.study.next_number, here.study.space_version, fresh, completions)


def line_of(here: OpenStudy, history: History, lines: Lines, prior: Prior | None = None) -> Line:
    """The line of points that goes on from where the study stands."""
    return lines.begin(State.of(here), lambda: _points(here.definition, history, here.study.next_number, {}, prior))


def _plan_of(here: OpenStudy, line: Line, computed: Sequence[Computed]) -> Plan:
    fresh = {
        number: Planned(one.suggestion, {}, here.definition.space.key(one.suggestion.params), one.speculated)
        for number, one in enumerate(computed, start=here.study.next_number)
    }
    return Plan(here.study.next_number, here.study.space_version, fresh, line=line)


def _points(
    definition: Definition, history: History, first_number: int, fixed: Mapping[str, Any], prior: Prior | None
) -> Iterator[Suggestion]:
    """Nothing is computed before the first one is taken."""
    points = search.in_turn(
        definition.space,
        definition.goal,
        history,
        seed=definition.seed,
        first_number=first_number,
        algorithm=definition.algorithm["name"],
        options={name: value for name, value in definition.algorithm.items() if name != "name"},
        fixed=fixed,
        prior=prior,
    )
    place = "first"
    while True:
        started = time.perf_counter()
        with tracing.span("model point", {"metatune.point": place}) as span:
            point = next(points, None)
            if point is None:
                return
            if span is not None:
                span.set_attribute("metatune.source", point.source)
        MODEL_SECONDS.labels(point.source, place).observe(time.perf_counter() - started)
        place = "next"
        yield point


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
