"""A trial: one configuration to evaluate, and what became of it.

`TrialRecord` holds what the server said and builds the calls; `Trial` sends them and waits, `AsyncTrial` awaits them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, TypeAlias, TypeVar

from metatune.annotations import instance_of
from metatune.delivery import Kept, delivering
from metatune.errors import LeaseLost, TrialRemoved
from metatune.wire import Call, Request, given, study_path

if TYPE_CHECKING:
    from typing_extensions import Self

    from metatune.connection import AsyncConnection, Connection

Result: TypeAlias = SupportsFloat | Mapping[str, SupportsFloat]
Outcome: TypeAlias = Literal["failed", "infeasible", "pruned", "paused"]
Config = TypeVar("Config")


class Pruned(Exception):
    """Raise it in an objective to say: given up early, the last report stands for the result."""


class Infeasible(Exception):
    """Raise it in an objective to say: nothing can be evaluated here, stay away."""


class Failed(Exception):
    """Raise it in an objective to say: it failed, and this is all there is to know; no traceback is sent."""


@dataclass(frozen=True)
class Signal:
    """What the server answers to a report or a heartbeat; true if the work should end now."""

    prune: bool = False
    stop: bool = False
    reason: str | None = None
    rung: int | None = None

    def __bool__(self) -> bool:
        return self.prune or self.stop

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Signal:
        return cls(bool(answer.get("prune")), bool(answer.get("stop")), answer.get("reason"), answer.get("rung"))


class TrialRecord:
    """`params` to evaluate under `number`; tell the result, or why there is none.

    The other fields are the server's (`feasible`, `noise`, `cost`, `metadata`, `reason`, `origin`, ...) and stand in
    `document`, the newest answer.
    """

    def __init__(self, study: str, study_uid: str | None, document: Mapping[str, Any]) -> None:
        self.study = study
        self._study_uid = study_uid
        self.document = document
        lease = document.get("lease") or {}
        self._lease: str | None = lease.get("token")
        self.signal = Signal()
        #: False: told, but the server was away; the result waits on disk.
        self.is_delivered = True

    @property
    def number(self) -> int:
        return int(self.document["number"])

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.document["params"])

    def config(self, kind: type[Config]) -> Config:
        """The params as an instance of the dataclass or Pydantic model that the space was made from.

        A parameter that is not active keeps the field's default.
        """
        return instance_of(kind, self.params)

    @property
    def state(self) -> str:
        return str(self.document["state"])

    @property
    def values(self) -> dict[str, float] | None:
        """By objective and outcome name."""
        values: dict[str, float] | None = self.document.get("values")
        return values

    @property
    def value(self) -> float | None:
        """The one value of a study with one objective."""
        if self.values is None:
            return None
        if len(self.values) > 1:
            raise ValueError(f"trial {self.number} has several values, look at `values`: {self.values}")
        return float(next(iter(self.values.values())))

    @property
    def attempt(self) -> int:
        """1 at first; higher when an earlier worker died, or gave the trial back."""
        return int(self.document.get("attempt", 1))

    @property
    def last_checkpoint(self) -> str | None:
        """Where an earlier attempt left off, as it said with `checkpoint(...)`."""
        checkpoint: str | None = self.document.get("checkpoint")
        return checkpoint

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Reported so far, as `{"step", "attempt", "values"}`: of a trial taken up again, or read by number."""
        return list(self.document.get("reports") or ())

    @property
    def until_step(self) -> int | None:
        """The step at which to stop and say `paused`; None: to the end."""
        step: int | None = self.document.get("until_step")
        return step

    # --- the calls --------------------------------------------------------------------------------------------

    def _telling(
        self, result: Result, noise: float | None, cost: float | None, metadata: Mapping[str, Any] | None
    ) -> Request:
        return self._post("tell", {**measured(result), **given(noise=noise, cost=cost, metadata=metadata)})

    def _ending(self, outcome: Outcome, reason: str | None) -> Request:
        return self._post("tell", {"state": outcome, **given(reason=reason)})

    def _reporting(self, step: int, value: Result) -> Call[Signal]:
        return self._hearing("report", {"step": step, **measured(value)})

    def _beating(self, checkpoint: str | Path | None = None, metadata: Mapping[str, Any] | None = None) -> Call[Signal]:
        place = str(checkpoint.absolute()) if isinstance(checkpoint, Path) else checkpoint
        return self._hearing("heartbeat", given(checkpoint=place, metadata=metadata))

    def _hearing(self, verb: str, body: Mapping[str, Any]) -> Call[Signal]:
        return Call(self._post(verb, body), self._heard)

    def _releasing(self) -> Call[Self]:
        return Call(self._post("release", {}), self._taken)

    def _stopping(self) -> Call[Self]:
        return Call(self._post("stop", {}, is_ours=False), self._taken)

    def _retrying(self) -> Call[Self]:
        """A retry of a retry is refused, as the trial waits already: so it is not sent again on its own."""
        request = self._post("retry", {}, is_ours=False)
        return Call(Request(request.method, request.path, json=request.json, retryable=False), self._taken)

    def _correcting(self, result: Result | None, fields: Mapping[str, Any]) -> Call[Self]:
        body = {**(measured(result) if result is not None else {}), **fields, **given(study_uid=self._study_uid)}
        return Call(Request("PATCH", self._path(), json=body), self._taken)

    def _removing(self, reason: str | None) -> Request:
        return Request("DELETE", self._path(), query=given(reason=reason, study_uid=self._study_uid))

    def _explaining(self) -> Request:
        return Request("GET", self._path("explanation"), query=given(study_uid=self._study_uid))

    def _post(self, verb: str, body: Mapping[str, Any], *, is_ours: bool = True) -> Request:
        """Tell, report, heartbeat and release do the same when sent twice, so each may be retried."""
        identity = given(lease=self._lease if is_ours else None, study_uid=self._study_uid)
        return Request("POST", self._path(verb), json={**body, **identity})

    def _path(self, *verb: str) -> str:
        return study_path(self.study, "trials", self.number, *verb)

    # --- the answers ------------------------------------------------------------------------------------------

    def _taken(self, answer: Mapping[str, Any]) -> Self:
        self.document = answer
        return self

    def _heard(self, answer: Mapping[str, Any]) -> Signal:
        self.signal = Signal.of(answer)
        return self.signal

    def _told(self, request: Request, answer: Mapping[str, Any] | Kept) -> Self:
        """The server's word, or, if it is away, what it will hear."""
        if not isinstance(answer, Kept):
            return self._taken(answer)
        body = request.json
        values = body.get("values") or ({"value": body["value"]} if "value" in body else None)
        self.document = {**self.document, "state": body.get("state", "complete"), "values": values}
        self.is_delivered = False
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} of {self.study}: {self.state}, {self.params}>"


