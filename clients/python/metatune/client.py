"""The connection to a server, and the studies there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from metatune.space import Parameter
from metatune.study import PAGE, Study
from metatune.wire import Request, creating, given, study_path

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
RETRY_SECONDS = 300.0


class Client:
    """Speaks to one server as one project.

    Args:
        url: the server's address; METATUNE_URL if left out, else the local default.
        key: METATUNE_KEY if left out; it says which project this is. An open local server needs none.
        retry_seconds: how long a call keeps trying while the server is down or busy.
        transport: for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retry_seconds: float = RETRY_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        from metatune.sender import Sender  # httpx takes longer to import than all the rest: not before it is used

        url = url or os.environ.get("METATUNE_URL") or DEFAULT_URL
        self._sender = Sender(url, key or os.environ.get("METATUNE_KEY"), retry_seconds, transport)

    def study(
        self,
        name: str | None = None,
        space: Mapping[str, Parameter] | None = None,
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

        Without a space it must be there. Without a name the server makes one.
        `more`: description, tags, warm_start, metafeatures, max_retries.

        Raises: StudyDiffers, naming each difference; NotFound; Invalid, naming each wrong field.
        """
        definition = given(
            space=space,
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
        if name is None:
            request = creating("/v1/studies", definition)
        elif definition:
            request = Request("PUT", study_path(name), json=definition)
        else:
            request = Request("GET", study_path(name))
        return Study(self._sender, self._sender.send(request))

    def studies(self, *, state: str | None = None, prefix: str | None = None) -> Iterator[Study]:
        """Every study of the project, fetched page by page as you go."""
        after: str | None = None
        while True:
            query = given(state=state, prefix=prefix, limit=PAGE, after=after)
            page = self._sender.send(Request("GET", "/v1/studies", query=query))
            yield from (Study(self._sender, document) for document in page["items"])
            after = page.get("next")
            if after is None:
                return

    def me(self) -> dict[str, Any]:
        """Server version, project, scopes and limits."""
        document: dict[str, Any] = self._sender.send(Request("GET", "/v1/me"))
        return document

    def request(self, method: str, path: str, json: Any = None, **query: Any) -> Any:
        """Any other call of the API. A POST sent so is not retried, as it might take effect twice."""
        return self._sender.send(Request(method, path, json=json, query=query, retryable=method != "POST"))

    def close(self) -> None:
        self._sender.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
