"""What a study should do, in plain Python: no database, no server, nothing of `app`.

Every method says what the service has to answer, as (status, code), and changes the model as the service should
change its database. Where the service may choose (which point is new), the machine hands its choice back in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FINISHED = ("complete", "pruned", "failed", "infeasible")
STATES = ("waiting", "running", "paused", *FINISHED, "lost")
GIVEN_BACK, ENQUEUED = 0, 1

#: Where trials pause, if the study promotes them: rungs 0 and 1; at step 4 they are complete.
MAX_STEP, ETA = 4, 2
RUNGS = (1, 2)
PROMOTING = {"rule": "asha", "min_step": 1, "max_step": MAX_STEP, "eta": ETA, "promote": True}

Params = dict[str, Any]
Verdict = tuple[int, str | None]
OK: Verdict = (200, None)


@dataclass
class Space:
    """Parameters as the service is given them; only the kinds that the machine uses."""

    parameters: dict[str, dict[str, Any]]
    #: i + j may be at most so much, where both exist.
    most: int | None = None

    def active(self, params: Params) -> list[str]:
        return [
            name
            for name, parameter in self.parameters.items()
            if all(params.get(parent) in values for parent, values in parameter.get("when", {}).items())
        ]

    def is_legal(self, params: Params, *, partial: bool = False) -> bool:
        active = self.active(params)
        if not set(params) <= set(self.parameters):
            return False
        if not partial and set(params) != set(active):
            return False
        return all(self.fits(name, value) for name, value in params.items()) and self.holds(params)

    def fits(self, name: str, value: Any) -> bool:
        parameter = self.parameters[name]
        if parameter["type"] == "bool":
            return isinstance(value, bool)
        if parameter["type"] == "categorical":
            return value in parameter["choices"]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if parameter["type"] == "int" and value != int(value):
            return False
        return bool(parameter["low"] <= value <= parameter["high"])

    def holds(self, params: Params) -> bool:
        return self.most is None or "i" not in params or "j" not in params or params["i"] + params["j"] <= self.most

    def adapted(self, params: Params) -> Params:
        """An older trial's parameters here: removed ones dropped, added ones at their default."""
        complete = {
            name: params[name] if name in params else parameter.get("default")
            for name, parameter in self.parameters.items()
        }
        known = {name: value for name, value in complete.items() if value is not None}
        active = self.active(known)
        return {name: value for name, value in known.items() if name in active}

    def is_completable(self, params: Params) -> bool:
        every = self.every()
        return every is None or any(params.items() <= one.items() for one in every)

    def every(self) -> list[Params] | None:
        """All configurations, if they can be counted (the machine's countable space has no conditions)."""
        values: list[list[Any]] = []
        for parameter in self.parameters.values():
            if parameter["type"] == "bool":
                values.append([False, True])
            elif parameter["type"] == "int" and "when" not in parameter:
                values.append(list(range(parameter["low"], parameter["high"] + 1)))
            else:
                return None
        found = [dict(zip(self.parameters, row, strict=True)) for row in itertools.product(*values)]
        return [params for params in found if self.holds(params)]


@dataclass
class Trial:
    number: int
    state: str
    params: Params
    is_partial: bool = False
    is_new: bool = False
    attempt: int = 0
    values: dict[str, float] | None = None
    noise: float | None = None
    cost: float | None = None
    token: str | None = None
    worker: str | None = None
    order: tuple[int, int] | None = None
    expiries: int = 0
    stop_requested: bool = False
    #: Given back on purpose: no heartbeat takes it up again.
    is_released: bool = False
    until_step: int | None = None
    reports: dict[tuple[int, int], Any] = field(default_factory=dict)

    @property
    def by_step(self) -> dict[int, Any]:
        """Of a step reported in several attempts the latest word."""
        return {step: value for (_, step), value in sorted(self.reports.items())}

    def at_rung(self, rung: int) -> Any:
        """Its report at the first step that is not below the rung; None: it did not come so far."""
        steps = [step for step in self.by_step if step >= RUNGS[rung]]
        return self.by_step[min(steps)] if steps else None

    @property
    def rung(self) -> int:
        """The highest that it reached; -1: none."""
        return max((rung for rung in range(len(RUNGS)) if self.at_rung(rung) is not None), default=-1)

    @property
    def last_report(self) -> float | None:
        by_step = self.by_step
        finite = [by_step[step] for step in sorted(by_step) if isinstance(by_step[step], float)]
        return finite[-1] if finite else None


