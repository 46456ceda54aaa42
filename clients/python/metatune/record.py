"""What the synchronous and the asynchronous client know alike of a study, and how they say it to the server."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from metatune.annotations import space_of
from metatune.delivery import Delivered
from metatune.picture import Point
from metatune.space import Parameter
from metatune.trial import Result, TrialRecord, measured
from metatune.wire import ANSWER_SECONDS, STUDIES, Request, creating, given, study_path

logger = logging.getLogger("metatune")

LEASE_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 30.0

AnyTrial = TypeVar("AnyTrial", bound=TrialRecord)


@dataclass(frozen=True)
class Asked(Sequence[AnyTrial], Generic[AnyTrial]):
    """The trials handed out: none, if the study is `done` or has a `reason` to wait."""

    trials: tuple[AnyTrial, ...]
    done: bool
    reason: str | None
    retry_after_seconds: float | None

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next ask, after an empty answer."""
        return min(self.retry_after_seconds or 1.0, LONGEST_WAIT_SECONDS)

    @overload
    def __getitem__(self, index: int) -> AnyTrial: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[AnyTrial, ...]: ...
    def __getitem__(self, index: int | slice) -> AnyTrial | tuple[AnyTrial, ...]:
        return self.trials[index]

    def __len__(self) -> int:
        return len(self.trials)


