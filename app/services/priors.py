"""What the sources of a study lend to it, made from their lessons once and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from app.db import knowledge
from app.db.studies import OpenStudy
from app.db.tables import Lesson, PriorSource
from app.search.space import SearchSpace
from app.services.plan import is_modelled

if TYPE_CHECKING:  # half a second for SciPy that other answers need not wait for
    from app.search.prior import Prior

#: Studies whose priors one process keeps; one is about a megabyte.
PRIORS_KEPT = 64


def is_open(here: OpenStudy) -> bool:
    """Whether it is still to be settled what the study builds on."""
    version = here.study.knowledge_version
    return here.study.warm_start != "off" and (version is None or version < 0) and is_modelled(here)


@dataclass(frozen=True)
class Lent:
    """A study's prior, and which studies are behind the sources of every objective, in order."""

    prior: Prior | None
    names: tuple[tuple[str, ...], ...]


NOTHING = Lent(None, ())


@dataclass
class Priors:
    """Kept by one process; nothing but time is lost with it. Threads may share it."""

    _known: LRUCache[tuple[int, int, int], Lent] = field(default_factory=lambda: LRUCache(PRIORS_KEPT))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, here: OpenStudy) -> Callable[[], Lent]:
        """In the transaction, which may end before what it returns is called."""
        study = here.study
        if study.warm_start == "off" or study.knowledge_version is None or not is_modelled(here):
            return lambda: NOTHING
        key = (study.id, study.space_version, study.knowledge_version)
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return lambda: known
        rows = [(source, lesson) for source, lesson in knowledge.sources(here) if source.is_taken and source.cap > 0]

        def compute() -> Lent:
            lent = lent_by(here.definition.space, here.definition.objectives, rows)
            with self._lock:
                self._known[key] = lent
            return lent

        return compute


def lent_by(space: SearchSpace, objectives: Sequence[Any], rows: Sequence[tuple[PriorSource, Lesson]]) -> Lent:
    caps = [source.cap for source, _ in rows]
    return lent_to(space, objectives, [lesson for _, lesson in rows], caps)


def lent_to(
    space: SearchSpace,
    objectives: Sequence[Any],
    lessons: Sequence[Lesson],
    caps: Sequence[float] | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Lent:
    """What some lessons lend to a study with these objectives, as they are named and directed."""
    from app.search import transfer
    from app.search.prior import Prior

    caps = [1.0] * len(lessons) if caps is None else caps
    pasts, names = [], []
    for objective in objectives:
        own = [
            (transfer.Source.of(space, transfer.Lesson.from_json(taught), aliases), cap, lesson.name)
            for lesson, cap in zip(lessons, caps, strict=True)
            if (taught := _about(lesson, objective, len(objectives))) is not None
        ][: transfer.MAX_SOURCES]
        names.append(tuple(name for _, _, name in own))
        own_sources, own_caps = [source for source, _, _ in own], [cap for _, cap, _ in own]
        pasts.append(transfer.Past.of(space, own_sources, own_caps) if own else None)
    return Lent(Prior(tuple(pasts)) if any(pasts) else None, tuple(names))


def _about(lesson: Lesson, objective: Any, n_objectives: int) -> Mapping[str, Any] | None:
    """What a past study taught about the objective of that name; of the only one, if both have one."""
    for taught in lesson.objectives:
        if taught["name"] == objective.name or (n_objectives == 1 and len(lesson.objectives) == 1):
            found: Mapping[str, Any] | None = taught["lesson"]
            return found
    return None
