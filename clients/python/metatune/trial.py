"""A trial: one configuration to evaluate, and what became of it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, TypeAlias

from metatune.errors import Conflict, MetatuneError, NotFound, ServerUnreachable, StudyReplaced, Unavailable
from metatune.wire import Request, given, study_path

if TYPE_CHECKING:
    from metatune.sender import Sender

logger = logging.getLogger("metatune")

Result: TypeAlias = SupportsFloat | Mapping[str, SupportsFloat]
Outcome: TypeAlias = Literal["failed", "infeasible", "pruned", "paused"]

BEATS_PER_LEASE = 4  # three in a row may be missed
FAREWELL_SECONDS = 5.0  # an interrupted program wants to end


class Pruned(Exception):
    """Raise it in an objective to say: given up early, the last report stands for the result."""


class Infeasible(Exception):
    """Raise it in an objective to say: nothing can be evaluated here, stay away."""


@dataclass(frozen=True)
class Signal:
    """What the server answers to a report or a heartbeat; true if the work should end now."""

    prune: bool = False
    stop: bool = False
    reason: str | None = None
    rung: int | None = None

    def __bool__(self) -> bool:
        return self.prune or self.stop


class Trial:
    """`params` to evaluate under `number`; tell the result, or why there is none.

    The other fields are the server's (`state`, `values`, `feasible`, `noise`, `cost`, `metadata`, `reason`,
    `origin`, `attempt`, `checkpoint`, `until_step`, ...) and stand in `document`, the newest answer.
    """

    def __init__(self, sender: Sender, study: str, study_uid: str | None, document: Mapping[str, Any]) -> None:
        self._sender = sender
        self._study = study
        self._study_uid = study_uid
        self.document = document
        lease = document.get("lease") or {}
        self._lease: str | None = lease.get("token")
        self.signal = Signal()

    @property
    def number(self) -> int:
        return int(self.document["number"])

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.document["params"])

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
        return int(self.document.get("attempt", 1))

    @property
    def checkpoint(self) -> str | None:
        """Where an earlier attempt left off, as it said in a heartbeat."""
        checkpoint: str | None = self.document.get("checkpoint")
        return checkpoint

    @property
    def until_step(self) -> int | None:
        """The step at which to stop and say `paused`; None: to the end."""
        step: int | None = self.document.get("until_step")
        return step

    def tell(
        self,
        result: Result,
        *,
        noise: float | None = None,
        cost: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Trial:
        """The result: a number, or numbers by objective and outcome name.

        Args:
            noise: its standard error, if known.  cost: what it took, in any one unit.
        Raises: LeaseLost, if another worker has the trial by now; TrialFinishedDifferently.
        """
        body = {"values": dict(result)} if isinstance(result, Mapping) else {"value": _number(result)}
        return self._take("tell", {**body, **given(noise=noise, cost=cost, metadata=metadata)})

    def fail(self, reason: str) -> Trial:
        """Something broke that says nothing about these parameters."""
        return self._finish("failed", reason)

    def infeasible(self, reason: str | None = None) -> Trial:
        """These parameters cannot be evaluated; the study keeps away from them."""
        return self._finish("infeasible", reason)

    def pruned(self, reason: str | None = None) -> Trial:
        """Given up early; the last report stands for the result."""
        return self._finish("pruned", reason)

    def paused(self, reason: str | None = None) -> Trial:
        """Stopped at `until_step`; the study may hand it out again to go further."""
        return self._finish("paused", reason)

    def report(self, step: int, value: Result) -> Signal:
        """A value on the way. The signal is true if the work should end: `if trial.report(...): raise Pruned`."""
        values = {"values": dict(value)} if isinstance(value, Mapping) else {"value": _number(value)}
        return self._signal("report", {"step": step, **values})

    def heartbeat(self, *, checkpoint: str | None = None, metadata: Mapping[str, Any] | None = None) -> Signal:
        """Still at it: the lease starts anew."""
        return self._signal("heartbeat", given(checkpoint=checkpoint, metadata=metadata))

    def release(self) -> Trial:
        """Give it back untouched, for another worker to take."""
        return self._take("release", {})

    def _finish(self, outcome: Outcome, reason: str | None) -> Trial:
        return self._take("tell", {"state": outcome, **given(reason=reason)})

    def _take(self, verb: str, body: Mapping[str, Any], retry_seconds: float | None = None) -> Trial:
        self.document = self._send(verb, body, retry_seconds)
        return self

    def _signal(self, verb: str, body: Mapping[str, Any], retry_seconds: float | None = None) -> Signal:
        answer = self._send(verb, body, retry_seconds)
        self.signal = Signal(
            bool(answer.get("prune")), bool(answer.get("stop")), answer.get("reason"), answer.get("rung")
        )
        return self.signal

    def _send(self, verb: str, body: Mapping[str, Any], retry_seconds: float | None) -> Any:
        """Tell, report, heartbeat and release do the same when sent twice, so each may be retried."""
        identity = given(lease=self._lease, study_uid=self._study_uid)
        request = Request("POST", study_path(self._study, "trials", self.number, verb), json={**body, **identity})
        return self._sender.send(request, retry_seconds=retry_seconds)

    def __repr__(self) -> str:
        return f"<Trial {self.number} of {self._study}: {self.state}, {self.params}>"


class Attended:
    """`with Attended(trial, lease_seconds):` keeps the lease alive by heartbeats, and sees to it that the trial ends.

    An ending without a result tells why: pruned, infeasible, failed, or, if interrupted, given back.
    """

    def __init__(self, trial: Trial, lease_seconds: float) -> None:
        self._trial = trial
        self._pause_seconds = lease_seconds / BEATS_PER_LEASE
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"metatune-heartbeat-{trial.number}", daemon=True)

    def _beat(self) -> None:
        while not self._done.wait(self._pause_seconds):
            try:
                self._trial._signal("heartbeat", {}, retry_seconds=0)
            except (NotFound, StudyReplaced) as gone:
                self._trial.signal = Signal(stop=True, reason=str(gone))
                return
            except Conflict as lost:  # told in the meantime, or another worker's: the next call says which
                self._trial.signal = Signal(stop=not self._done.is_set(), reason=str(lost))
                return
            except MetatuneError as passing:  # the next beat is the retry
                logger.debug("heartbeat of trial %d: %s", self._trial.number, passing)

    def __enter__(self) -> Trial:
        self._thread.start()
        return self._trial

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._done.set()
        self._thread.join(timeout=1.0)
        if self._trial.state == "running":
            self._end(fault)
        return isinstance(fault, (Pruned, Infeasible))

    def _end(self, fault: BaseException | None) -> None:
        trial = self._trial
        if fault is None:
            trial.fail("the block ended without a result")
        elif isinstance(fault, Pruned):
            trial.pruned(str(fault) or None)
        elif isinstance(fault, Infeasible):
            trial.infeasible(str(fault) or None)
        elif not isinstance(fault, (Conflict, Unavailable, ServerUnreachable)):  # those leave nothing to say
            with contextlib.suppress(MetatuneError):  # what went wrong in the block matters more
                if isinstance(fault, Exception):
                    trial.fail(f"{type(fault).__name__}: {fault}")
                else:
                    trial._take("release", {}, retry_seconds=FAREWELL_SECONDS)


def _number(value: SupportsFloat) -> float:
    if not hasattr(value, "__float__"):
        raise TypeError(f"a result is a number, or numbers by name, not {value!r}")
    return float(value)