@dataclass
class Result:
    """What is told: a value (possibly not finite), or a state."""

    value: float | None = None
    state: str = "complete"
    noise: float | None = None
    cost: float | None = None

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"noise": self.noise, "cost": self.cost}
        if self.value is not None:
            body["value"] = self.value if math.isfinite(self.value) else str(self.value)
        else:
            body["state"] = self.state
        return {name: given for name, given in body.items() if given is not None}

    def outcome(self) -> tuple[str, dict[str, float] | None]:
        if self.value is None:
            return self.state, None
        return ("complete", {"value": self.value}) if math.isfinite(self.value) else ("failed", None)


@dataclass
class Study:
    space: Space
    max_retries: int
    max_trials: int | None = None
    promotes: bool = False
    state: str = "active"
    space_version: int = 1
    trials: dict[int, Trial] = field(default_factory=dict)
    clock: int = 0

    # --- looking ------------------------------------------------------------------------------------------------

    @property
    def shown(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.state != "removed"]

    @property
    def tried(self) -> list[Trial]:
        """Whose configuration is not new any more: also a removed one's, if it was handed out."""
        every = self.trials.values()
        return [t for t in every if not t.is_partial and (t.state != "removed" or t.attempt > 0)]

    def counts(self) -> dict[str, int]:
        return {state: sum(trial.state == state for trial in self.shown) for state in STATES}

    def is_in_space(self, trial: Trial) -> bool:
        return self.space.is_legal(self.space.adapted(trial.params), partial=trial.is_partial)

    def best(self) -> int | None:
        complete = [t for t in self.shown if t.state == "complete" and self.is_in_space(t)]
        ranked = sorted((trial.values["value"], trial.number) for trial in complete if trial.values is not None)
        return ranked[0][1] if ranked else None

    def left(self) -> int | None:
        if self.max_trials is None:
            return None
        counted = ("running", "paused", *FINISHED)
        spent = sum(t.state in counted and not (t.attempt == 0 and t.state in FINISHED) for t in self.shown)
        return max(0, self.max_trials - spent)

    def find(self, number: int) -> Trial | Verdict:
        trial = self.trials.get(number)
        if trial is None:
            return 404, "trial-not-found"
        return (404, "trial-removed") if trial.state == "removed" else trial

    def waiting(self) -> list[Trial]:
        return sorted(
            (trial for trial in self.shown if trial.state == "waiting"), key=lambda t: (t.order or (0, 0), t.number)
        )

    def promotable(self) -> list[Trial]:
        """Paused trials among the best half of their rung, the higher rung first."""
        found = []
        for rung in reversed(range(len(RUNGS))):
            there = [trial for trial in self.shown if trial.at_rung(rung) is not None]
            ranked = sorted((_loss(trial.at_rung(rung)), trial.number) for trial in there)[: len(there) // ETA]
            found += [self.trials[number] for loss, number in ranked if self.may_go_on(self.trials[number], rung)]
        return found

    def last_hope(self) -> list[Trial]:
        """Nothing else can come, and nothing is complete: the best paused trial of the highest rung goes on."""
        counts = self.counts()
        if counts["running"] or counts["complete"]:
            return []
        for rung in reversed(range(len(RUNGS))):
            ranked = sorted((_loss(t.at_rung(rung)), t.number) for t in self.shown if self.may_go_on(t, rung))
            if ranked:
                return [self.trials[ranked[0][1]]]
        return []

    def may_go_on(self, trial: Trial, rung: int) -> bool:
        if trial.state != "paused" or trial.rung != rung or trial.stop_requested:
            return False
        return isinstance(trial.at_rung(rung), float) and self.is_in_space(trial)

    def unused(self, fixed: Params) -> list[Params] | None:
        """Configurations that may still be new; None: more than can be counted."""
        every = self.space.every()
        if every is None:
            return None
        taken = [trial.params for trial in self.tried]
        return [one for one in every if one not in taken and fixed.items() <= one.items()]

    # --- the loop -----------------------------------------------------------------------------------------------

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def expire(self) -> None:
        """Every lease has run out."""
        at = self.tick()
        for trial in self.shown:
            if trial.state != "running":
                continue
            trial.expiries += 1
            if trial.expiries >= max(1, self.max_retries):
                trial.state, trial.token = "lost", None
            else:
                trial.state, trial.order = "waiting", (GIVEN_BACK, at)

    def hand_out(self, trial: Trial, token: str, worker: str | None) -> None:
        if self.promotes and trial.attempt == 0:
            trial.until_step = RUNGS[0]
        elif trial.state == "paused":
            trial.until_step = RUNGS[trial.rung + 1] if trial.rung + 1 < len(RUNGS) else None
        trial.state, trial.token, trial.worker = "running", token, worker
        trial.attempt += 1
        trial.stop_requested, trial.is_released, trial.order = False, False, None

    def add_new(self, params: Params) -> Trial:
        trial = Trial(len(self.trials) + 1, "new", params, is_new=True)
        self.trials[trial.number] = trial
        return trial

    def tell(self, number: int, result: Result, token: str | None) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return trial
        state, values = result.outcome()
        cost = trial.cost if self.promotes and result.cost is None else result.cost
        if trial.state in FINISHED or trial.state == state == "paused":
            is_same = trial.state == state and (state in ("pruned", "paused") or values == trial.values)
            same_rest = (trial.noise, trial.cost) == (result.noise, cost)
            return OK if is_same and same_rest else (409, "trial-finished-differently")
        if token is not None and token != trial.token:
            return 409, "lease-lost"
        if state == "paused":
            return self.pause(trial, result, cost, token)
        if trial.state == "paused":
            return 409, "illegal-state"
        if state == "pruned" and trial.last_report is not None:
            values = {"value": trial.last_report}
        trial.state, trial.values, trial.noise, trial.cost = state, values, result.noise, cost
        trial.token = trial.order = None
        return OK

    def pause(self, trial: Trial, result: Result, cost: float | None, token: str | None) -> Verdict:
        """At the rung it was sent to, by whoever runs it; a slow worker's own trial is taken up for it."""
        is_slow = trial.state == "waiting" and token is not None and not trial.is_released
        is_there = trial.until_step is not None and trial.rung >= RUNGS.index(trial.until_step)
        is_first = is_there and min(s for s in trial.by_step if s >= RUNGS[trial.rung]) >= (trial.until_step or 0)
        if not self.promotes or not is_first or not (trial.state == "running" or is_slow):
            return 409, "illegal-state"
        trial.state, trial.noise, trial.cost = "paused", result.noise, cost
        trial.token = trial.order = None
        return OK

    def speak(self, trial: Trial, token: str | None) -> Verdict:
        """May the caller go on with the trial? A slow worker's own trial is taken up again."""
        if trial.state in FINISHED:
            return 409, "trial-finished-differently"
        if token is not None and token != trial.token:
            return 409, "lease-lost"
        if trial.state == "waiting" and token is not None and not trial.is_released:
            trial.state, trial.order = "running", None
        return OK if trial.state == "running" else (409, "illegal-state")

    def report(self, number: int, step: int, value: float, token: str | None) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return OK if trial[1] == "trial-removed" else trial
        told: Any = value if math.isfinite(value) else str(value)
        kept = trial.reports.get((trial.attempt, step))
        if kept is not None and kept != told:
            return 409, "report-differs"
        if kept is not None and trial.state in (*FINISHED, "paused"):
            return OK
        verdict = self.speak(trial, token)
        if verdict == OK:
            trial.reports[trial.attempt, step] = told
        return verdict

    def heartbeat(self, number: int, token: str | None) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return OK if trial[1] == "trial-removed" else trial
        return self.speak(trial, token)

    def prunes(self, number: int, value: float) -> bool:
        """A report of what is not finite is not worth going on, where anybody decides about that."""
        trial = self.trials[number]
        return self.promotes and trial.state not in (*FINISHED, "paused", "removed") and not math.isfinite(value)

    def word(self, number: int) -> str | None:
        """Why a running trial hears `stop`."""
        trial = self.trials[number]
        if trial.state == "removed":
            return "trial-removed"
        if trial.state in (*FINISHED, "paused"):
            return None
        return "study-stopped" if self.state == "stopped" else "stop-requested" if trial.stop_requested else None

    def release(self, number: int, token: str | None) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return trial
        if trial.state in FINISHED:
            return 409, "trial-finished-differently"
        if token is not None and token != trial.token:
            return 409, "lease-lost"
        if trial.state == "waiting":
            return OK
        if trial.state != "running":
            return 409, "illegal-state"
        trial.state, trial.order, trial.is_released = "waiting", (GIVEN_BACK, self.tick()), True
        return OK

    # --- by hand ------------------------------------------------------------------------------------------------

    def stop_trial(self, number: int) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return trial
        if trial.state != "running":
            return 409, "illegal-state"
        trial.stop_requested = True
        return OK

    def retry(self, number: int) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return trial
        if trial.state not in ("failed", "lost"):
            return 409, "illegal-state"
        trial.state, trial.order, trial.expiries = "waiting", (ENQUEUED, self.tick()), 0
        trial.token = trial.noise = trial.cost = None
        return OK

    def correct(self, number: int, result: Result) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return trial
        if trial.state not in FINISHED:
            return 409, "illegal-state"
        trial.state, trial.values = result.outcome()
        trial.noise = trial.noise if result.noise is None else result.noise
        trial.cost = trial.cost if result.cost is None else result.cost
        return OK

    def remove(self, number: int) -> Verdict:
        trial = self.find(number)
        if isinstance(trial, tuple):
            return trial
        trial.state, trial.token, trial.order = "removed", None, None
        return 204, None

    def enqueue(self, params: Params) -> Verdict:
        if not self.space.is_legal(params, partial=True) or not self.space.is_completable(params):
            return 422, "space-violation"
        is_partial = set(params) != set(self.space.active(params))
        number = len(self.trials) + 1
        self.trials[number] = Trial(number, "waiting", params, is_partial, order=(ENQUEUED, self.tick()))
        return 201, None

    def import_one(self, params: Params, result: Result, *, keep: bool) -> Verdict:
        if not keep and not self.space.is_legal(params):
            return 422, "space-violation"
        state, values = result.outcome()
        number = len(self.trials) + 1
        self.trials[number] = Trial(number, state, params, values=values, noise=result.noise, cost=result.cost)
        return 201, None

    def edit(self, space: Space) -> list[int]:
        """The new space; the numbers of waiting trials that it does not allow."""
        if space == self.space:
            return []
        self.space = space
        self.space_version += 1
        dropped = []
        for trial in self.shown:
            if trial.state != "waiting":
                continue
            if not self.is_in_space(trial):
                dropped.append(trial.number)
                trial.state, trial.order = "removed", None
            elif trial.attempt == 0:
                known: Mapping[str, Any] = {n: v for n, v in trial.params.items() if n in space.parameters}
                trial.params = dict(known) if trial.is_partial else space.adapted(trial.params)
        return dropped


def _loss(reported: Any) -> float:
    return reported if isinstance(reported, float) else math.inf
