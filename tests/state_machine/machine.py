"""The machine: every rule is a call of the contract, made to the service and to the model, whose answers must agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, update

from app.db import tables
from app.db.session import EVERY_PROJECT, Store, database_now
from tests.state_machine.model import FINISHED, MAX_STEP, OK, PROMOTING, Params, Result, Space, Study, Trial, Verdict

UNIT = {"type": "float", "low": 0.0, "high": 1.0}
OPEN = {
    "x": UNIT,
    "kernel": {"type": "categorical", "choices": ["rbf", "poly"]},
    "degree": {"type": "int", "low": 1, "high": 3, "when": {"kernel": ["poly"]}},
}
ADDED = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}
#: Few enough to be exhausted: 8 pairs that the constraint allows, twice.
COUNTABLE = {
    "i": {"type": "int", "low": 1, "high": 3},
    "j": {"type": "int", "low": 1, "high": 3},
    "is_fast": {"type": "bool"},
}
MOST = 5
#: Of a trial, what the model knows as well.
FIELDS = ("state", "attempt", "params", "values", "noise", "cost", "until_step")

workers = st.sampled_from(["ada", "bob"])
numbers = st.integers(1, 12)
values = st.one_of(
    st.sampled_from([0.0, 1.0, -2.5, math.nan, math.inf, -math.inf]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
states = st.sampled_from(["failed", "infeasible", "pruned"])
told_states = st.sampled_from(["failed", "infeasible", "pruned", "paused", "paused"])
extras = st.one_of(st.none(), st.sampled_from([0.0, 0.5]))
results = st.one_of(
    st.builds(Result, value=values, noise=extras, cost=extras),
    st.builds(Result, state=states, noise=extras, cost=extras),
)
tellings = st.one_of(
    st.builds(Result, value=values, noise=extras, cost=extras),
    st.builds(Result, state=told_states, noise=extras, cost=extras),
)
#: Which token a call carries: the trial's, an older one, or none.
tokens = st.sampled_from(["right", "right", "stale", "none"])
open_params = st.one_of(
    st.fixed_dictionaries({"x": st.floats(0, 1), "kernel": st.just("rbf")}),
    st.fixed_dictionaries({"x": st.floats(0, 1), "kernel": st.just("poly"), "degree": st.integers(1, 3)}),
    st.fixed_dictionaries({"x": st.sampled_from([0.25, 0.75, 2.0])}),
    st.fixed_dictionaries({"kernel": st.sampled_from(["rbf", "poly"])}),
    st.just({}),
)
countable_params = st.fixed_dictionaries(
    {}, optional={"i": st.integers(1, 4), "j": st.integers(1, 3), "is_fast": st.booleans()}
)


class Service(Protocol):
    """Whatever answers the contract on one database."""

    store: Store

    def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]: ...


@dataclass(frozen=True)
class Kept:
    """A call that was made under an Idempotency-Key, and what came of it."""

    path: str
    body: Any
    numbers: tuple[int, ...]
    attempts: tuple[int, ...]
    status: int


class StudyMachine(RuleBasedStateMachine):
    service: ClassVar[Service]
    names: ClassVar[Iterator[str]] = (f"study-{k}" for k in itertools.count())

    @initialize(
        algorithm=st.sampled_from(["random", "random", "sobol", "gp", "grid"]),
        is_countable=st.booleans(),
        max_trials=st.one_of(st.none(), st.none(), st.integers(1, 8)),
        max_retries=st.sampled_from([1, 3]),
        promotes=st.sampled_from([True, True, False]),
    )
    def create(
        self, algorithm: str, is_countable: bool, max_trials: int | None, max_retries: int, promotes: bool
    ) -> None:
        is_countable = is_countable or algorithm == "grid"
        self.algorithm = algorithm
        self.is_countable = is_countable
        space = Space(COUNTABLE, MOST) if is_countable else Space(OPEN)
        self.study = Study(space, max_retries, max_trials, promotes)
        self.name = next(self.names)
        self.kept: dict[str, Kept] = {}
        self.seen_tokens: set[str] = set()
        self.old_tokens: dict[int, str] = {}
        self.definition = {
            "space": space.parameters,
            "constraints": [f"i + j <= {MOST}"] if is_countable else [],
            "algorithm": algorithm,
            "seed": 1,
            "max_retries": max_retries,
            "pruning": PROMOTING if promotes else "off",
            "stop": {} if max_trials is None else {"max_trials": max_trials},
        }
        self.call("PUT", "", self.definition, expect=(201, None))

    # --- calling ------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, expect: Verdict = OK, key: str | None = None) -> Any:
        headers = {} if key is None else {"Idempotency-Key": f"{self.name}-{key}"}
        status, answer = self.service.send(method, f"/v1/studies/{self.name}{path}", body, headers)
        code = answer.get("code") if isinstance(answer, dict) and status >= 400 else None
        assert (status, code) == expect, (method, path, body, answer)
        return answer

    def on_trial(self, method: str, number: int, path: str, body: Any, expect: Verdict) -> Any:
        return self.call(method, f"/trials/{number}{path}", body, expect=expect)

    def token(self, number: int, which: str) -> str | None:
        trial = self.study.trials.get(number)
        if which == "none" or trial is None:
            return None
        return self.old_tokens.get(number, "no-such-token") if which == "stale" else trial.token

    def lease(self, token: str | None) -> dict[str, str]:
        return {} if token is None else {"lease": token}

    def agree(self, shown: Any, number: int) -> None:
        """The service's trial is the model's. A token is shown nowhere but where it is handed out."""
        trial = self.study.trials[number]
        assert shown["number"] == number
        there = {name: shown[name] for name in FIELDS}
        mine = {name: getattr(trial, name) for name in there}
        assert there == mine, (number, there, mine)
        if trial.state == "running":
            assert shown["worker"] == trial.worker
        else:
            assert shown["lease"] is None

    # --- ask ----------------------------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 3),
        worker=st.one_of(st.none(), workers),
        resume=st.booleans(),
        is_fixed=st.sampled_from([False, False, False, True]),
        key=st.one_of(st.none(), st.sampled_from("abcdef")),
        is_urgent=st.booleans(),
        after_expiry=st.sampled_from([False, False, False, True]),
    )
    def ask(
        self,
        count: int,
        worker: str | None,
        resume: bool,
        is_fixed: bool,
        key: str | None,
        is_urgent: bool,
        after_expiry: bool,
    ) -> None:
        body: dict[str, Any] = {"count": count}
        if worker is not None:
            body |= {"worker": worker, "resume": resume}
        if is_fixed:
            body["fixed"] = {"i": 1} if self.is_countable else {"kernel": "rbf"}
        if is_urgent and self.algorithm == "gp":
            body["deadline_seconds"] = 0.0
        if after_expiry:
            self.age_leases()
        if key is not None and key in self.kept:
            self.repeat(key)
            return
        answer = self.call("POST", "/ask", body, key=key)
        handed = answer["trials"]
        self.check_hand_out(handed, body)
        if not handed:
            self.check_reason(answer, is_fixed=is_fixed)
        if key is not None:
            attempts = tuple(trial["attempt"] for trial in handed)
            self.kept[key] = Kept("/ask", body, tuple(trial["number"] for trial in handed), attempts, 200)

    def check_hand_out(self, handed: list[Any], body: dict[str, Any]) -> None:
        """Own live trials, waiting ones in their order, new ones under the next numbers; as many as there may be."""
        study, fixed = self.study, body.get("fixed", {})
        left = list(handed)
        if study.state != "active":
            assert left == []
            return
        if body.get("resume"):
            mine = [t for t in study.shown if t.state == "running" and t.worker == body["worker"]][: body["count"]]
            for trial in mine:
                self.take(left.pop(0), trial, body)
        count = body["count"] - (len(handed) - len(left))
        budget = study.left()
        room = count if budget is None else min(count, budget)
        if not fixed:
            for trial in study.waiting()[:room]:
                if trial.is_partial and not self.complete(trial, left):
                    continue
                self.take(left.pop(0), trial, body)
                room, count = room - 1, count - 1
            for trial in study.promotable()[:count] if study.promotes else ():
                self.take(left.pop(0), trial, body)
                count -= 1
        for _ in range(min(room, count)):
            unused = study.unused(fixed)
            if unused == []:
                break
            params = left[0]["params"]
            assert study.space.is_legal(params), params
            assert fixed.items() <= params.items()
            assert params not in [t.params for t in study.tried], "a configuration twice"
            trial = study.add_new(params)
            self.take(left.pop(0), trial, body)
        if not handed or len(left) == len(handed) == 1:
            self.check_last_hope(left, body)
        assert left == [], "more than there should be"

    def check_last_hope(self, left: list[Any], body: dict[str, Any]) -> None:
        """An ask that found nothing else sends the best paused trial to the end, if no trial has come there."""
        hope = self.study.last_hope() if self.study.promotes and not body.get("fixed") else []
        assert len(left) == len(hope)
        for trial in hope:
            self.take(left.pop(0), trial, body)

    def complete(self, trial: Trial, left: list[Any]) -> bool:
        """An enqueued trial that was given in part gets the rest; False: there is none, and it ends infeasible."""
        if not self.study.space.is_completable(trial.params):
            trial.state, trial.order = "infeasible", None
            return False
        params = left[0]["params"]
        assert trial.params.items() <= params.items()
        assert self.study.space.is_legal(params)
        trial.params, trial.is_partial = params, False
        return True

    def take(self, shown: Any, trial: Trial, body: dict[str, Any]) -> None:
        token = shown["lease"]["token"]
        assert token
        assert token not in self.seen_tokens
        self.seen_tokens.add(token)
        if trial.token is not None:
            self.old_tokens[trial.number] = trial.token
        self.study.hand_out(trial, token, body.get("worker"))
        self.agree(shown, trial.number)

    def check_reason(self, answer: Any, *, is_fixed: bool) -> None:
        study = self.study
        n_running = study.counts()["running"]
        if study.state == "stopped":
            assert (answer["done"], answer["reason"]) == (True, "stopped")
        elif study.state == "paused":
            assert (answer["done"], answer["reason"]) == (False, "paused")
        elif n_running:
            assert (answer["done"], answer["reason"]) == (False, "waiting-for-running")
        else:
            assert answer["reason"] in ("max_trials", "space-exhausted")
            others = study.promotes and bool(study.promotable() or study.last_hope())
            assert answer["done"] == (not is_fixed or (answer["reason"] == "max_trials" and not others))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def call_again_under_the_same_key(self, data: st.DataObject) -> None:
        self.repeat(data.draw(st.sampled_from(sorted(self.kept))))

    def repeat(self, key: str) -> None:
        """The first answer again: the same trials as they are now, tokens only for those still in the same hands."""
        kept = self.kept[key]
        is_gone = [self.study.trials[number].state == "removed" for number in kept.numbers]
        if kept.path == "/trials" and any(is_gone):
            self.call("POST", kept.path, kept.body, key=key, expect=(404, "trial-removed"))
            return
        answer = self.call("POST", kept.path, kept.body, key=key, expect=(kept.status, None))
        shown = answer["trials"] if kept.path == "/ask" else [answer]
        there = [
            (number, attempt)
            for number, attempt, gone in zip(kept.numbers, kept.attempts, is_gone, strict=True)
            if not gone
        ]
        assert [trial["number"] for trial in shown] == [number for number, _ in there]
        for trial, (number, attempt) in zip(shown, there, strict=True):
            self.agree(trial, number)
            mine = self.study.trials[number]
            if mine.state == "running":
                token = mine.token if kept.path == "/ask" and attempt == mine.attempt else None
                assert trial["lease"]["token"] == token

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def another_call_under_the_same_key(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.kept)))
        self.call("POST", "/ask", {"count": 7}, key=key, expect=(422, "idempotency-key-reused"))

    # --- results ------------------------------------------------------------------------------------------------

    @rule(number=numbers, result=tellings, which=tokens, after_expiry=st.sampled_from([False, False, False, True]))
    def tell(self, number: int, result: Result, which: str, after_expiry: bool) -> None:
        if after_expiry:
            self.age_leases()
            self.call("GET", "")  # whoever looks counts the leases that ran out
        token = self.token(number, which)
        expect = self.study.tell(number, result, token)
        answer = self.on_trial("POST", number, "/tell", result.body() | self.lease(token), expect)
        if expect == OK:
            self.agree(answer, number)

    @rule(number=numbers, result=tellings)
    def tell_twice(self, number: int, result: Result) -> None:
        first = self.study.tell(number, result, None)
        self.on_trial("POST", number, "/tell", result.body(), first)
        again = self.study.tell(number, result, None)
        assert first != OK or again == OK
        self.on_trial("POST", number, "/tell", result.body(), again)

    @rule(told=st.lists(st.tuples(numbers, tellings, tokens), min_size=1, max_size=4))
    def tell_many(self, told: list[tuple[int, Result, str]]) -> None:
        expected, body = [], []
        for number, result, which in told:
            token = self.token(number, which)
            expected.append(self.study.tell(number, result, token))
            body.append({"number": number, **result.body(), **self.lease(token)})
        answers = self.call("POST", "/tell", {"results": body})["results"]
        found = [(one["status"], one["problem"]["code"] if one["problem"] else None) for one in answers]
        assert found == expected
        assert [one["number"] for one in answers] == [number for number, _, _ in told]

    @rule(number=numbers, step=st.integers(0, 4), value=values, which=tokens)
    def report(self, number: int, step: int, value: float, which: str) -> None:
        token = self.token(number, which)
        expect = self.study.report(number, step, value, token)
        shown = value if math.isfinite(value) else str(value)
        body = {"step": step, "value": shown} | self.lease(token)
        answer = self.on_trial("POST", number, "/report", body, expect)
        if expect == OK and self.study.prunes(number, value):
            assert (answer["prune"], answer["stop"]) == (True, self.study.word(number) is not None)
        else:
            self.check_word(answer, number, expect)

    @precondition(lambda self: self.study.promotes)
    @rule(count=st.integers(1, 4), rounds=st.integers(1, 3), value=st.integers(0, 3), cost=extras)
    def work(self, count: int, rounds: int, value: int, cost: float | None) -> None:
        """Workers ask, and every running trial goes where it was sent to: to pause there, or to its end."""
        for k in range(rounds):
            answer = self.call("POST", "/ask", {"count": count})
            self.check_hand_out(answer["trials"], {"count": count})
            for trial in [t for t in self.study.shown if t.state == "running"]:
                self.climb(trial, (value + k + trial.number) % 4 / 2.0, cost)

    def climb(self, trial: Trial, value: float, cost: float | None) -> None:
        number, token, step = trial.number, trial.token, trial.until_step or MAX_STEP
        body = {"step": step, "value": value} | self.lease(token)
        self.on_trial("POST", number, "/report", body, self.study.report(number, step, value, token))
        is_last = trial.until_step is None
        result = Result(value=value, cost=cost) if is_last else Result(state="paused", cost=cost)
        expect = self.study.tell(number, result, token)
        self.on_trial("POST", number, "/tell", result.body() | self.lease(token), expect)

    @rule(number=numbers, which=tokens, after_expiry=st.booleans())
    def heartbeat(self, number: int, which: str, after_expiry: bool) -> None:
        if after_expiry:
            self.age_leases()
            self.call("GET", "")
        token = self.token(number, which)
        expect = self.study.heartbeat(number, token)
        self.check_word(self.on_trial("POST", number, "/heartbeat", self.lease(token), expect), number, expect)

    def check_word(self, answer: Any, number: int, expect: Verdict) -> None:
        if expect == OK:
            reason = self.study.word(number)
            assert (answer["stop"], answer["reason"]) == (reason is not None, reason)

    # --- by hand ------------------------------------------------------------------------------------------------

    @rule(number=numbers, which=tokens)
    def release(self, number: int, which: str) -> None:
        token = self.token(number, which)
        self.on_trial("POST", number, "/release", self.lease(token), self.study.release(number, token))

    @rule(number=numbers)
    def stop_trial(self, number: int) -> None:
        self.on_trial("POST", number, "/stop", {}, self.study.stop_trial(number))

    @rule(number=numbers)
    def retry(self, number: int) -> None:
        trial = self.study.trials.get(number)
        if trial is not None and trial.token is not None:
            self.old_tokens[number] = trial.token
        self.on_trial("POST", number, "/retry", {}, self.study.retry(number))

    @rule(number=numbers, value=values, noise=extras)
    def correct(self, number: int, value: float, noise: float | None) -> None:
        result = Result(value=value, noise=noise)
        expect = self.study.correct(number, result)
        answer = self.on_trial("PATCH", number, "", result.body(), expect)
        if expect == OK:
            self.agree(answer, number)

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        self.on_trial("DELETE", number, "", None, self.study.remove(number))

    @rule(data=st.data(), key=st.one_of(st.none(), st.sampled_from("uvw")))
    def enqueue(self, data: st.DataObject, key: str | None) -> None:
        params = data.draw(countable_params if self.is_countable else open_params)
        if key is not None and key in self.kept:
            self.repeat(key)
            return
        expect = self.study.enqueue(params)
        answer = self.call("POST", "/trials", {"params": params}, expect=expect, key=key)
        if expect[0] == 201:
            number = len(self.study.trials)
            self.agree(answer, number)
            if key is not None:
                self.kept[key] = Kept("/trials", {"params": params}, (number,), (0,), 201)

    @rule(data=st.data(), result=results, keep=st.booleans())
    def import_one(self, data: st.DataObject, result: Result, keep: bool) -> None:
        params: Params = data.draw(countable_params if self.is_countable else open_params)
        if keep and not self.study.space.is_legal(params):
            return  # what is kept outside has a place of its own in the model's space: not worth its complexity
        body = {"params": params, **result.body(), "outside": "keep" if keep else "refuse"}
        expect = self.study.import_one(params, result, keep=keep)
        answer = self.call("POST", "/trials", body, expect=expect)
        if expect[0] == 201:
            self.agree(answer, len(self.study.trials))

    # --- the study ----------------------------------------------------------------------------------------------

    @rule(state=st.sampled_from(["active", "active", "active", "paused", "stopped"]))
    def set_state(self, state: str) -> None:
        self.study.state = state
        assert self.call("PATCH", "", {"state": state})["state"] == state

    @rule(max_trials=st.one_of(st.none(), st.integers(1, 12)))
    def set_budget(self, max_trials: int | None) -> None:
        self.study.max_trials = max_trials
        self.call("PATCH", "", {"stop": {} if max_trials is None else {"max_trials": max_trials}})

    @rule(high=st.sampled_from([2, 3]), add=st.booleans(), dry_run=st.booleans())
    def edit_space(self, high: int, add: bool, dry_run: bool) -> None:
        parameters = dict(self.study.space.parameters)
        edit: dict[str, Any]
        if self.is_countable:
            edit = {"i": {"high": high}}
            parameters["i"] = parameters["i"] | {"high": high}
        else:
            edit = {"x": {"high": float(high - 1)}, "y": ADDED if add else None}
            parameters["x"] = parameters["x"] | {"high": float(high - 1)}
            parameters.pop("y", None)
            parameters |= {"y": ADDED} if add else {}
        path = "/space?dry_run=true" if dry_run else "/space"
        answer = self.call("PATCH", path, edit)
        if not dry_run:
            assert answer["dropped_trials"] == self.study.edit(Space(parameters, self.study.space.most))
        assert answer["space_version"] == self.study.space_version

    @rule()
    def join(self) -> None:
        """The definition that the study was made with joins it, whatever became of its space."""
        self.call("PUT", "", self.definition)

    @rule()
    def age_and_look(self) -> None:
        self.age_leases()

    def age_leases(self) -> None:
        """Every lease runs out now: the rows are aged, no test waits for a clock."""
        with self.service.store.write(EVERY_PROJECT) as session:
            now = session.execute(select(database_now())).scalar_one()
            study_id = select(tables.Study.id).where(tables.Study.name == self.name).scalar_subquery()
            session.execute(
                update(tables.Trial)
                .where(tables.Trial.study_id == study_id, tables.Trial.state == "running")
                .values(lease_expires_at=now)
            )
        self.study.expire()

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        self.check_what_is_shown()
        self.check_the_database()  # behind it: whoever looks counts the leases that ran out

    def check_what_is_shown(self) -> None:
        study = self.call("GET", "")
        assert study["counts"] == self.study.counts()
        assert (study["state"], study["space_version"]) == (self.study.state, self.study.space_version)
        assert (study["best"] and study["best"]["number"]) == self.study.best()
        items = self.call("GET", "/trials?limit=1000")["items"]
        assert [item["number"] for item in items] == [trial.number for trial in self.study.shown]
        for item in items:
            self.agree(item, item["number"])
            assert item["lease"] is None or item["lease"]["token"] is None

    def check_the_database(self) -> None:
        with self.service.store.read(EVERY_PROJECT) as session:
            study = session.scalars(select(tables.Study).where(tables.Study.name == self.name)).one()
            rows = session.scalars(select(tables.Trial).where(tables.Trial.study_id == study.id)).all()
            events = session.scalars(
                select(tables.Event).where(tables.Event.study_id == study.id).order_by(tables.Event.revision)
            ).all()
        assert study.next_number == len(self.study.trials) + 1
        assert {row.number: row.state for row in rows} == {n: trial.state for n, trial in self.study.trials.items()}
        assert [event.revision for event in events] == list(range(1, study.revision + 1))
        last = {event.number: event.state for event in events if event.type.startswith("trial.")}
        assert last == {n: trial.state for n, trial in self.study.trials.items()}
        assert study.n_imported == sum(row.attempt == 0 and row.state in FINISHED for row in rows)
