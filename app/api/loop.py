"""The loop: ask, tell, report, heartbeat, release."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import ConfigDict, Field, ValidationError, model_validator

from app.api.body import with_shortcut
from app.api.dependencies import AddressDep, Number, OnceDep, StoreDep, router_of
from app.api.desk import Desk
from app.api.problems import Problem, field_error, problem_body
from app.api.shortcut import answer_to, usual_address, usual_body, usual_number, usual_once
from app.api.trials import Nothing, Scalar, Told, TrialOut, with_uid
from app.api.wire import Answer, Body, Lease, Measured, Metadata, Time, Uid, Word
from app.db import studies
from app.db.session import Store
from app.db.studies import Address
from app.errors import AppError, Invalid, NotAcceptable
from app.measurement import Result
from app.services import move_trial, report
from app.services.ask import AskCall, Asked

router = router_of("/v1/studies/{study}", tags=["loop"])


# --- ask --------------------------------------------------------------------------------------------------------


class Ask(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"count": 1, "worker": "node-3", "lease_seconds": 600}]})

    count: Annotated[int, Field(ge=1, le=1000)] = 1
    worker: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    lease_seconds: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] = 86_400.0
    deadline_seconds: Annotated[
        float | None,
        Field(ge=0, le=3600, allow_inf_nan=False, description="The answer leaves by then; null: when it is ready"),
    ] = None
    resume: Annotated[bool, Field(description="Hand the worker's own live trials out again first")] = False
    fixed: dict[Word, Scalar] = Field(default_factory=dict)
    study_uid: Uid = None

    @model_validator(mode="after")
    def _resume_needs_worker(self) -> Ask:
        if self.resume and self.worker is None:
            raise ValueError("resume needs `worker`: whose trials are to be taken up again?")
        return self


class AskedOut(Answer):
    trials: list[TrialOut]
    done: Annotated[bool, Field(description="Nothing can come any more")]
    reason: str | None
    retry_after_seconds: float | None = None
    study_uid: str

    @classmethod
    def of(cls, asked: Asked) -> AskedOut:
        return cls.model_construct(
            trials=[
                TrialOut.of(trial, token=trial.number in asked.held, reports=asked.reports.get(trial.number))
                for trial in asked.trials
            ],
            done=asked.done,
            reason=asked.reason,
            retry_after_seconds=asked.retry_after_seconds,
            study_uid=asked.study_uid,
        )


PLAIN = {
    "text/plain": {
        "schema": {"type": "string"},
        "example": "number='12'\nlease='kX3…'\ndone='false'\nreason=''\nlr='0.01'\n",
    }
}


async def _ask(request: Request) -> Response:
    address, body = usual_address(request), await usual_body(request, Ask, default=Ask())
    return answer_to(await ask_for_trials(request, address, await usual_once(request), body))


@router.post(
    "/ask",
    summary="Ask for the next configurations",
    responses={200: {"content": PLAIN}, 406: {"model": Problem}},
    response_model=AskedOut,
)
@with_shortcut(_ask)
async def ask_for_trials(
    request: Request, address: AddressDep, once: OnceDep, body: Ask | None = None
) -> AskedOut | Response:
    """An empty body is fine. Hands out, in this order: with `resume` the worker's own live trials, trials whose lease
    ran out, enqueued ones, paused ones that are promoted, new ones. `Accept: text/plain` answers lines for a shell's
    `eval`.
    """
    body = body or Ask()
    desk: Desk = request.app.state.desk
    in_shell = _wants_plain_text(request)
    if in_shell:
        await _check_shell(desk.store, address, body)
    call = AskCall(
        count=body.count,
        worker=body.worker,
        lease_seconds=body.lease_seconds,
        resume=body.resume,
        fixed=body.fixed,
        uid=body.study_uid or address.uid,
        once=once,
    )
    asked = await desk.ask(address, call, body.deadline_seconds)
    return PlainTextResponse(shell_lines(asked)) if in_shell else AskedOut.of(asked)


def _wants_plain_text(request: Request) -> bool:
    accept = request.headers.get("accept", "*/*")
    kinds = [kind.partition(";")[0].strip().lower() for kind in accept.split(",")]
    if any(kind in ("*/*", "application/*", "application/json", "") for kind in kinds):
        return "text/plain" in kinds and kinds.index("text/plain") == 0
    if "text/plain" in kinds or "text/*" in kinds:
        return True
    raise NotAcceptable(f"ask answers application/json or text/plain, not {accept[:100]!r}")


_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset({"number", "lease", "done", "reason", "PATH", "IFS"})


async def _check_shell(store: Store, address: Address, body: Ask) -> None:
    """Before anything is handed out.  Raises: NotAcceptable."""
    if body.count != 1:
        raise NotAcceptable("text/plain answers one trial at a time; ask with count 1, or for application/json")

    def names() -> list[str]:
        with store.read(address.project_id) as session:
            return list(studies.open_study(session, address).definition.space.parameters)

    for name in await run_sync(names):
        if not _SHELL_NAME.fullmatch(name) or name in _RESERVED or name.startswith("LD_"):
            raise NotAcceptable(
                f"parameter {name!r} cannot be a shell variable; ask for application/json", parameter=name
            )


def shell_lines(asked: Asked) -> str:
    """`key='value'` lines, every value in POSIX single quotes."""
    trial = asked.trials[0] if asked.trials else None
    pairs: dict[str, Any] = {
        "number": trial.number if trial else "",
        "lease": trial.lease_token if trial and trial.number in asked.held else "",
        "done": asked.done,
        "reason": asked.reason or "",
    }
    if trial:  # a parameter that is not active must not keep its value from the trial before
        pairs |= dict.fromkeys(asked.parameters, "") | trial.params
    return "".join(f"{name}={shell_quote(value)}\n" for name, value in pairs.items())


def shell_quote(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "'\\''") + "'"


# --- tell -------------------------------------------------------------------------------------------------------


class Tell(Told):
    """A value (or values), or a state with a reason."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"value": 0.97},
                {"values": {"accuracy": 0.97, "latency_ms": 12}},
                {"state": "failed", "reason": "out of memory"},
                {"state": "paused"},
            ]
        }
    )

    state: Annotated[
        Literal["complete", "failed", "infeasible", "pruned", "paused"] | None, Field(description="Left out: complete")
    ] = None
    metadata: Metadata = Field(default_factory=dict)
    lease: Lease = None
    study_uid: Uid = None

    def result(self, number: int) -> Result:
        return Result(
            number=number,
            state=self.state or "complete",
            value=self.value,
            values=self.values,
            noise=self.noise,
            cost=self.cost,
            metadata=self.metadata,
            reason=self.reason,
            lease=self.lease,
        )


