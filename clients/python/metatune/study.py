"""A study: a search space, what is sought, and its trials."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metatune.errors import StudyDone
from metatune.trial import Attended, Result, Trial
from metatune.wire import ANSWER_SECONDS, Request, creating, given, study_path

if TYPE_CHECKING:
    from metatune.sender import Sender

LEASE_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 30.0
PAGE = 200


@dataclass(frozen=True)
class Asked(Sequence[Trial]):
    """The trials handed out: none, if the study is `done` or has a `reason` to wait."""

    trials: tuple[Trial, ...]
    done: bool
    reason: str | None
    retry_after_seconds: float | None

    def __getitem__(self, index: Any) -> Any:
        return self.trials[index]

    def __len__(self) -> int:
        return len(self.trials)


class Study:
    """Made by `Client.study`. Safe to share between threads."""

    def __init__(self, sender: Sender, document: Mapping[str, Any]) -> None:
        self._sender = sender
        self.name = str(document["name"])
        self.uid: str | None = document.get("uid")
        self._definition = document

    @property
    def directions(self) -> dict[str, str]:
        """`minimize` or `maximize`, by objective name."""
        objectives = self._definition.get("objectives")
        if objectives:
            return {objective["name"]: objective["direction"] for objective in objectives}
        return {"value": self._definition.get("direction") or "minimize"}

    def info(self) -> dict[str, Any]:
        """The study as it stands: definition, state, counts of trials, best."""
        document: dict[str, Any] = self._sender.send(Request("GET", study_path(self.name)))
        return document

    def update(self, **fields: Any) -> dict[str, Any]:
        """Changes `state` (to `active`, `paused` or `stopped`), `stop`, `description`, `tags`, `metafeatures`."""
        document: dict[str, Any] = self._sender.send(Request("PATCH", study_path(self.name), json=fields))
        return document

    @property
    def best(self) -> Trial:
        """The best feasible trial. Raises: NoResultYet."""
        return self._trial(self._sender.send(Request("GET", study_path(self.name, "best"))))

    def ask(
        self,
        count: int = 1,
        *,
        worker: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
        deadline_seconds: float | None = None,
        resume: bool = False,
        fixed: Mapping[str, Any] | None = None,
    ) -> Asked:
        """Up to `count` trials to evaluate, each ours for `lease_seconds` after the last sign of life.

        Args:
            worker: who asks, for those who look on, and for `resume`; this host and process if left out.
            deadline_seconds: how long the server may think before it takes a space-filling point.
            resume: first hand out what this worker was working on when it died.
            fixed: parameters to hold at a value.
        """
        body = given(
            count=count,
            worker=worker or f"{socket.gethostname()}-{os.getpid()}",
            lease_seconds=lease_seconds,
            deadline_seconds=deadline_seconds,
            resume=resume or None,
            fixed=fixed,
            study_uid=self.uid,
        )
        answer = self._sender.send(
            creating(study_path(self.name, "ask"), body, ANSWER_SECONDS + (deadline_seconds or 0.0))
        )
        return Asked(
            trials=tuple(self._trial(document) for document in answer["trials"]),
            done=bool(answer.get("done")),
            reason=answer.get("reason"),
            retry_after_seconds=answer.get("retry_after_seconds"),
        )

    @contextlib.contextmanager
    def trial(
        self, *, wait: Callable[[float], object] = time.sleep, lease_seconds: float = LEASE_SECONDS, **ask: Any
    ) -> Iterator[Trial]:
        """One trial, kept alive by heartbeats for the length of the block; waits while the study has none to give.

        A block that raises `Pruned` or `Infeasible` has said so to the server, and goes on behind the block.
        Any other exception fails the trial and goes its way; an interruption gives the trial back.
        A block that ends without a result has failed.

        Raises: StudyDone, if nothing is left to do.
        """
        while not (asked := self.ask(lease_seconds=lease_seconds, **ask)):
            if asked.done:
                raise StudyDone(self.name, asked.reason)
            wait(min(asked.retry_after_seconds or 1.0, LONGEST_WAIT_SECONDS))
        with Attended(asked.trials[0], lease_seconds) as trial:
            yield trial

    def optimize(
        self,
        objective: Callable[[Trial], Result | None],
        n_trials: int | None = None,
        *,
        n_jobs: int = 1,
        progress: bool = True,
        max_failures: int = 5,
        **ask: Any,
    ) -> None:
        """Evaluates `objective` on trial after trial, until this call has finished `n_trials` or the study is done.

        The objective takes a `Trial` and returns its result, or tells it itself and returns None. It may raise
        `Pruned` or `Infeasible`; anything else fails the trial, and the loop goes on unless `max_failures`
        trials in a row have failed, which looks like a mistake in the objective: then the last error is raised.

        Args:
            n_jobs: threads. For objectives that hold Python's interpreter lock, start more processes instead.
            progress: a bar on a terminal, a line for each trial elsewhere, both on standard error.
            ask: what `ask` takes: worker, lease_seconds, deadline_seconds, resume, fixed.
        """
        from metatune.optimize import Loop

        Loop(self, objective, n_trials, n_jobs, progress, max_failures, ask).run()

    def trials(self, *, state: str | None = None, order_by: str | None = None) -> Iterator[Trial]:
        """Every trial, fetched page by page as you go. `order_by`: `number`, `value` or `-value`."""
        after: str | None = None
        while True:
            query = given(state=state, order_by=order_by, limit=PAGE, after=after)
            page = self._sender.send(Request("GET", study_path(self.name, "trials"), query=query))
            yield from map(self._trial, page["items"])
            after = page.get("next")
            if after is None:
                return

    def get_trial(self, number: int) -> Trial:
        """One trial, with its reports in `document`. A trial fetched so is told without a lease."""
        return self._trial(self._sender.send(Request("GET", study_path(self.name, "trials", number))))

    def enqueue(self, params: Mapping[str, Any]) -> Trial:
        """Hands these parameters out before any new suggestion; what is left out, the study fills in."""
        return self._add({"params": params})

    def add(self, params: Mapping[str, Any], result: Result, **fields: Any) -> Trial:
        """A result from elsewhere, which informs the study (`noise`, `cost`, `metadata`, `reports`)."""
        values = {"values": dict(result)} if isinstance(result, Mapping) else {"value": float(result)}
        return self._add({"params": params, **values, **fields})

    def _add(self, trial: Mapping[str, Any]) -> Trial:
        answer = self._sender.send(creating(study_path(self.name, "trials"), trial))
        return self._trial(answer)

    def _trial(self, document: Mapping[str, Any]) -> Trial:
        return Trial(self._sender, self.name, self.uid, document)

    def __repr__(self) -> str:
        return f"<Study {self.name} at {self._sender.url}>"