class StudyRecord:
    """A study's name and definition, and the requests about it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.name = str(document["name"])
        self.uid: str | None = document.get("uid")
        self.document = document
        #: What became of results that earlier processes on this machine could not deliver.
        self.delivered = Delivered()
        self._is_pause_noted = False

    @property
    def directions(self) -> dict[str, str]:
        """`minimize` or `maximize`, by objective name."""
        objectives = self.document.get("objectives")
        if objectives:
            return {objective["name"]: objective["direction"] for objective in objectives}
        return {"value": self.document.get("direction") or "minimize"}

    @property
    def space(self) -> dict[str, Parameter]:
        return dict(self.document.get("space") or {})

    def _note_wait(self, asked: Asked[Any]) -> None:
        """Whoever paused it may have forgotten; a wait for results of other workers is nothing to speak of."""
        if asked.reason == "paused" and not self._is_pause_noted:
            self._is_pause_noted = True
            logger.warning("study %r is paused; waiting until it is active again", self.name)

    def _path(self, *rest: str | int) -> str:
        return study_path(self.name, *rest)

    def _get(self, *rest: str | int, is_text: bool = False, **query: Any) -> Request:
        return Request("GET", self._path(*rest), query=given(**query), is_text=is_text)

    def _asking(
        self,
        count: int,
        worker: str | None,
        lease_seconds: float,
        deadline_seconds: float | None,
        resume: bool,
        fixed: Mapping[str, Any] | None,
    ) -> Request:
        body = given(
            count=count,
            worker=worker_named(worker, resume),
            lease_seconds=lease_seconds,
            deadline_seconds=deadline_seconds,
            resume=resume or None,
            fixed=fixed,
            study_uid=self.uid,
        )
        return creating(self._path("ask"), body, ANSWER_SECONDS + (deadline_seconds or 0.0))

    def _updating(self, fields: Mapping[str, Any]) -> Request:
        return Request("PATCH", self._path(), json={**fields, **given(study_uid=self.uid)})

    def _editing(self, changes: Mapping[str, Any], constraints: Sequence[str] | None, dry_run: bool) -> Request:
        headers = {} if dry_run else {"If-Match": str(self.document.get("space_version"))}
        body = {**changes, **given(constraints=constraints)}
        query = {"dry_run": "true"} if dry_run else {}
        # guarded by the version, so a second attempt of one that was heard is refused, not done twice
        return Request("PATCH", self._path("space"), json=body, query=query, headers=headers)

    def _enqueuing(self, params: Mapping[str, Any]) -> Request:
        return creating(self._path("trials"), {"params": params, **given(study_uid=self.uid)})

    def _adding(self, params: Mapping[str, Any], result: Result, fields: Mapping[str, Any]) -> Request:
        return creating(
            self._path("trials"), {"params": params, **measured(result), **fields, **given(study_uid=self.uid)}
        )

    def _adding_many(self, trials: Iterable[Mapping[str, Any]]) -> Request:
        return creating(self._path("trials"), {"trials": [*trials], **given(study_uid=self.uid)})

    def _copying(self, name: str) -> Request:
        return creating(self._path("copy"), {"name": name, **given(study_uid=self.uid)})

    def _deleting(self, purge: bool) -> Request:
        return Request("DELETE", self._path(), query=given(study_uid=self.uid, purge="true" if purge else None))

    def _finding_best(self, by: str, everywhere: bool) -> Request:
        return self._get("best", by=by, all="true" if everywhere else None)

    def _fronting(self, reference: Mapping[str, float] | None) -> Request:
        point = None if reference is None else ",".join(str(float(reference[name])) for name in self.directions)
        return self._get("pareto", reference=point)

    def _lending(self, exclude: Iterable[str], include: Iterable[str], caps: Mapping[str, float] | None) -> Request:
        sources: list[dict[str, Any]] = [{"study": name, "excluded": True} for name in exclude]
        sources += [{"study": name, "excluded": False} for name in include]
        sources += [{"study": name, "cap": cap} for name, cap in (caps or {}).items()]
        return Request("PATCH", self._path("prior"), json={"sources": sources, **given(study_uid=self.uid)})

    def _predicting(self, params: Sequence[Mapping[str, Any]]) -> Request:
        return Request("POST", self._path("predict"), json={"params": list(params)})


def worker_named(worker: str | None, resume: bool) -> str:
    """Who asks: as given, METATUNE_WORKER, or this host and process.

    Raises: ValueError, for `resume` without a name that outlives the process.
    """
    import socket

    named = worker or os.environ.get("METATUNE_WORKER")
    if named is None and resume:
        raise ValueError(
            "resume takes up what this worker was doing before it died, so it needs a name that stays the same: "
            "worker='node-3', or METATUNE_WORKER"
        )
    return named or f"{socket.gethostname()}-{os.getpid()}"


def definition_of(space: Mapping[str, Parameter] | type | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    return given(space=None if space is None else space_of(space), **fields)


def defining(name: str | None, definition: Mapping[str, Any]) -> Request:
    """Creates or joins; without a definition looks the study up, without a name the server makes one."""
    if name is None:
        return creating(STUDIES, definition)
    if definition:
        return Request("PUT", study_path(name), json=definition)
    return Request("GET", study_path(name))


def row_of(trial: TrialRecord) -> dict[str, Any]:
    """A trial as a row of a table, in the columns of the CSV export."""
    fields = ("state", "attempt", "feasible", "noise", "cost", "reason", "worker", "created_at", "started_at")
    return {
        "number": trial.number,
        **{f"params.{name}": value for name, value in trial.params.items()},
        **{f"values.{name}": value for name, value in (trial.values or {}).items()},
        **{name: trial.document.get(name) for name in (*fields, "finished_at")},
    }


def frame_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Raises: ImportError, saying what to install."""
    try:
        import pandas
    except ImportError as missing:
        raise ImportError(
            "study.dataframe() needs pandas: pip install pandas; study.trials() gives the same without it"
        ) from missing
    frame = pandas.DataFrame(rows)
    for name in ("created_at", "started_at", "finished_at"):
        if name in frame:
            frame[name] = pandas.to_datetime(frame[name], format="ISO8601", utc=True)
    return frame.set_index("number") if len(frame) else frame


def point_of(trial: TrialRecord) -> Point | None:
    values = trial.values or {}
    return Point(trial.number, next(iter(values.values()))) if trial.state == "complete" and values else None
