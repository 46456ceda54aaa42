"""A study: a search space, what is sought, and its trials."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from metatune.attended import Attended
from metatune.delivery import Delivered, Kept, delivering, delivering_what_waits
from metatune.errors import StudyDone
from metatune.picture import MAX_POINTS, study_html
from metatune.record import LEASE_SECONDS, Asked, StudyRecord, frame_of, point_of, row_of
from metatune.trial import Result, Trial

if TYPE_CHECKING:
    import pandas

    from metatune.connection import Connection


class Study(StudyRecord):
    """Made by `Client.study`. Safe to share between threads."""

    def __init__(self, connection: Connection, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._connection = connection

    # --- what it is -------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """The study as it stands: definition, state, counts of trials, best."""
        self.document = self._connection.send(self._get())
        return dict(self.document)

    def update(self, **fields: Any) -> dict[str, Any]:
        """Changes `state` (to `active`, `paused` or `stopped`), `stop`, `warm_start`, `description`, `tags`,
        `metafeatures`.
        """
        self.document = self._connection.send(self._updating(fields))
        return dict(self.document)

    def edit_space(
        self, changes: Mapping[str, Any], *, constraints: Sequence[str] | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        """Changes the space while the study runs: None removes a parameter, a new one needs a `default`.

        dry_run: only tell how many trials stay usable, and what the best becomes.
        """
        answer: dict[str, Any] = self._connection.send(self._editing(changes, constraints, dry_run))
        if not dry_run:
            self.info()
        return answer

    def export(self, format: str = "json") -> Any:
        """The whole study: as a document that `client.import_study` reads, or as text with `format="csv"`."""
        return self._connection.send(self._get("export", is_text=format != "json", format=format))

    # --- the loop ---------------------------------------------------------------------------------------------

    def ask(
        self,
        count: int = 1,
        *,
        worker: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
        deadline_seconds: float | None = None,
        resume: bool = False,
        fixed: Mapping[str, Any] | None = None,
    ) -> Asked[Trial]:
        """Up to `count` trials to evaluate, each ours for `lease_seconds` after the last sign of life.

        Results that still wait on disk are delivered first.

        Args:
            worker: who asks, for those who look on, and for `resume`; METATUNE_WORKER or this host and process.
            deadline_seconds: how long the server may think before it takes a space-filling point.
            resume: first hand out what this worker was working on when it died.
            fixed: parameters to hold at a value.
        """
        request = self._asking(count, worker, lease_seconds, deadline_seconds, resume, fixed)
        self.deliver()
        answer = self._connection.send(request)
        trials = tuple(self._trial(document) for document in answer["trials"])
        return Asked(trials, bool(answer.get("done")), answer.get("reason"), answer.get("retry_after_seconds"))

    def deliver(self) -> Delivered:
        """Brings results that wait on disk to the server; `delivered` adds up what became of them."""
        steps = delivering_what_waits(self._connection.outbox, self.uid)
        now: Delivered = self._connection.run(steps)
        self.delivered = self.delivered.and_then(now)
        return now

    @contextlib.contextmanager
    def trial(
        self, *, wait: Callable[[float], object] = time.sleep, lease_seconds: float = LEASE_SECONDS, **ask: Any
    ) -> Iterator[Trial]:
        """One trial, kept alive by heartbeats for the length of the block; waits while the study has none to give.

        A block that raises `Pruned` or `Infeasible` has said so to the server, and goes on behind the block.
        Any other exception fails the trial with its traceback and goes its way; an interruption gives the trial back.
        A block that ends without a result has failed.

        Raises: StudyDone, if nothing is left to do.
        """
        while not (asked := self.ask(lease_seconds=lease_seconds, **ask)):
            if asked.done:
                raise StudyDone(self.name, asked.reason)
            self._note_wait(asked)
            wait(asked.pause_seconds)
        with Attended(asked[0], lease_seconds) as trial:
            yield trial

    def optimize(
        self,
        objective: Callable[[Trial], Result | None],
        n_trials: int | None = None,
        *,
        n_jobs: int = 1,
        progress: bool = True,
        max_failures: int = 5,
        resume: bool = False,
        **ask: Any,
    ) -> None:
        """Evaluates `objective` on trial after trial, until this call has finished `n_trials` or the study is done.

        The objective takes a `Trial` and returns its result, or tells it itself and returns None. It may raise
        `Pruned`, `Infeasible` or `Failed`; anything else fails the trial with its traceback, and the loop goes on
        unless `max_failures` trials in a row have failed, which looks like a mistake in the objective: then the last
        error is raised. Ctrl-C and SIGTERM give what is under way back to the study.

        Args:
            n_jobs: threads. For objectives that hold Python's interpreter lock, start more processes instead.
            progress: a bar on a terminal, a line for each trial elsewhere, both on standard error.
            resume: begin with what this worker was doing when it died; needs `worker`, or METATUNE_WORKER.
            ask: what `ask` takes: worker, lease_seconds, deadline_seconds, fixed.
        """
        from metatune.optimize import Loop

        Loop(self, objective, n_trials, n_jobs, progress, max_failures, resume, ask).run()

    # --- what it found ----------------------------------------------------------------------------------------

    @property
    def best(self) -> Trial:
        """The best feasible trial. Raises: NoResultYet."""
        return self.find_best()

    def find_best(self, by: Literal["value", "mean"] = "value", *, everywhere: bool = False) -> Trial:
        """The best feasible trial.  Raises: NoResultYet.

        Args:
            by: the value that was told, or the mean that the model believes in, for noisy objectives.
            everywhere: also among trials that an edited space no longer allows.
        """
        return self._trial(self._connection.send(self._finding_best(by, everywhere)))

    def trials(self, *, state: str | None = None, order_by: str | None = None) -> Iterator[Trial]:
        """Every trial, fetched page by page as you go. `order_by`: `number`, `value` or `-value`."""
        return map(self._trial, self._connection.items(self._path("trials"), state=state, order_by=order_by))

    def get_trial(self, number: int) -> Trial:
        """One trial, with its reports. A trial fetched so is told without a lease."""
        return self._trial(self._connection.send(self._get("trials", number)))

    def dataframe(self) -> pandas.DataFrame:
        """Every trial as a row by number, with `params.*` and `values.*`; needs pandas."""
        return frame_of([row_of(trial) for trial in self.trials()])

    def pareto(self, reference: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Of a study with several objectives: the trials that none other beats, and the hypervolume.

        reference: the corner of that volume, by objective; left out, it comes from the results.
        """
        return dict(self._connection.send(self._fronting(reference)))

    def predict(self, params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the model expects at these points: mean and standard deviation."""
        return dict(self._connection.send(self._predicting(params)))

    def importance(self) -> dict[str, Any]:
        """How much each parameter matters."""
        return dict(self._connection.send(self._get("importance")))

    def warnings(self) -> list[dict[str, Any]]:
        """What a specialist would say of the study."""
        return list(self._connection.send(self._get("warnings"))["items"])

    def html(self) -> str:
        """The study in a few words and its history as an inline SVG, as a notebook shows it."""
        [*objectives] = self.directions.values()
        trials = itertools.islice(self.trials(state="complete"), MAX_POINTS)
        points = [point for point in map(point_of, trials) if point] if len(objectives) == 1 else []
        return study_html(self.info(), points, objectives[0] if points else None)

    def _repr_html_(self) -> str:
        return self.html()

    # --- what past studies lend -------------------------------------------------------------------------------

    def prior(self) -> dict[str, Any]:
        """The past studies that were considered (`sources`), what they put first (`portfolio`), and the `guard`.

        Each source says how alike it is, what it weighs now, and why it was taken or left.
        """
        return dict(self._connection.send(self._get("prior")))

    def edit_prior(
        self, *, exclude: Iterable[str] = (), include: Iterable[str] = (), caps: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        """Leaves past studies out, takes them in again, or caps what one may weigh: `caps={"past": 0.2}`.

        Holds from the next suggestion on. Returns the prior as it is then.
        """
        return dict(self._connection.send(self._lending(exclude, include, caps)))

    # --- bringing trials along --------------------------------------------------------------------------------

    def enqueue(self, params: Mapping[str, Any]) -> Trial:
        """Hands these parameters out before any new suggestion; what is left out, the study fills in."""
        return self._trial(self._connection.send(self._enqueuing(params)))

    def add(self, params: Mapping[str, Any], result: Result, **fields: Any) -> Trial:
        """A result from elsewhere, which informs the study (`noise`, `cost`, `metadata`, `reports`).

        Raises: ServerUnreachable; the result is kept on disk then, and delivered once when the server is back.
        """
        request = self._adding(params, result, fields)
        answer = self._connection.run(delivering(self._connection.outbox, self.uid, request))
        if isinstance(answer, Kept):
            raise answer.why
        return self._trial(answer)

    def add_many(self, trials: Iterable[Mapping[str, Any]]) -> list[Trial]:
        """Results from elsewhere in one call, all or none: `[{"params": {"lr": 0.1}, "value": 0.4}, ...]`.

        Each may hold what `add` takes; one without a result is enqueued. The server takes 10,000 at once.
        """
        request = self._adding_many(trials)
        answer = self._connection.run(delivering(self._connection.outbox, self.uid, request))
        if isinstance(answer, Kept):
            raise answer.why
        return [self._trial(document) for document in answer["trials"]]

    def copy(self, name: str) -> Study:
        """The same under another name, with its trials and their numbers; what was running waits in the copy."""
        return Study(self._connection, self._connection.send(self._copying(name)))

    def delete(self, *, purge: bool = False) -> None:
        """Hides it; within 7 days `client.restore(name)` brings it back. purge: at once, for good."""
        self._connection.send(self._deleting(purge))

    def _trial(self, document: Mapping[str, Any]) -> Trial:
        return Trial(self._connection, self.name, self.uid, document)

    def __repr__(self) -> str:
        return f"<Study {self.name} at {self._connection.url}>"
