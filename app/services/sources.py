"""Which past studies lend to a new one: chosen and frozen at its first ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from app.db import knowledge, studies
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Lesson
from app.errors import StudyNotFound
from app.search.space import SearchSpace
from app.services.learning import learn
from app.services.memory import Memory
from app.services.priors import is_open

if TYPE_CHECKING:  # half a second for SciPy that other answers need not wait for
    from app.search.similarity import Likeness, Portrait

#: Of those that were considered and left, so many are kept for who wants to know.
MAX_LEFT = 30


@dataclass(frozen=True)
class Considered:
    """A past study that may lend.  stale: it has learnt more since its lesson."""

    lesson: Lesson
    likeness: Likeness
    is_taken: bool
    why: str
    stale: bool = False

    def row(self) -> dict[str, Any]:
        return {
            "lesson_id": self.lesson.id,
            "is_taken": self.is_taken,
            "similarity": self.likeness.similarity,
            "why": self.why,
            "cap": 1.0,
        }


def consider(
    session: Session,
    project_id: int,
    portrait: Portrait,
    *,
    names: Sequence[str] | None = None,
    apart_from: int | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> list[Considered]:
    """Past studies that may lend to one like the portrait: those taken first, the most alike first.

    names: only these, which are taken as given.
    """
    from app.search.similarity import likenesses
    from app.search.transfer import MAX_SOURCES

    if names is not None:
        by_name = knowledge.named(session, project_id, names)
        lessons = [by_name[name] for name in names if name in by_name and by_name[name].study_id != apart_from]
    else:
        other_names = [other for others in (aliases or {}).values() for other in others]
        lessons = list(
            knowledge.candidates(
                session,
                project_id,
                space=portrait.space,
                words=portrait.words,
                apart_from=apart_from,
                other_names=other_names,
            )
        )
    found = likenesses(portrait, [portrait_of(lesson) for lesson in lessons], aliases)
    order = range(len(lessons))
    if names is None:
        order = sorted(order, key=lambda i: (-found[i].similarity, -lessons[i].id))  # type: ignore[assignment]
    taken: list[Considered] = []
    left: list[Considered] = []
    for i in order:
        lesson, likeness = lessons[i], found[i]
        if portrait.space is not None and not likeness.matched:
            left.append(Considered(lesson, likeness, False, "it shares no parameter"))
        elif names is None and not likeness.covers:
            left.append(Considered(lesson, likeness, False, f"left: {likeness.why}, fewer than half"))
        elif len(taken) == MAX_SOURCES:
            left.append(Considered(lesson, likeness, False, f"left: {MAX_SOURCES} others are more alike"))
        else:
            why = "named" if names is not None else likeness.why
            taken.append(Considered(lesson, likeness, True, why))
    return [*taken, *left[:MAX_LEFT]]


def portrait_of(lesson: Lesson) -> Portrait:
    from app.search.similarity import Portrait

    words = knowledge.words_of(lesson.name, lesson.description, *lesson.tags, *map(str, lesson.tags.values()))
    return Portrait(SearchSpace.from_json(lesson.space), words, lesson.metafeatures)


def portrait_of_study(here: OpenStudy) -> Portrait:
    from app.search.similarity import Portrait

    study = here.study
    words = knowledge.words_of(study.name, study.description, *study.tags, *map(str, study.tags.values()))
    return Portrait(here.definition.space, words, study.metafeatures)


def settle(store: Store, address: Address, memory: Memory) -> None:
    """Chooses what the study builds on and freezes it, unless that is done.

    Studies that have learnt more since their lesson are learnt from first.  Raises: StudyNotFound.
    """
    with store.read(address.project_id) as session:
        here = studies.open_study(session, address)
        if not is_open(here):
            return
        names = here.study.warm_start if isinstance(here.study.warm_start, list) else None
        found = consider(session, address.project_id, portrait_of_study(here), names=names, apart_from=here.study.id)
    for name in names if names is not None else [one.lesson.name for one in found if one.is_taken]:
        with suppress(StudyNotFound):  # an import has no study
            learn(store, Address(address.project_id, name), memory)
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        if is_open(here):
            freeze(here)


def freeze(here: OpenStudy) -> None:
    names = here.study.warm_start if isinstance(here.study.warm_start, list) else None
    found = consider(
        here.session, here.study.project_id, portrait_of_study(here), names=names, apart_from=here.study.id
    )
    knowledge.freeze(here, [one.row() for one in found])
