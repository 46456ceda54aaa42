"""The connection to a server, and the studies there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from metatune.connection import Connection
from metatune.outbox import Outbox, default_folder
from metatune.record import PAGE, StudyRecord, defining, definition_of
from metatune.space import Parameter
from metatune.study import Study
from metatune.wire import Request, creating, given

if TYPE_CHECKING:
    import httpx

    from metatune.events import Event
    from metatune.nas import Searches

DEFAULT_URL = "http://127.0.0.1:8000"
RETRY_SECONDS = 300.0


class Client:
    """Speaks to one server as one project.

    Args:
        url: the server's address; METATUNE_URL if left out, else the local default.
        key: METATUNE_KEY if left out; it says which project this is. An open local server needs none.
        retry_seconds: how long a call keeps trying while the server is down or busy.
        outbox: folder where results wait while the server is away; METATUNE_OUTBOX, or the state folder of this user;
            False: results are not kept.
        transport: for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retry_seconds: float = RETRY_SECONDS,
        outbox: str | Path | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        from metatune.sender import Sender  # httpx takes longer to import than all the rest: not before it is used

        sender = Sender(address_of(url), key_of(key), retry_seconds, transport)
        self._connection = Connection(sender, outbox_of(outbox, sender.url))

    @property
    def url(self) -> str:
        return self._connection.url

    def study(
        self,
        name: str | None = None,
        space: Mapping[str, Parameter] | type | None = None,
        *,
        direction: str | None = None,
        objectives: Sequence[Mapping[str, str]] | None = None,
        constraints: Sequence[str] | None = None,
        outcomes: Sequence[Mapping[str, Any]] | None = None,
        algorithm: str | Mapping[str, Any] | None = None,
        seed: int | None = None,
        stop: Mapping[str, Any] | None = None,
        pruning: str | Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Study:
        """The study of that name: made if it is new, joined if it is there with the same definition.

        Without a space it must be there. Without a name the server makes one. The space is a dictionary of parameters,
        or a dataclass or Pydantic model whose annotations say the same.
        `more`: description, tags, warm_start, metafeatures, max_retries.

        Raises: StudyDiffers, naming each difference; NotFound; Invalid, naming each wrong field.
        """
        fields = given(
            direction=direction,
            objectives=objectives,
            constraints=constraints,
            outcomes=outcomes,
            algorithm=algorithm,
            seed=seed,
            stop=stop,
            pruning=pruning,
            **more,
        )
        document = self._connection.send(defining(name, definition_of(space, fields)))
        study = Study(self._connection, document)
        study.deliver()
        return study

    def studies(self, *, state: str | None = None, prefix: str | None = None) -> Iterator[Study]:
        """Every study of the project, fetched page by page as you go."""
        after: str | None = None
        while True:
            query = given(state=state, prefix=prefix, limit=PAGE, after=after)
            page = self._connection.send(Request("GET", "/v1/studies", query=query))
            yield from (Study(self._connection, document) for document in page["items"])
            after = page.get("next")
            if after is None:
                return

    @property
    def nas(self) -> Searches:
        """Architecture searches, which the server's workers run."""
        from metatune.nas import Searches

        return Searches(self._connection)

    def import_study(self, document: Mapping[str, Any], *, name: str | None = None) -> Study:
        """What `study.export()` gave, as the same study; under another name if one is given."""
        request = creating("/v1/studies/import", document, **given(name=name))
        return Study(self._connection, self._connection.send(request))

    def watch(self, study: str | StudyRecord, *, after: int | None = None) -> Iterator[Event]:
        """What happens in a study, as it happens, without an end. A break in between loses nothing.

        after: the `revision` of the last event that was seen; 0: from the beginning, as far as the server still knows;
            left out: from now on.
        """
        from metatune.watch import watch

        return watch(self._connection.sender, name_of(study), after)

    def me(self) -> dict[str, Any]:
        """Server version, project, scopes and limits."""
        return dict(self._connection.send(Request("GET", "/v1/me")))

    def request(self, method: str, path: str, json: Any = None, **query: Any) -> Any:
        """Any other call of the API. A POST sent so is not retried, as it might take effect twice."""
        return self._connection.send(Request(method, path, json=json, query=query, retryable=method != "POST"))

    def close(self) -> None:
        self._connection.sender.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"


def address_of(url: str | None) -> str:
    return url or os.environ.get("METATUNE_URL") or DEFAULT_URL


def key_of(key: str | None) -> str | None:
    return key or os.environ.get("METATUNE_KEY")


def outbox_of(place: str | Path | bool, url: str) -> Outbox:
    folder = (default_folder() if place else None) if isinstance(place, bool) else Path(place)
    return Outbox(folder, url)


def name_of(study: str | StudyRecord) -> str:
    return study if isinstance(study, str) else study.name
