"""Ask: what to try next.

Two short transactions with the arithmetic between them: a snapshot, closed before any matrix is touched, and a write
that hands out under the study's lock. Asks of one study that arrive together are one such walk (`app.api.desk` gathers
them). If only tells came in between, the suggestions stand; if other asks took the numbers, they are computed once more
with those as pending; after that a free point is taken under the lock and says so. Algorithms without a model need no
snapshot: they draw under the lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.db import idempotency, studies, trials
from app.db.idempotency import Once
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Report, Trial
from app.errors import AppError, NoFeasiblePoint
from app.search import suggest as search
from app.search.draw import MODELLED, draw
from app.search.history import History, Record
from app.search.suggest import Suggestion
from app.services.stopping import budget

logger = logging.getLogger("metatune.ask")

#: How often the suggestions are computed before a free point has to do.
MAX_COMPUTATIONS = 2
#: What an asker is told to wait while others work, or while the study is paused.
RETRY_SECONDS = {"waiting-for-running": 2.0, "paused": 10.0}


@dataclass
class AskCall:
    """One caller's request. Who `claim`s it first, the computation or the deadline's fallback, answers it."""

    count: int = 1
    worker: str | None = None
    lease_seconds: float = 86_400.0
    resume: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    uid: str | None = None
    once: Once | None = None
    _claimed: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def claim(self) -> bool:
        return self._claimed.acquire(blocking=False)

    @property
    def is_claimed(self) -> bool:
        return self._claimed.locked()


@dataclass(frozen=True)
class Asked:
    trials: tuple[Trial, ...]
    reports: Mapping[int, Sequence[Report]]
    done: bool
    reason: str | None
    study_uid: str
    #: Trials whose token is shown: all, but for a repeated answer whose trial is in other hands now.
    held: frozenset[int]

    @property
    def retry_after_seconds(self) -> float | None:
        return None if self.done or self.reason is None else RETRY_SECONDS.get(self.reason, 1.0)


Answer = Asked | AppError


@dataclass(frozen=True)
class Plan:
    """Suggestions computed from a snapshot, and what must not have changed since for them to stand."""

    next_number: int
    space_version: int
    fresh: tuple[tuple[Suggestion, ...], ...]  # per call
    completions: Mapping[int, Suggestion]  # of enqueued trials that were given in part

    def stands(self, here: OpenStudy) -> bool:
        return self.next_number == here.study.next_number and self.space_version == here.study.space_version


def ask(store: Store, address: Address, calls: Sequence[AskCall]) -> list[Answer | None]:
    """Answers the calls, in order; None for one that its deadline's fallback claimed meanwhile.

    Raises: StudyNotFound, and whatever fails for all of them.
    """
    for _ in range(MAX_COMPUTATIONS):
        if all(call.is_claimed for call in calls):  # every deadline passed meanwhile
            return [None] * len(calls)
        with store.read() as session:
            here = studies.open_study(session, address)
            if not _needs_model(here):
                return hand_out(store, address, calls, plan=None)
            wanted = _foresee(here, calls)
            records = trials.records(here) if wanted.is_something else []
        plan = compute_plan(here, records, calls, wanted)
        with store.write() as session:
            here = studies.open_study(session, address, lock=True)
            if plan.stands(here):
                return _hand_out(here, calls, plan)
    logger.info("other asks were faster twice; taking free points", extra={"study": address.name})
    return hand_out(store, address, calls, plan=None, why="other askers took the computed points' numbers twice")


def hand_out(
    store: Store, address: Address, calls: Sequence[AskCall], *, plan: Plan | None, why: str | None = None
) -> list[Answer | None]:
    """The write transaction alone: without a plan new points are drawn under the lock, and say why."""
    with store.write() as session:
        return _hand_out(studies.open_study(session, address, lock=True), calls, plan, why)


def _needs_model(here: OpenStudy) -> bool:
    study = here.study
    name, _ = algorithm_in_use(here)
    return name in MODELLED and study.state == "active"


def algorithm_in_use(here: OpenStudy) -> tuple[str, str]:
    """Its name, and why it is the one."""
    definition = here.definition
    return search.choose_algorithm(
        definition.space, definition.goal, definition.algorithm["name"], here.study.next_number - 1
    )


# --- before: what will be needed --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    counts: tuple[int, ...]  # new points, per call
    partial: tuple[Trial, ...]  # enqueued trials to complete

    @property
    def is_something(self) -> bool:
        return any(self.counts) or bool(self.partial)


def _foresee(here: OpenStudy, calls: Sequence[AskCall]) -> Wanted:
    """How many new points each call will need, if nothing changes: an estimate, the write transaction decides."""
    left = budget(here).left
    ready = list(trials.waiting(here, sum(call.count for call in calls)))
    partial = tuple(trial for trial in ready if trial.is_partial)
    counts = []
    for call in calls:
        need = call.count if left is None else min(call.count, left)
        old = min(need, len(ready)) if not call.fixed else 0
        if call.resume and call.worker:
            old = max(old, min(need, len(trials.held_by(here, call.worker, call.count))))
        ready = ready[old:]
        left = None if left is None else left - need
        counts.append(0 if idempotency.remembered(here.session, call.once) else need - old)
    return Wanted(tuple(counts), partial)


# --- between: the arithmetic, without a session -----------------------------------------------------------------


def compute_plan(here: OpenStudy, records: Sequence[Record], calls: Sequence[AskCall], wanted: Wanted) -> Plan:
    """Computes the new points of all calls, each seeing those before it as pending, and completes partial trials."""
    definition = here.definition
    number = here.study.next_number
    known = list(records)

    def suggestions(count: int, first_number: int, fixed: Mapping[str, Any]) -> tuple[Suggestion, ...]:
        return search.suggest(
            definition.space,
            definition.goal,
            History.of(definition.space, definition.goal, known),
            count=count,
            seed=definition.seed,
            first_number=first_number,
            algorithm=definition.algorithm["name"],
            options={name: value for name, value in definition.algorithm.items() if name != "name"},
            fixed=fixed,
        ).points

    completions = {}
    for trial in wanted.partial:
        for suggestion in suggestions(1, trial.number, trial.params):
            completions[trial.number] = suggestion
            known.append(Record(number=trial.number, params=suggestion.params, state="pending"))
    fresh: list[tuple[Suggestion, ...]] = [()] * len(calls)
    index = 0
    while index < len(calls):  # neighbours that fix nothing are one batch
        group = [index]
        while not calls[index].fixed and group[-1] + 1 < len(calls) and not calls[group[-1] + 1].fixed:
            group.append(group[-1] + 1)
        count = sum(wanted.counts[i] for i in group)
        points = suggestions(count, number, calls[index].fixed) if count else ()
        known.extend(Record(number=number + k, params=point.params, state="pending") for k, point in enumerate(points))
        number += count
        for i in group:
            fresh[i], points = points[: wanted.counts[i]], points[wanted.counts[i] :]
        index = group[-1] + 1
    return Plan(here.study.next_number, here.study.space_version, tuple(fresh), completions)


# --- after: under the lock --------------------------------------------------------------------------------------


def _hand_out(
    here: OpenStudy, calls: Sequence[AskCall], plan: Plan | None, why: str | None = None
) -> list[Answer | None]:
    trials.reclaim_expired(here)
    picked: set[str] = set()  # configurations handed out by this transaction
    answers: list[Answer | None] = []
    for index, call in enumerate(calls):
        if not call.claim():
            answers.append(None)
            continue
        try:
            points = plan.fresh[index] if plan else ()
            answers.append(_answer(here, call, list(points), plan.completions if plan else {}, picked, why))
        except AppError as problem:  # of this call alone: nothing was written for it yet
            answers.append(problem)
    return answers


def _answer(
    here: OpenStudy,
    call: AskCall,
    points: list[Suggestion],
    completions: Mapping[int, Suggestion],
    picked: set[str],
    why: str | None,
) -> Asked:
    if call.uid is not None:
        studies.check_uid(here.study, call.uid)
    before = idempotency.remembered(here.session, call.once)
    if before is not None:
        return _repeat(here, before)
    fixed = here.definition.space.check(call.fixed, partial=True) if call.fixed else {}
    study = here.study
    limit = budget(here)
    handed: list[Trial] = []
    reason = None
    if study.state == "active":
        if study.first_ask_at is None:
            study.first_ask_at = here.now
        if call.resume and call.worker:
            handed.extend(_take_up_again(here, call))
        room = call.count - len(handed)
        if limit.left is not None:
            room = min(room, limit.left)
        if room and not fixed:
            old = _take_waiting(here, call, room, completions, picked)
            handed.extend(old)
            room -= len(old)
        for _ in range(room):
            trial = _new_trial(here, call, fixed, points, picked, why)
            if trial is None:
                reason = "space-exhausted"
                break
            handed.append(trial)
    done, reason = (False, None) if handed else _why_nothing(here, limit.reason or reason)
    idempotency.remember(
        here.session,
        call.once,
        {"trials": [[trial.number, trial.attempt] for trial in handed], "done": done, "reason": reason},
        here.now,
    )
    return _asked(here, handed, done, reason)


def _why_nothing(here: OpenStudy, reason: str | None) -> tuple[bool, str]:
    """Is the study over, and why was nothing handed out?"""
    study = here.study
    if study.state == "stopped":
        return True, "stopped"
    if study.state == "paused":
        return False, "paused"
    if study.n_running or reason is None:
        return False, "waiting-for-running"
    return True, reason


def _take_up_again(here: OpenStudy, call: AskCall) -> list[Trial]:
    assert call.worker is not None
    mine = list(trials.held_by(here, call.worker, call.count))
    for trial in mine:
        trials.lease(here, trial, worker=call.worker, seconds=call.lease_seconds)
        here.record("trial.started", trial.state, trial.number)
    return mine


def _take_waiting(
    here: OpenStudy, call: AskCall, room: int, completions: Mapping[int, Suggestion], picked: set[str]
) -> list[Trial]:
    ready = list(trials.waiting(here, room))
    for trial in ready:
        if trial.is_partial:
            _complete(here, trial, completions.get(trial.number), picked)
        here.move(trial, "running")
        trials.lease(here, trial, worker=call.worker, seconds=call.lease_seconds)
        here.record("trial.started", trial.state, trial.number)
    if ready:
        here.session.flush()  # the next call of this transaction must not find them waiting
    return ready


def _complete(here: OpenStudy, trial: Trial, suggestion: Suggestion | None, picked: set[str]) -> None:
    """Gives an enqueued trial the parameters it was left without.

    If every completion was tried already the first legal one is repeated: the user asked for this trial.
    """
    space = here.definition.space
    if suggestion is None or is_taken(here, picked, space.key(suggestion.params)):
        suggestion = _draw(here, trial.number, trial.params, picked) or search.free_point(
            space, seed=here.definition.seed, number=trial.number, taken=lambda _: False, fixed=trial.params
        )
    if suggestion is None:  # the constraints leave nothing around what was given
        raise NoFeasiblePoint(
            f"no completion of trial {trial.number}'s params {dict(trial.params)} satisfies the constraints"
        )
    trial.params, trial.is_partial = dict(suggestion.params), False
    trial.config_key = space.key(suggestion.params)
    trial.space_version, trial.in_space = here.study.space_version, True
    picked.add(trial.config_key)


def _new_trial(
    here: OpenStudy,
    call: AskCall,
    fixed: Mapping[str, Any],
    points: list[Suggestion],
    picked: set[str],
    why: str | None,
) -> Trial | None:
    """A trial under the next number: the computed point if there is one and it is still free, else a free point.

    None: the space has no configuration left.
    """
    space = here.definition.space
    suggestion = points.pop(0) if points else None
    if suggestion is not None and is_taken(here, picked, space.key(suggestion.params)):
        suggestion, why = None, "the computed point was taken meanwhile"
    if suggestion is None:
        suggestion = _draw(here, here.study.next_number, fixed, picked)
        if suggestion is None:
            return None
        if algorithm_in_use(here)[0] in MODELLED:
            why = why or "the study changed while the model was computing"
            suggestion = replace(suggestion, source="fallback", why=why)
    key = space.key(suggestion.params)
    picked.add(key)
    return trials.make(
        here,
        state="running",
        params=suggestion.params,
        origin=trials.origin_json(suggestion),
        config_key=key,
        attempt=1,
        **trials.lease_fields(here, worker=call.worker, seconds=call.lease_seconds),
    )


def _draw(here: OpenStudy, number: int, fixed: Mapping[str, Any], picked: set[str]) -> Suggestion | None:
    """A point that needs no model, or None if none is left."""
    return draw(
        here.definition.space,
        here.definition.algorithm,
        seed=here.definition.seed,
        number=number,
        taken=lambda key: is_taken(here, picked, key),
        fixed=fixed,
    )


def is_taken(here: OpenStudy, picked: set[str], key: str) -> bool:
    return key in picked or trials.taken(here, key)


def _repeat(here: OpenStudy, reference: Mapping[str, Any]) -> Asked:
    """The answer that was given before; a token is shown only while its trial is still in the same hands."""
    attempts = dict(reference["trials"])
    found = trials.numbered(here, attempts)
    handed = [found[number] for number in attempts if number in found]
    return _asked(here, handed, reference["done"], reference["reason"], attempts)


def _asked(
    here: OpenStudy, handed: Sequence[Trial], done: bool, reason: str | None, attempts: Mapping[int, int] | None = None
) -> Asked:
    return Asked(
        trials=tuple(handed),
        reports={trial.number: trials.reports_of(here.session, trial) for trial in handed if trial.attempt > 1},
        done=done,
        reason=reason,
        study_uid=here.study.uid,
        held=frozenset(t.number for t in handed if attempts is None or attempts[t.number] == t.attempt),
    )
