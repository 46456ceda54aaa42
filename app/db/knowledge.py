"""What studies taught: kept, found by words, and frozen for those who build on it.

Whatever is asked here reads a bounded number of rows, however many studies are kept: through indexes, the newest first.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, exists, or_, select, update
from sqlalchemy.orm import Session, defer

from app.db import studies
from app.db.session import database_now
from app.db.studies import OpenStudy
from app.db.tables import Lesson, LessonWord, PriorSource, Study
from app.search.space import SearchSpace

#: Lessons that are looked at for one study: the newest of its own kind, and the newest with each of its words.
NEWEST_ALIKE, NEWEST_PER_WORD, MAX_WORDS = 100, 20, 24


def signature(space: SearchSpace) -> str:
    kinds = sorted((name, kind.type) for name, kind in space.parameters.items())
    return hashlib.blake2b(json.dumps(kinds).encode(), digest_size=16).hexdigest()


def words_of(*texts: str) -> list[str]:
    """In lower case, each once, in order."""
    found = re.findall(r"[^\W_]{2,}", " ".join(texts).lower())
    return list(dict.fromkeys(word[:128] for word in found))


def _parameter_words(space: SearchSpace, other_names: Iterable[str] = ()) -> list[str]:
    """What the parameters are called, aliases included, each once."""
    aliases = [alias for kind in space.parameters.values() for alias in kind.aliases]
    names = [*space.parameters, *aliases, *other_names]
    return [f"={name}" for name in dict.fromkeys(names)][:MAX_WORDS]


def add(
    session: Session,
    *,
    project_id: int,
    study_id: int | None,
    name: str,
    n_changes: int,
    n_results: int,
    space: SearchSpace,
    description: str,
    tags: Mapping[str, str],
    metafeatures: Mapping[str, float],
    objectives: Sequence[Mapping[str, Any]],
) -> Lesson:
    """In place of what the study, or an import of that name, taught before."""
    before = select(Lesson.id).where(Lesson.project_id == project_id, Lesson.name == name, Lesson.is_latest)
    own = before.where(Lesson.study_id.is_(None)) if study_id is None else before.where(Lesson.study_id == study_id)
    old = list(session.scalars(own))
    if old:
        session.execute(delete(LessonWord).where(LessonWord.lesson_id.in_(old)))
        session.execute(update(Lesson).where(Lesson.id.in_(old)).values(is_latest=False))
        session.execute(delete(Lesson).where(Lesson.id.in_(old), ~exists().where(PriorSource.lesson_id == Lesson.id)))
    lesson = Lesson(
        project_id=project_id,
        study_id=study_id,
        name=name,
        is_latest=True,
        n_changes=n_changes,
        n_results=n_results,
        signature=signature(space),
        space=space.to_json(),
        description=description,
        tags=dict(tags),
        metafeatures=dict(metafeatures),
        objectives=[dict(objective) for objective in objectives],
        created_at=session.execute(select(database_now())).scalar_one(),
    )
    session.add(lesson)
    session.flush()
    told = words_of(name, description, *tags, *map(str, tags.values()))[:MAX_WORDS]
    for word in [*told, *_parameter_words(space)]:
        session.add(LessonWord(lesson_id=lesson.id, word=word, project_id=project_id))
    session.flush()  # the next lesson may replace this one, words and all
    return lesson


def _offered(project_id: int) -> Select[Lesson]:
    """The latest lessons of studies that are there, and imported ones."""
    lives = exists().where(Study.id == Lesson.study_id, Study.deleted_at.is_(None))
    return select(Lesson).where(
        Lesson.project_id == project_id, Lesson.is_latest, or_(Lesson.study_id.is_(None), lives)
    )


def candidates(
    session: Session,
    project_id: int,
    *,
    space: SearchSpace | None,
    words: Sequence[str],
    apart_from: int | None,
    other_names: Iterable[str] = (),
) -> Sequence[Lesson]:
    """Those that may be alike, without their observations; the newest first.

    other_names: what they may call the space's parameters.
    """
    ids: set[int] = set()
    if space is not None:
        own = select(Lesson.id).where(
            Lesson.project_id == project_id, Lesson.signature == signature(space), Lesson.is_latest
        )
        ids |= set(session.scalars(own.order_by(Lesson.id.desc()).limit(NEWEST_ALIKE)))
        words = [*words[:MAX_WORDS], *_parameter_words(space, other_names)]
    for word in words:
        with_word = select(LessonWord.lesson_id).where(LessonWord.project_id == project_id, LessonWord.word == word)
        ids |= set(session.scalars(with_word.order_by(LessonWord.lesson_id.desc()).limit(NEWEST_PER_WORD)))
    query = _offered(project_id).where(Lesson.id.in_(sorted(ids))).options(defer(Lesson.objectives))
    if apart_from is not None:
        query = query.where(or_(Lesson.study_id.is_(None), Lesson.study_id != apart_from))
    return session.scalars(query.order_by(Lesson.id.desc())).all()


def named(session: Session, project_id: int, names: Iterable[str]) -> dict[str, Lesson]:
    """By name; a study goes before an import of the same name."""
    found = session.scalars(
        _offered(project_id).where(Lesson.name.in_(list(names))).order_by(Lesson.study_id.is_(None).desc(), Lesson.id)
    )
    return {lesson.name: lesson for lesson in found}


def names_among(session: Session, project_id: int, names: Sequence[str]) -> set[str]:
    """Those that are a study, or an imported lesson."""
    living = select(Study.name).where(Study.project_id == project_id, Study.name.in_(names), Study.deleted_at.is_(None))
    return {*session.scalars(living), *named(session, project_id, names)}


def latest_of(session: Session, study_id: int) -> Lesson | None:
    return session.scalars(select(Lesson).where(Lesson.study_id == study_id, Lesson.is_latest)).one_or_none()


def imported(session: Session, project_id: int, name: str) -> Lesson | None:
    query = _offered(project_id).where(Lesson.name == name, Lesson.study_id.is_(None))
    found: Lesson | None = session.scalars(query).one_or_none()
    return found


def now(session: Session) -> datetime:
    return session.execute(select(database_now())).scalar_one()


def whole(session: Session, ids: Sequence[int]) -> dict[int, Lesson]:
    """With their observations."""
    return {lesson.id: lesson for lesson in session.scalars(select(Lesson).where(Lesson.id.in_(ids)))}


def page(session: Session, project_id: int, *, after: int | None, limit: int) -> Sequence[Lesson]:
    query = _offered(project_id).order_by(Lesson.id).limit(limit)
    return session.scalars(query if after is None else query.where(Lesson.id > after)).all()


# --- what a study builds on -------------------------------------------------------------------------------------


def sources(here: OpenStudy) -> Sequence[tuple[PriorSource, Lesson]]:
    """In order; those whose study was deleted are gone."""
    lives = exists().where(Study.id == Lesson.study_id, Study.deleted_at.is_(None))
    rows = here.session.execute(
        select(PriorSource, Lesson)
        .join(Lesson, Lesson.id == PriorSource.lesson_id)
        .where(PriorSource.study_id == here.study.id, or_(Lesson.study_id.is_(None), lives))
        .order_by(PriorSource.position)
    )
    return [(row[0], row[1]) for row in rows]


def freeze(here: OpenStudy, considered: Iterable[Mapping[str, Any]]) -> None:
    """Writes what the study builds on, in place of what it did."""
    here.session.execute(delete(PriorSource).where(PriorSource.study_id == here.study.id))
    for position, source in enumerate(considered):
        here.session.add(PriorSource(study_id=here.study.id, position=position, **source))
    here.study.knowledge_version = abs(here.study.knowledge_version or 0) + 1


def take_away(session: Session, lesson_ids: Sequence[int], name: str, *, by: str) -> None:
    """Lessons that are deleted, from all studies that build on them, which note it."""
    using = select(PriorSource.study_id).where(PriorSource.lesson_id.in_(lesson_ids))
    builders = session.scalars(select(Study).where(Study.id.in_(using)).order_by(Study.id).with_for_update()).all()
    session.execute(delete(PriorSource).where(PriorSource.lesson_id.in_(lesson_ids)))
    for study in builders:
        study.knowledge_version = abs(study.knowledge_version or 0) + 1
        here = OpenStudy(session, study, studies.definition_of(session, study), now(session), by=by)
        here.record("study.updated", study.state)
        here.log("prior", before={"source": name}, reason="the source was deleted")


def lesson_ids(session: Session, study_id: int) -> Sequence[int]:
    return session.scalars(select(Lesson.id).where(Lesson.study_id == study_id)).all()
