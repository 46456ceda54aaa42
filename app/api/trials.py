"""Trials as a resource: read, list, bring along, correct, remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import ConfigDict, Field, model_validator

from app.api.dependencies import AddressDep, Number, OnceDep, StoreDep, router_of
from app.api.wire import (
    After,
    Answer,
    Body,
    GivenTime,
    Limit,
    Measured,
    Metadata,
    NotNegative,
    Page,
    Text,
    Time,
    Uid,
    Word,
    cursor,
    read_cursor,
)
from app.db import trials
from app.db.reclaim import reading
from app.db.reports import reports_of
from app.db.studies import Address
from app.db.tables import Report, Trial
from app.errors import FieldError, Invalid, InvalidMeasurement
from app.lifecycle import FinishedState, Source
from app.measurement import Result
from app.services import move_trial
from app.services.add_trials import Given, add

router = router_of("/v1/studies/{study}/trials", tags=["trials"])

Scalar = bool | int | float | str
MAX_AT_ONCE = 10_000


class Origin(Answer):
    """Where the parameters come from."""

    source: Source
    prior_weight: float = 0.0
    speculated: bool = False
    why: str | None = None
    exploration: Annotated[float | None, Field(description="Share of the expected improvement owed to uncertainty")] = (
        None
    )


class LeaseOut(Answer):
    token: Annotated[str | None, Field(description="Only in the answer that hands the trial out")] = None
    expires_at: Time


class ReportOut(Answer):
    step: int
    attempt: int
    values: dict[str, float | str]
    created_at: Time


class TrialOut(Answer):
    number: int
    state: Literal["waiting", "running", "paused", "complete", "pruned", "failed", "infeasible", "lost"]
    attempt: int
    params: dict[str, Scalar]
    values: dict[str, float] | None
    feasible: bool | None
    noise: float | None
    cost: float | None
    metadata: dict[str, Any]
    reason: str | None
    origin: Origin
    space_version: int
    worker: str | None
    lease: LeaseOut | None
    checkpoint: str | None
    until_step: int | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    reports: Annotated[
        list[ReportOut] | None, Field(description="In the answer for one trial, and when it is taken up again")
    ] = None

    @classmethod
    def of(cls, trial: Trial, *, token: bool = False, reports: Sequence[Report] | None = None) -> TrialOut:
        lease = None
        if trial.state == "running" and trial.lease_expires_at is not None:
            lease = LeaseOut.model_construct(
                token=trial.lease_token if token else None, expires_at=trial.lease_expires_at
            )
        return cls.model_construct(
            number=trial.number,
            state=trial.state,  # type: ignore[arg-type]
            attempt=trial.attempt,
            params=trial.params,
            values=trial.values,
            feasible=trial.feasible,
            noise=trial.noise,
            cost=trial.cost,
            metadata=trial.info,
            reason=trial.reason,
            origin=Origin.model_construct(**trial.origin),
            space_version=trial.space_version,
            worker=trial.worker,
            lease=lease,
            checkpoint=trial.checkpoint,
            until_step=trial.until_step,
            created_at=trial.created_at,
            started_at=trial.started_at,
            finished_at=trial.finished_at,
            reports=None if reports is None else [ReportOut.model_validate(report) for report in reports],
        )


# --- reading ----------------------------------------------------------------------------------------------------

ShownState = Literal["waiting", "running", "paused", "complete", "pruned", "failed", "infeasible", "lost"]


@router.get("", summary="List trials")
def list_trials(
    address: AddressDep,
    store: StoreDep,
    state: Annotated[list[ShownState] | None, Query(description="Only these states; may be repeated")] = None,
    order_by: Literal["number", "value", "-value"] = "number",
    limit: Limit = 100,
    after: After = None,
) -> Page[TrialOut]:
    """By number the list stays right while rows arrive; by value it is a snapshot, trials without a value last."""
    last: tuple[float | None, int] | None = None
    if after is not None and order_by == "number":
        last = (None, read_cursor(after, int)[0])
    elif after is not None:
        value, number = read_cursor(after, (float, int, type(None)), int)
        last = (None if value is None else float(value), number)
    with reading(store, address) as here:
        if order_by != "number" and not here.definition.is_single:
            raise Invalid("a study with several objectives has no order by value; see /pareto")
        found = trials.page(here, states=state or (), order=order_by, after=last, limit=limit + 1)
    items = [TrialOut.of(trial) for trial in found[:limit]]
    if len(found) <= limit:
        return Page(items=items)
    end = found[limit - 1]
    return Page(items=items, next=cursor(end.number) if order_by == "number" else cursor(end.value, end.number))


@router.get("/{number}", summary="Read one trial, with its reports")
def get_trial(address: AddressDep, number: Number, store: StoreDep) -> TrialOut:
    with reading(store, address) as here:
        trial = trials.get(here, number)
        return TrialOut.of(trial, reports=reports_of(here.session, trial))


# --- bringing trials along --------------------------------------------------------------------------------------


class Told(Body):
    """The numbers of a result. `value` is short for `values` where the study measures one thing."""

    value: Measured | None = None
    values: dict[Word, Measured] | None = None
    noise: Annotated[NotNegative | None, Field(description="Standard error of the value")] = None
    cost: NotNegative | None = None
    reason: Text | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Told:
        if self.value is not None and self.values is not None:
            raise ValueError("tell `value` or `values`, not both")
        return self


class ReportIn(Body):
    step: Annotated[int, Field(ge=0, le=2**53)]
    value: Measured


class TrialIn(Told):
    """Parameters alone enqueue a trial; with a value or a finished state it is imported."""

    params: Annotated[dict[Word, Scalar], Field(description="May be given in part when enqueued")]
    state: FinishedState | None = None
    reports: Annotated[list[ReportIn], Field(max_length=10_000)] = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)
    outside: Annotated[Literal["refuse", "keep"], Field(description="Of an import: keep params outside the space")] = (
        "refuse"
    )
    created_at: GivenTime | None = None
    started_at: GivenTime | None = None
    finished_at: GivenTime | None = None

    def given(self) -> Given:
        is_result = self.state is not None or self.value is not None or self.values is not None
        if not is_result:
            of_results = sorted(
                self.model_fields_set & {"noise", "cost", "reason", "reports", "outside", "started_at", "finished_at"}
            )
            if of_results:
                raise InvalidMeasurement(
                    f"{', '.join(of_results)}: only with a value or a finished state; without, the trial is enqueued",
                    errors=[FieldError(f"/{name}", "needs a value or a finished state") for name in of_results],
                )
        reports = {report.step: report.value for report in self.reports}
        if len(reports) != len(self.reports):
            raise InvalidMeasurement("a step may be reported once", errors=[FieldError("/reports", "has a step twice")])
        result = Result(0, self.state or "complete", self.value, self.values, self.noise, self.cost, reason=self.reason)
        return Given(
            params=self.params,
            result=result if is_result else None,
            reports=reports,
            outside=self.outside,
            metadata=self.metadata,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )


class TrialsIn(TrialIn):
    """One trial, or `trials`: many at once, all or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"params": {"lr": 0.01}}, {"trials": [{"params": {"lr": 0.1, "layers": 2}, "value": 0.4}]}]
        }
    )

    params: Annotated[dict[Word, Scalar] | None, Field(description="May be given in part when enqueued")] = None  # type: ignore[assignment]
    trials: Annotated[list[TrialIn] | None, Field(min_length=1, max_length=MAX_AT_ONCE)] = None
    study_uid: Uid = None

    @model_validator(mode="after")
    def _one_or_many(self) -> TrialsIn:
        if (self.params is None) == (self.trials is None):
            raise ValueError("give `params` (one trial) or `trials` (many)")
        if self.trials is not None and self.model_fields_set - {"trials", "study_uid"}:
            raise ValueError("beside `trials` nothing else: put the fields into each of them")
        return self


