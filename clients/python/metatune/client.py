"""The connection to a server, and the studies there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from metatune.connection import Connection
from metatune.knowledge import KNOWLEDGE, exporting, forgetting, importing, recommending
from metatune.outbox import Outbox, default_folder
from metatune.record import StudyRecord, defining, definition_of
from metatune.space import Parameter
from metatune.study import Study
from metatune.wire import STUDIES, Request, creating, given, study_path, tagged

if TYPE_CHECKING:
    import httpx

    from metatune.events import Event
    from metatune.fewshot import FewShot
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
        warm_start: Literal["auto", "off"] | Sequence[str] | None = None,
        metafeatures: Mapping[str, float] | None = None,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        **more: Any,
    ) -> Study:
        """The study of that name: made if it is new, joined if it is there with the same definition.

        Without a space it must be there. Without a name the server makes one. The space is a dictionary of parameters,
        or a dataclass or Pydantic model whose annotations say the same.

        Args:
            warm_start: which past studies lend to it: `auto` (the server picks), `off`, or their names.
            metafeatures: numbers that describe the data, by which like studies are found: `{"n_rows": 1797}`.
            more: what the contract has beside (`max_retries`).

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
            warm_start=warm_start,
            metafeatures=metafeatures,
            description=description,
            tags=tags,
            **more,
        )
        document = self._connection.send(defining(name, definition_of(space, fields)))
        study = Study(self._connection, document)
        study.deliver()
        return study

    def studies(
        self, *, state: str | None = None, prefix: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Iterator[Study]:
        """Every study of the project, or those with this state, these tags; fetched page by page as you go."""
        for document in self._connection.items(STUDIES, state=state, prefix=prefix, **tagged(tags)):
            yield Study(self._connection, document)

    @property
    def fewshot(self) -> FewShot:
        """Datasets and learners of few-shot adaptation, which the server's workers train."""
        from metatune.fewshot import FewShot

        return FewShot(self._connection)

    @property
    def nas(self) -> Searches:
        """Architecture searches, which the server's workers run."""
        from metatune.nas import Searches

        return Searches(self._connection)

    def import_study(self, document: Mapping[str, Any], *, name: str | None = None) -> Study:
        """What `study.export()` gave, as the same study; under another name if one is given."""
        request = creating("/v1/studies/import", document, **given(name=name))
        return Study(self._connection, self._connection.send(request))

    def restore(self, name: str) -> Study:
        """Brings a deleted study back, within 7 days."""
        return Study(self._connection, self._connection.send(creating(study_path(name, "restore"), {})))

    def recommend(
        self,
        space: Mapping[str, Parameter] | type | None = None,
        *,
        count: int = 5,
        description: str | None = None,
        metafeatures: Mapping[str, float] | None = None,
        constraints: Sequence[str] | None = None,
        direction: str | None = None,
        objective: str | None = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        """What past studies would try, best first, with no study made: `["items"][0]["params"]`.

        Args:
            space: left out: that of the past study most alike.
            description, metafeatures: what it is about, by which like studies are found.
            objective: of past studies with several, which one.
            aliases: what past studies call a parameter: `{"lr": ["learning_rate"]}`.
        Returns: `items`, each with `params`, `expected_quantile` (the part of past results that should be better) and
            `from`; `considered`: every past study that was looked at, and why it was taken or left.
        """
        wish = given(
            count=count,
            description=description,
            metafeatures=metafeatures,
            constraints=constraints,
            direction=direction,
            objective=objective,
            aliases=aliases,
        )
        return dict(self._connection.send(recommending(definition_of(space, wish))))

    def knowledge(self) -> Iterator[dict[str, Any]]:
        """What is remembered: each past study with its space, its objectives and how many results it teaches."""
        return self._connection.items(KNOWLEDGE)

    def export_knowledge(self, *, raw: bool = True) -> dict[str, Any]:
        """What is remembered as one document, for another server. raw=False: ranks alone, no values."""
        return dict(self._connection.send(exporting(raw=raw)))

    def import_knowledge(self, document: Mapping[str, Any]) -> int:
        """Takes in what `export_knowledge` gave, all or nothing; returns how many studies. Once is enough."""
        return int(self._connection.send(importing(document))["imported"])

    def forget_knowledge(self, study: str) -> None:
        """Forgets an imported study. What a study of this server teaches goes with the study."""
        self._connection.send(forgetting(study))

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