async def _tell(request: Request) -> Response:
    address, number = usual_address(request), usual_number(request)
    return answer_to(await tell_trial(request, address, number, await usual_body(request, Tell)))


@router.post("/trials/{number}/tell", summary="Tell how a trial ended")
@with_shortcut(_tell)
async def tell_trial(request: Request, address: AddressDep, number: Number, body: Tell) -> TrialOut:
    """Idempotent: the same result again is 200, another 409 `trial-finished-differently`, and the first stands.

    `paused` is for a trial that reported its `until_step`; a later ask may hand it out again to go further.
    """
    desk: Desk = request.app.state.desk
    return TrialOut.of(await desk.tell(with_uid(address, body.study_uid), body.result(number)))


class TellMany(Body):
    results: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1000)]
    study_uid: Uid = None


class NumberedTell(Tell):
    number: Annotated[int, Field(ge=1, le=2**53)]


class ResultOut(Answer):
    number: int | None
    status: int
    trial: TrialOut | None = None
    problem: Problem | None = None


class ResultsOut(Answer):
    results: list[ResultOut]


@router.post(
    "/tell",
    summary="Tell the results of many trials",
    openapi_extra={
        "requestBody": {
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["results"],
                        "additionalProperties": False,
                        "properties": {
                            "results": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 1000,
                                "items": {"type": "object", "additionalProperties": True},
                            },
                            "study_uid": {"anyOf": [{"type": "string", "maxLength": 64}, {"type": "null"}]},
                        },
                    },
                    "example": {
                        "results": [
                            {"number": 3, "value": 1.2},
                            {"number": 4, "state": "failed", "reason": "no memory"},
                        ]
                    },
                }
            }
        }
    },
)
def tell_trials(request: Request, address: AddressDep, body: TellMany) -> ResultsOut:
    """Answers in the order given; each takes effect or fails by itself."""
    numbers: list[int | None] = []
    read: list[Result | AppError] = []
    for one in body.results:
        number = one.get("number")
        numbers.append(number if isinstance(number, int) and not isinstance(number, bool) else None)
        read.append(_read_result(one))
    results = [result for result in read if isinstance(result, Result)]
    desk: Desk = request.app.state.desk
    told = iter(desk.tell_many(with_uid(address, body.study_uid), results))
    answers = [next(told) if isinstance(result, Result) else result for result in read]
    return ResultsOut(results=[_result_out(number, answer) for number, answer in zip(numbers, answers, strict=True)])