class TrialsOut(Answer):
    trials: list[TrialOut]


@router.post("", status_code=201, summary="Enqueue or import trials")
def add_trials(
    address: AddressDep, body: TrialsIn, store: StoreDep, once: OnceDep, request: Request
) -> TrialOut | TrialsOut:
    """Params alone are enqueued (partial ones are completed at hand-out); with a value or a finished state imported."""
    address = with_uid(address, body.study_uid)
    request.app.state.desk.learning.put(Address(address.project_id, address.name))
    if body.trials is not None:
        made = add(store, address, [one.given() for one in body.trials], once, many=True)
        return TrialsOut(trials=[TrialOut.of(trial) for trial in made])
    (trial,) = add(store, address, [body.given()], once, many=False)
    return TrialOut.of(trial)


def with_uid(address: Address, uid: str | None) -> Address:
    """The body may carry `study_uid` as well as the query."""
    return address if uid is None else replace(address, uid=uid)


# --- changing one -----------------------------------------------------------------------------------------------


class Correction(Told):
    metadata: Metadata = Field(default_factory=dict)
    study_uid: Uid = None

    @model_validator(mode="after")
    def _something(self) -> Correction:
        if not self.model_fields_set - {"study_uid", "reason"}:
            raise ValueError("give what to correct: value or values, noise, cost, metadata")
        return self


class Nothing(Body):
    study_uid: Uid = None


@router.patch("/{number}", summary="Correct a finished trial")
def correct_trial(address: AddressDep, number: Number, body: Correction, store: StoreDep) -> TrialOut:
    """What it said before is kept in the study's log."""
    result = None
    if body.value is not None or body.values is not None:
        result = Result(number, "complete", body.value, body.values, reason=body.reason)
    changes: dict[str, Any] = {
        name: getattr(body, name) for name in ("noise", "cost", "metadata", "reason") if name in body.model_fields_set
    }
    return TrialOut.of(move_trial.correct(store, with_uid(address, body.study_uid), number, result, changes))


@router.delete("/{number}", status_code=204, summary="Remove a trial")
def remove_trial(
    address: AddressDep, number: Number, store: StoreDep, reason: Annotated[str | None, Query(max_length=1000)] = None
) -> Response:
    """Its number stays taken: reading it is 404 `trial-removed` from now on."""
    move_trial.remove(store, address, number, reason)
    return Response(status_code=204)


@router.post("/{number}/stop", summary="Ask a running trial to stop")
def stop_trial(address: AddressDep, number: Number, store: StoreDep, body: Nothing | None = None) -> TrialOut:
    """Its next report or heartbeat answers `stop: true`."""
    return TrialOut.of(move_trial.stop(store, with_uid(address, body.study_uid if body else None), number))


@router.post("/{number}/retry", summary="Enqueue a failed or lost trial again")
def retry_trial(
    address: AddressDep, number: Number, store: StoreDep, once: OnceDep, body: Nothing | None = None
) -> TrialOut:
    return TrialOut.of(move_trial.retry(store, with_uid(address, body.study_uid if body else None), number, once))
