"""Ask: what to try next.

One short transaction under the study's lock, where the points are there already: waiting trials, points of algorithms
without a model, and those that were computed ahead on this very state of the log. Otherwise the arithmetic comes
between a snapshot, closed before any matrix is touched, and another such transaction. Asks of one study that arrive
together are one such walk (`app.api.gather`). If only tells came in between, the suggestions stand; if other asks took
the numbers, they are computed once more with those as pending; after that a free point is taken under the lock and
says so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.db import idempotency, rungs, studies, trials
from app.db.reports import reports_of
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Report, Trial
from app.errors import AppError, FieldError, Invalid
from app.search.draw import draw
from app.search.free import free_point
from app.search.suggest import Suggestion
from app.services.lines import State
from app.services.memory import Memory
from app.services.plan import Plan, Wish, compute, draw_ahead, foresee, is_modelled, ready
from app.services.priors import is_open
from app.services.sources import settle
from app.services.spare import Spare
from app.services.stopping import Budget, budget, suggests_nothing

logger = logging.getLogger("metatune.ask")

#: How often the suggestions are computed before a free point has to do.
MAX_COMPUTATIONS = 2
#: What an asker is told to wait while others work, or while the study is paused.
RETRY_SECONDS = {"waiting-for-running": 2.0, "paused": 10.0}
LATE = "the study changed while the model was computing"


@dataclass(frozen=True)
class AskCall(Wish):
    """One caller's request. Who `claim`s it first, the computation or the deadline's fallback, answers it."""

    count: int = 1
    worker: str | None = None
    resume: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    once: idempotency.Once | None = None
    lease_seconds: float = 86_400.0
    uid: str | None = None
    _claimed: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

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
    #: Names of the space's parameters, in its order.
    parameters: tuple[str, ...]
    #: Of each trial the attempt that was handed out.
    attempts: Mapping[int, int]

    @property
    def held(self) -> frozenset[int]:
        """Trials whose token is shown: those that are still in the hands that this answer gave them to.

        Asked when the transaction is over: of calls that share one, a later may take what expired in an earlier's.
        """
        return frozenset(trial.number for trial in self.trials if trial.attempt == self.attempts[trial.number])

    @property
    def retry_after_seconds(self) -> float | None:
        return None if self.done or self.reason is None else RETRY_SECONDS.get(self.reason, 1.0)


Answer = Asked | AppError


def ask(store: Store, address: Address, calls: Sequence[AskCall], memory: Memory | None = None) -> list[Answer | None]:
    """Answers the calls, in order; None for one that its deadline's fallback claimed meanwhile.

    Points that were computed for nobody but such calls are kept as spare ones.

    Raises: StudyNotFound, and whatever fails for all of them.
    """
    memory = memory or Memory()

    def at_once(here: OpenStudy) -> Plan | None:
        needs = foresee(here, unclaimed(calls))
        return ready(here, needs, memory.lines) if needs and is_modelled(here) else draw_ahead(here, needs)

    are_missing = memory.expected.are_missing(address)
    answers = None if are_missing else _hand_out(store, address, calls, memory, at_once)
    for _ in range(MAX_COMPUTATIONS):
        if answers is not None:
            return answers
        while (found := computed(store, address, calls, memory)) is None:
            settle(store, address, memory)
        here, plan = found
        memory.expected.note(address, len(calls) if plan.fresh and is_modelled(here) else 0)
        if all(call.is_claimed for call in calls):  # every deadline passed meanwhile
            memory.spare.keep(here, [planned.suggestion for planned in plan.fresh.values() if not planned.fixed])
            return [None] * len(calls)
        answers = _hand_out(store, address, calls, memory, plan.at)
    if answers is not None:
        return answers
    logger.info("other asks were faster twice; taking free points", extra={"study": address.name})
    return hand_out(store, address, calls, memory, why="other askers took the computed points' numbers twice")


def unclaimed(calls: Sequence[AskCall]) -> list[AskCall]:
    """Those whose deadline did not pass while they stood in line: nothing need be computed for the others."""
    return [call for call in calls if not call.is_claimed]


def computed(store: Store, address: Address, calls: Sequence[AskCall], memory: Memory) -> tuple[OpenStudy, Plan] | None:
    """What the calls need, for the study as it is in one snapshot; None while it is open what it builds on."""
    with memory.histories.turn(address):
        with store.read(address.project_id) as session:
            here = studies.open_study(session, address)
            needs = foresee(here, unclaimed(calls))
            if not needs:
                return here, Plan(here.study.next_number, here.study.space_version)
            if is_open(here):
                return None
            lending = memory.priors.look(here)
            news = memory.histories.news(here)
        history = memory.histories.grown(here, news)
    return here, compute(here, history, needs, memory.lines, lending().prior)


def hand_out(
    store: Store, address: Address, calls: Sequence[AskCall], memory: Memory, *, why: str
) -> list[Answer | None]:
    """The write transaction alone: new points are those computed ahead, spare ones, or drawn, and say why."""

    def whatever(here: OpenStudy) -> Plan:
        found = ready(here, foresee(here, calls), memory.lines)
        return found or Plan(here.study.next_number, here.study.space_version)

    return _hand_out(store, address, calls, memory, whatever, why, memory.spare) or []


def _hand_out(
    store: Store,
    address: Address,
    calls: Sequence[AskCall],
    memory: Memory,
    choose: Callable[[OpenStudy], Plan | None],
    why: str = LATE,
    spare: Spare | None = None,
) -> list[Answer | None] | None:
    """The write transaction; None, if there is no plan for the study as it stands."""
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        trials.reclaim_expired(here)
        plan = choose(here)
        if plan is None:
            return None
        before, hand = State.of(here), Hand(here, plan, why, spare)
        answers = hand.answer_all(calls)
    after = State.of(here)
    if plan.line is not None and plan.line.state == before:
        changes = (after.next_number - before.next_number, after.n_changes - before.n_changes)
        if changes == (hand.n_planned, hand.n_planned):  # once it is committed the line may go on from there
            memory.lines.follow(plan.line, after)
    return answers


class Hand:
    """One transaction's handing out, under the study's lock."""

    def __init__(self, here: OpenStudy, plan: Plan, why: str = LATE, spare: Spare | None = None) -> None:
        self.here = here
        self.plan = plan
        self.why = why
        self.spare = spare
        planned = [point.key for point in plan.fresh.values()]
        self.looked_up = dict.fromkeys(planned, False) | dict.fromkeys(trials.taken_among(here, planned), True)
        self.ids = trials.reserved_ids(here, len(planned))
        self.picked: set[str] = set()
        #: New trials whose points were planned for them.
        self.n_planned = 0

    def answer_all(self, calls: Sequence[AskCall]) -> list[Answer | None]:
        answers: list[Answer | None] = []
        for call in calls:
            if not call.claim():
                answers.append(None)
                continue
            try:
                answers.append(self.answer(call))
            except AppError as problem:  # of this call alone: nothing was written for it yet
                answers.append(problem)
        return answers

    def answer(self, call: AskCall) -> Asked:
        here, study = self.here, self.here.study
        studies.check_uid(study, call.uid)
        before = idempotency.remembered(here.session, call.once)
        if before is not None:
            return _repeat(here, before)
        fixed = here.definition.space.check(call.fixed, partial=True) if call.fixed else {}
        if fixed and suggests_nothing(here):
            raise Invalid(
                f"study {study.name!r} suggests nothing: it hands out what is enqueued, as it is; leave `fixed` out",
                errors=[FieldError("/fixed", "must be left out")],
            )
        limit = budget(here)
        handed: list[Trial] = []
        reason = limit.reason
        if study.state == "active":
            study.first_ask_at = study.first_ask_at or here.now
            if call.resume and call.worker:
                handed += self.take_up_again(call, call.worker)
            room = call.count - len(handed)
            left = room if limit.left is None else min(room, limit.left)
            if not fixed:
                waiting = self.take_waiting(call, left)
                promoted = self.promote(call, room - len(waiting)) if limit.allows_promotions else []
                handed += waiting + promoted
                left = min(left - len(waiting), room - len(waiting) - len(promoted))
            for _ in range(left):
                if trials.is_full(here):
                    reason = "study-full"
                    break
                trial = self.new_trial(call, fixed)
                if trial is None:
                    reason = "space-exhausted"
                    break
                handed.append(trial)
            if not handed and not fixed and reason in ("max_trials", "space-exhausted"):
                handed += self.promote_the_last(call)
        done, reason = (False, None) if handed else _why_nothing(here, reason)
        if fixed and (reason == "space-exhausted" or (done and self.can_promote(limit))):
            done = False  # only for this call: other parts of the space are open, or paused trials may go on
        said = {"trials": [[trial.number, trial.attempt] for trial in handed], "done": done, "reason": reason}
        idempotency.remember(here.session, call.once, said, here.now)
        return _asked(here, handed, done, reason)

    def take_up_again(self, call: AskCall, worker: str) -> list[Trial]:
        mine = list(trials.held_by(self.here, worker, call.count))
        for trial in mine:
            trials.lease(self.here, trial, worker=worker, seconds=call.lease_seconds)
            self.here.record("trial.started", trial.state, trial.number)
        return mine

    def take_waiting(self, call: AskCall, room: int) -> list[Trial]:
        handed = []
        ready = trials.waiting(self.here, room)
        for trial in ready:
            if trial.is_partial:
                completion = self.completion(trial)
                if completion is None:
                    trials.give_up(self.here, trial, "no completion of its params satisfies the constraints")
                    continue
                trials.complete_params(self.here, trial, completion.params)
            if trial.attempt == 0:
                trial.until_step = self.here.definition.pruning.first_stop(trial.number)
            self.start(call, trial)
            handed.append(trial)
        if ready:
            self.here.session.flush()  # the next call of this transaction must not find them waiting
        return handed

    def start(self, call: AskCall, trial: Trial) -> None:
        self.here.move(trial, "running")
        trials.lease(self.here, trial, worker=call.worker, seconds=call.lease_seconds)
        self.here.record("trial.started", trial.state, trial.number)

    def promote(self, call: AskCall, room: int) -> list[Trial]:
        """Paused trials that are good enough go on to the next rung, under their own numbers."""
        return [self.send_on(call, promotion) for promotion in rungs.promotions(self.here, room)]

    def promote_the_last(self, call: AskCall) -> list[Trial]:
        """Nothing else can come, and nothing came to the end: the best paused trial does, so that there is a result."""
        study = self.here.study
        if study.n_running or study.n_complete or not study.n_paused:
            return []
        promotion = rungs.last_hope(self.here)
        return [] if promotion is None else [self.send_on(call, promotion)]

    def can_promote(self, limit: Budget) -> bool:
        """Would an ask that fixes nothing send a paused trial on?"""
        study = self.here.study
        if study.state != "active" or not limit.allows_promotions or not study.n_paused:
            return False
        if rungs.promotions(self.here, 1):
            return True
        return not study.n_running and not study.n_complete and rungs.last_hope(self.here) is not None

    def send_on(self, call: AskCall, promotion: rungs.Promotion) -> Trial:
        trial = rungs.take(self.here, promotion)
        self.start(call, trial)
        return trial

    def completion(self, trial: Trial) -> Suggestion | None:
        """The parameters that an enqueued trial was left without; None, if the constraints leave none.

        If every completion was tried already the first legal one is repeated: the user asked for this trial.
        """
        space, seed = self.here.definition.space, self.here.definition.seed
        found = self.plan.completions.get(trial.number)
        if found is None or self.is_taken(space.key(found.params)):
            found = self.drawn(trial.number, trial.params) or free_point(
                space, seed=seed, number=trial.number, taken=lambda _: False, fixed=trial.params
            )
        if found is not None:
            self.picked.add(space.key(found.params))
        return found

    def new_trial(self, call: AskCall, fixed: Mapping[str, Any]) -> Trial | None:
        """A trial under the next number: the planned point if it is still free, else one drawn now.

        None: the space has no configuration left.
        """
        here = self.here
        planned = self.plan.fresh.get(here.study.next_number)
        speculated = False
        if planned is not None and planned.fixed == fixed and not self.is_taken(planned.key):
            suggestion, key, speculated = planned.suggestion, planned.key, planned.speculated
            self.n_planned += 1
        elif (left := None if fixed else self.spare_point()) is not None:
            suggestion, key = left, here.definition.space.key(left.params)
        else:
            drawn = self.drawn(here.study.next_number, fixed)
            if drawn is None:
                return None
            key = here.definition.space.key(drawn.params)
            suggestion = replace(drawn, source="fallback", why=self.why) if is_modelled(here) else drawn
        self.picked.add(key)
        return trials.make(
            here,
            id=next(self.ids, None),
            state="running",
            params=suggestion.params,
            origin=trials.origin_json(suggestion, speculated=speculated),
            config_key=key,
            attempt=1,
            until_step=here.definition.pruning.first_stop(here.study.next_number),
            **trials.lease_fields(here, worker=call.worker, seconds=call.lease_seconds),
        )

    def spare_point(self) -> Suggestion | None:
        """A point that was computed for an earlier ask whose deadline passed, if one is left and still free."""
        while self.spare is not None and (point := self.spare.take(self.here)) is not None:
            if not self.is_taken(self.here.definition.space.key(point.params)):
                return replace(point, why="computed for an earlier ask, whose deadline had passed")
        return None

    def drawn(self, number: int, fixed: Mapping[str, Any]) -> Suggestion | None:
        """A point that needs no model, or None if none is left."""
        definition = self.here.definition
        return draw(
            definition.space,
            definition.algorithm,
            seed=definition.seed,
            number=number,
            taken=self.is_taken,
            fixed=fixed,
        )

    def is_taken(self, key: str) -> bool:
        """Is this configuration in the study already, or handed out by this transaction?"""
        if key in self.picked:
            return True
        if key not in self.looked_up:
            self.looked_up[key] = bool(trials.taken_among(self.here, [key]))
        return self.looked_up[key]


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


def _repeat(here: OpenStudy, reference: Mapping[str, Any]) -> Asked:
    """The answer that was given before, without trials removed since; a token is shown only while in the same hands."""
    attempts = dict(reference["trials"])
    here.session.flush()  # it may have been given in this very transaction
    found = trials.numbered(here, attempts)
    handed = [found[number] for number in attempts if found[number].state != "removed"]
    return _asked(here, handed, reference["done"], reference["reason"], attempts)


def _asked(
    here: OpenStudy, handed: Sequence[Trial], done: bool, reason: str | None, attempts: Mapping[int, int] | None = None
) -> Asked:
    return Asked(
        trials=tuple(handed),
        reports={trial.number: reports_of(here.session, trial) for trial in handed if trial.attempt > 1},
        done=done,
        reason=reason,
        study_uid=here.study.uid,
        parameters=tuple(here.definition.space.parameters),
        attempts=attempts or {trial.number: trial.attempt for trial in handed},
    )
