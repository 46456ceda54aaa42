"""What studies teach, written down when they end and while they grow.

A lesson is a function of the study's trials, so that it makes no difference who learns it and when: the process that
took the last result, a moment later and before anybody waits for it; or the first ask of a study that builds on it.
"""

from __future__ import annotations

import logging

from app.db import knowledge, studies
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Lesson
from app.errors import NumericalError
from app.search.history import History
from app.services.due import Due
from app.services.memory import Memory
from app.services.turns import short_turns

logger = logging.getLogger("metatune.learning")

#: Complete trials of which a study teaches something.
MIN_COMPLETE = 5
#: A study that goes on is learnt from again when it has changed by this part.
GROWTH = 0.25
#: Between a result and the learning from it; another result begins it anew.
PAUSE_SECONDS = 1.0


def learn(store: Store, address: Address, memory: Memory, *, growth: float = 0.0) -> None:
    """Writes the study's lesson, unless it stands or the study grew by less than `growth`.  Raises: StudyNotFound."""
    with memory.histories.turn(Address(address.project_id, address.name)):
        with store.read(address.project_id) as session:
            here = studies.open_study(session, address)
            if here.study.n_complete < MIN_COMPLETE or not here.definition.space.n_dimensions:
                return
            known = knowledge.latest_of(session, here.study.id)
            if known is not None and stands(here, known, growth):
                return
            news = memory.histories.news(here)
        history = memory.histories.grown(here, news)
    with short_turns():
        objectives = _taught(here, history)
    with store.write(address.project_id) as session:
        now = studies.open_study(session, address, lock=True)
        known = knowledge.latest_of(session, now.study.id)
        if now.study.id != here.study.id or (known is not None and known.n_changes >= news.seen and stands(now, known)):
            return
        knowledge.add(
            session,
            project_id=address.project_id,
            study_id=now.study.id,
            name=now.study.name,
            n_changes=news.seen,
            n_results=int(history.is_measured.sum()),
            space=here.definition.space,
            description=now.study.description,
            tags=now.study.tags,
            metafeatures=now.study.metafeatures,
            objectives=objectives,
        )


def stands(here: OpenStudy, lesson: Lesson, growth: float = 0.0) -> bool:
    """Whether a study still teaches what it taught."""
    study = here.study
    return (
        study.n_changes <= (1.0 + growth) * lesson.n_changes
        and lesson.space == here.definition.space.to_json()
        and (study.description, study.tags, study.metafeatures)
        == (lesson.description, lesson.tags, lesson.metafeatures)
    )


def _taught(here: OpenStudy, history: History) -> list[dict[str, object]]:
    from app.search.transfer import learn  # half a second for SciPy that other answers need not wait for

    taught: list[dict[str, object]] = []
    for j, objective in enumerate(here.definition.objectives):
        try:
            lesson = learn(history, j, here.definition.seed)
        except NumericalError as problem:
            logger.warning("nothing could be learnt", extra={"study": here.study.name, "reason": problem.detail})
            lesson = None
        taught.append(objective.to_json() | {"lesson": None if lesson is None else lesson.to_json()})
    return taught


def learning(store: Store, memory: Memory) -> Due:
    """The thread that is told of results."""
    return Due(
        "learning",
        PAUSE_SECONDS,
        lambda address: learn(store, address, memory, growth=GROWTH),
        logger,
        "nothing could be learnt; the first ask that builds on it will try again",
    )