def _read_result(one: dict[str, Any]) -> Result | AppError:
    try:
        given = NumberedTell.model_validate(one)
        return given.result(given.number)
    except ValidationError as invalid:
        found = [field_error({**error, "loc": ("body", *error["loc"])}) for error in invalid.errors()]
        return Invalid(f"{found[0].pointer or 'the result'}: {found[0].detail}", errors=found)
    except AppError as wrong:
        return wrong


def _result_out(number: int | None, answer: Any) -> ResultOut:
    if isinstance(answer, AppError):
        body = problem_body(answer)
        return ResultOut(number=number, status=body["status"], problem=Problem.model_validate(body))
    return ResultOut.model_construct(number=number, status=200, trial=TrialOut.of(answer), problem=None)


# --- on the way -------------------------------------------------------------------------------------------------


class ReportBody(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"step": 3, "value": 0.81}]})

    step: Annotated[int, Field(ge=0, le=2**53)]
    value: Measured | None = None
    values: dict[Word, Measured] | None = None
    lease: Lease = None
    study_uid: Uid = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ReportBody:
        if (self.value is None) == (self.values is None):
            raise ValueError("report `value`, or with several objectives `values`")
        return self


class Heartbeat(Body):
    checkpoint: Annotated[str | None, Field(max_length=4096, description="Where the last checkpoint is")] = None
    metadata: Metadata = Field(default_factory=dict)
    lease: Lease = None
    study_uid: Uid = None


class LeaseEnd(Answer):
    expires_at: Time


class WordOut(Answer):
    """What a running trial hears."""

    prune: Annotated[bool, Field(description="Not worth going on: tell `pruned`")]
    stop: Annotated[bool, Field(description="The study ended, the trial was removed, or somebody asked it to stop")]
    reason: str | None
    rung: int | None
    lease: LeaseEnd | None

    @classmethod
    def of(cls, word: report.Word) -> WordOut:
        lease = None if word.lease_expires_at is None else LeaseEnd(expires_at=word.lease_expires_at)
        return cls(prune=word.prune, stop=word.stop, reason=word.reason, rung=word.rung, lease=lease)


@router.post("/trials/{number}/report", summary="Report a value on the way")
def report_value(address: AddressDep, number: Number, body: ReportBody, store: StoreDep) -> WordOut:
    """Extends the lease. The same value of a step again is 200, another 409 `report-differs`."""
    address = with_uid(address, body.study_uid)
    return WordOut.of(
        report.report(store, address, number, step=body.step, values=body.values, value=body.value, lease=body.lease)
    )


@router.post("/trials/{number}/heartbeat", summary="Say that a trial still runs")
def beat(address: AddressDep, number: Number, store: StoreDep, body: Heartbeat | None = None) -> WordOut:
    body = body or Heartbeat()
    address = with_uid(address, body.study_uid)
    return WordOut.of(
        report.heartbeat(store, address, number, checkpoint=body.checkpoint, metadata=body.metadata, lease=body.lease)
    )


class Release(Nothing):
    lease: Lease = None


@router.post("/trials/{number}/release", summary="Give a running trial back")
def release_trial(address: AddressDep, number: Number, store: StoreDep, body: Release | None = None) -> TrialOut:
    """It waits for the next asker, with its reports and checkpoint."""
    body = body or Release()
    return TrialOut.of(move_trial.release(store, with_uid(address, body.study_uid), number, lease=body.lease))
