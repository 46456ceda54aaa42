"""A study for asyncio: the names and meanings of `metatune.study.Study`, with what waits for the server awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from metatune.attended import AsyncAttended
from metatune.delivery import Delivered, Kept, delivering, delivering_what_waits
from metatune.errors import StudyDone
from metatune.picture import MAX_POINTS, study_html
from metatune.record import LEASE_SECONDS, Asked, StudyRecord, frame_of, point_of, row_of
from metatune.trial import AsyncTrial, Result

if TYPE_CHECKING:
    import pandas

    from metatune.connection import AsyncConnection


class AsyncStudy(StudyRecord):
    """Made by `AsyncClient.study`. `best` is awaited too: `(await study.best).params`."""

    def __init__(self, connection: AsyncConnection, document: Mapping[str, Any]) -> None:
        super().__init__(document)
        self._connection = connection

    async def info(self) -> dict[str, Any]:
        self.document = await self._connection.send(self._get())
        return dict(self.document)

    async def update(self, **fields: Any) -> dict[str, Any]:
        self.document = await self._connection.send(self._updating(fields))
        return dict(self.document)

    async def edit_space(
        self, changes: Mapping[str, Any], *, constraints: Sequence[str] | None = None, dry_run: bool = False
    ) -> dict[str, Any]:
        answer: dict[str, Any] = await self._connection.send(self._editing(changes, constraints, dry_run))
        if not dry_run:
            await self.info()
        return answer

    async def export(self, format: str = "json") -> Any:
        return await self._connection.send(self._get("export", is_text=format != "json", format=format))

    async def ask(
        self,
        count: int = 1,
        *,
        worker: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
        deadline_seconds: float | None = None,
        resume: bool = False,
        fixed: Mapping[str, Any] | None = None,
    ) -> Asked[AsyncTrial]:
        request = self._asking(count, worker, lease_seconds, deadline_seconds, resume, fixed)
        await self.deliver()
        answer = await self._connection.send(request)
        trials = tuple(self._trial(document) for document in answer["trials"])
        return Asked(trials, bool(answer.get("done")), answer.get("reason"), answer.get("retry_after_seconds"))

    async def deliver(self) -> Delivered:
        steps = delivering_what_waits(self._connection.outbox, self.uid)
        now: Delivered = await self._connection.run(steps)
        self.delivered = self.delivered.and_then(now)
        return now

    @contextlib.asynccontextmanager
    async def trial(
        self,
        *,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
        lease_seconds: float = LEASE_SECONDS,
        **ask: Any,
    ) -> AsyncIterator[AsyncTrial]:
        while not (asked := await self.ask(lease_seconds=lease_seconds, **ask)):
            if asked.done:
                raise StudyDone(self.name, asked.reason)
            self._note_wait(asked)
            await wait(asked.pause_seconds)
        async with AsyncAttended(asked[0], lease_seconds) as trial:
            yield trial

    async def optimize(
        self,
        objective: Callable[[AsyncTrial], Awaitable[Result | None] | Result | None],
        n_trials: int | None = None,
        *,
        n_jobs: int = 1,
        progress: bool = True,
        max_failures: int = 5,
        resume: bool = False,
        **ask: Any,
    ) -> None:
        """As `Study.optimize`; n_jobs: tasks. An objective that is no coroutine function runs in a thread."""
        from metatune.optimize import AsyncLoop

        await AsyncLoop(self, objective, n_trials, n_jobs, progress, max_failures, resume, ask).run()

    @property
    async def best(self) -> AsyncTrial:
        return await self.find_best()

    async def find_best(self, by: Literal["value", "mean"] = "value", *, everywhere: bool = False) -> AsyncTrial:
        return self._trial(await self._connection.send(self._finding_best(by, everywhere)))

    async def trials(self, *, state: str | None = None, order_by: str | None = None) -> AsyncIterator[AsyncTrial]:
        async for document in self._connection.items(self._path("trials"), state=state, order_by=order_by):
            yield self._trial(document)

    async def get_trial(self, number: int) -> AsyncTrial:
        return self._trial(await self._connection.send(self._get("trials", number)))

    async def dataframe(self) -> pandas.DataFrame:
        return frame_of([row_of(trial) async for trial in self.trials()])

    async def pareto(self, reference: Mapping[str, float] | None = None) -> dict[str, Any]:
        return dict(await self._connection.send(self._fronting(reference)))

    async def predict(self, params: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return dict(await self._connection.send(self._predicting(params)))

    async def importance(self) -> dict[str, Any]:
        return dict(await self._connection.send(self._get("importance")))

    async def warnings(self) -> list[dict[str, Any]]:
        return list((await self._connection.send(self._get("warnings")))["items"])

    async def html(self) -> str:
        [*objectives] = self.directions.values()
        points = []
        if len(objectives) == 1:
            async for trial in self.trials(state="complete"):
                if point := point_of(trial):
                    points.append(point)
                if len(points) == MAX_POINTS:
                    break
        return study_html(await self.info(), points, objectives[0] if points else None)

    def _repr_html_(self) -> str:
        """A notebook does not await: what was heard last, without the history. `await study.html()` has it."""
        return study_html(self.document, [], None)

    async def prior(self) -> dict[str, Any]:
        return dict(await self._connection.send(self._get("prior")))

    async def edit_prior(
        self, *, exclude: Iterable[str] = (), include: Iterable[str] = (), caps: Mapping[str, float] | None = None
    ) -> dict[str, Any]:
        return dict(await self._connection.send(self._lending(exclude, include, caps)))

    async def enqueue(self, params: Mapping[str, Any]) -> AsyncTrial:
        return self._trial(await self._connection.send(self._enqueuing(params)))

    async def add(self, params: Mapping[str, Any], result: Result, **fields: Any) -> AsyncTrial:
        request = self._adding(params, result, fields)
        answer = await self._connection.run(delivering(self._connection.outbox, self.uid, request))
        if isinstance(answer, Kept):
            raise answer.why
        return self._trial(answer)

    async def add_many(self, trials: Iterable[Mapping[str, Any]]) -> list[AsyncTrial]:
        request = self._adding_many(trials)
        answer = await self._connection.run(delivering(self._connection.outbox, self.uid, request))
        if isinstance(answer, Kept):
            raise answer.why
        return [self._trial(document) for document in answer["trials"]]

    async def copy(self, name: str) -> AsyncStudy:
        return AsyncStudy(self._connection, await self._connection.send(self._copying(name)))

    async def delete(self, *, purge: bool = False) -> None:
        await self._connection.send(self._deleting(purge))

    def _trial(self, document: Mapping[str, Any]) -> AsyncTrial:
        return AsyncTrial(self._connection, self.name, self.uid, document)

    def __repr__(self) -> str:
        return f"<AsyncStudy {self.name} at {self._connection.url}>"