class Trial(TrialRecord):
    """One configuration to evaluate, in the hands of a synchronous client."""

    def __init__(self, connection: Connection, study: str, study_uid: str | None, document: Mapping[str, Any]) -> None:
        super().__init__(study, study_uid, document)
        self._connection = connection

    def tell(
        self,
        result: Result,
        *,
        noise: float | None = None,
        cost: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Trial:
        """The result: a number, or numbers by objective and outcome name.

        It is on disk before it is sent. If the server stays away, it is delivered when the study is opened next on this
        machine, or at the next ask; `is_delivered` is False until then.

        Args:
            noise: its standard error, if known.  cost: what it took, in any one unit.
        Raises: LeaseLost, if another worker has the trial by now; TrialFinishedDifferently.
        """
        return self._deliver(self._telling(result, noise, cost, metadata))

    def tell_or_offer(
        self,
        result: Result,
        *,
        noise: float | None = None,
        cost: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Trial:
        """As `tell`; if another worker has the trial by now, offers the result all the same, to spare it the work."""
        try:
            return self.tell(result, noise=noise, cost=cost, metadata=metadata)
        except LeaseLost:
            self._lease = None  # a word without a lease is taken unless somebody has told already
            return self.tell(result, noise=noise, cost=cost, metadata=metadata)

    def fail(self, reason: str) -> Trial:
        """Something broke that says nothing about these parameters."""
        return self._deliver(self._ending("failed", reason))

    def infeasible(self, reason: str | None = None) -> Trial:
        """These parameters cannot be evaluated; the study keeps away from them."""
        return self._deliver(self._ending("infeasible", reason))

    def pruned(self, reason: str | None = None) -> Trial:
        """Given up early; the last report stands for the result."""
        return self._deliver(self._ending("pruned", reason))

    def paused(self, reason: str | None = None) -> Trial:
        """Stopped at `until_step`; the study may hand it out again to go further."""
        return self._deliver(self._ending("paused", reason))

    def report(self, step: int, value: Result) -> Signal:
        """A value on the way. The signal is true if the work should end: `if trial.report(...): raise Pruned`."""
        return self._connection.call(self._reporting(step, value))

    def checkpoint(self, place: str | Path) -> Signal:
        """Says where the work can be taken up again, as a path or a URL; `last_checkpoint` of a later attempt."""
        return self._connection.call(self._beating(place))

    def heartbeat(self, *, metadata: Mapping[str, Any] | None = None) -> Signal:
        """Still at it: the lease starts anew."""
        return self._connection.call(self._beating(metadata=metadata))

    def release(self) -> Trial:
        """Give it back untouched, for another worker to take."""
        return self._connection.call(self._releasing())

    def stop(self) -> Trial:
        """Asks whoever works on it to stop: their next report or heartbeat hears it."""
        return self._connection.call(self._stopping())

    def retry(self) -> Trial:
        """Enqueues a failed or lost one again, under its number."""
        return self._connection.call(self._retrying())

    def correct(self, result: Result | None = None, **fields: Any) -> Trial:
        """Changes what a finished one says (`noise`, `cost`, `metadata`, `reason`); the study's log keeps both."""
        return self._connection.call(self._correcting(result, fields))

    def remove(self, reason: str | None = None) -> None:
        """Takes it out of the study for good; its number stays taken."""
        with contextlib.suppress(TrialRemoved):
            self._connection.send(self._removing(reason))

    def explanation(self) -> dict[str, Any]:
        """Why this point: what the model believed when it was suggested, what it believes now, what the past lent."""
        return dict(self._connection.send(self._explaining()))

    def _deliver(self, request: Request) -> Trial:
        steps = delivering(self._connection.outbox, self._study_uid, request)
        return self._told(request, self._connection.run(steps))


class AsyncTrial(TrialRecord):
    """The same for asyncio: what waits for the server is awaited."""

    def __init__(
        self, connection: AsyncConnection, study: str, study_uid: str | None, document: Mapping[str, Any]
    ) -> None:
        super().__init__(study, study_uid, document)
        self._connection = connection

    async def tell(
        self,
        result: Result,
        *,
        noise: float | None = None,
        cost: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncTrial:
        return await self._deliver(self._telling(result, noise, cost, metadata))

    async def tell_or_offer(
        self,
        result: Result,
        *,
        noise: float | None = None,
        cost: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> AsyncTrial:
        try:
            return await self.tell(result, noise=noise, cost=cost, metadata=metadata)
        except LeaseLost:
            self._lease = None
            return await self.tell(result, noise=noise, cost=cost, metadata=metadata)

    async def fail(self, reason: str) -> AsyncTrial:
        return await self._deliver(self._ending("failed", reason))

    async def infeasible(self, reason: str | None = None) -> AsyncTrial:
        return await self._deliver(self._ending("infeasible", reason))

    async def pruned(self, reason: str | None = None) -> AsyncTrial:
        return await self._deliver(self._ending("pruned", reason))

    async def paused(self, reason: str | None = None) -> AsyncTrial:
        return await self._deliver(self._ending("paused", reason))

    async def report(self, step: int, value: Result) -> Signal:
        return await self._connection.call(self._reporting(step, value))

    async def checkpoint(self, place: str | Path) -> Signal:
        return await self._connection.call(self._beating(place))

    async def heartbeat(self, *, metadata: Mapping[str, Any] | None = None) -> Signal:
        return await self._connection.call(self._beating(metadata=metadata))

    async def release(self) -> AsyncTrial:
        return await self._connection.call(self._releasing())

    async def stop(self) -> AsyncTrial:
        return await self._connection.call(self._stopping())

    async def retry(self) -> AsyncTrial:
        return await self._connection.call(self._retrying())

    async def correct(self, result: Result | None = None, **fields: Any) -> AsyncTrial:
        return await self._connection.call(self._correcting(result, fields))

    async def remove(self, reason: str | None = None) -> None:
        with contextlib.suppress(TrialRemoved):
            await self._connection.send(self._removing(reason))

    async def explanation(self) -> dict[str, Any]:
        return dict(await self._connection.send(self._explaining()))

    async def _deliver(self, request: Request) -> AsyncTrial:
        steps = delivering(self._connection.outbox, self._study_uid, request)
        return self._told(request, await self._connection.run(steps))


def measured(result: Result) -> dict[str, Any]:
    """The result as the body of a call says it."""
    if isinstance(result, Mapping):
        return {"values": {name: _number(value) for name, value in result.items()}}
    return {"value": _number(result)}


def _number(value: SupportsFloat) -> float:
    if not hasattr(value, "__float__"):
        raise TypeError(f"a result is a number, or numbers by name, not {value!r}")
    return float(value)
