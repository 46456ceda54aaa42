"""What studies teach, written down when they end and while they grow.

A lesson is a function of the study's trials, so that it makes no difference who learns it and when: the process that
took the last result, a moment later and before anybody waits for it; or the first ask of a study that builds on it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict

from app.db import knowledge, studies
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Lesson
from app.errors import NumericalError, StudyNotFound
from app.search.history import History
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


class Learning:
    """A thread of each API process, and what it is told of results."""

    def __init__(self, store: Store, memory: Memory) -> None:
        self.store = store
        self.memory = memory
        self._due_at: OrderedDict[Address, float] = OrderedDict()  # rising
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="learning", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A lesson under way is finished first."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def told(self, address: Address) -> None:
        with self._changed:
            self._due_at[address] = time.monotonic() + PAUSE_SECONDS
            self._due_at.move_to_end(address)
            self._changed.notify()

    def _run(self) -> None:
        while (address := self._next()) is not None:
            try:
                learn(self.store, address, self.memory, growth=GROWTH)
            except StudyNotFound:
                continue
            except Exception:  # the first ask that builds on it will try again
                logger.warning("nothing could be learnt", exc_info=True, extra={"study": address.name})

    def _next(self) -> Address | None:
        """Waits for a study that is due; None: the process stops."""
        with self._changed:
            while not self._is_stopping:
                if not self._due_at:
                    self._changed.wait()
                    continue
                address, due_at = next(iter(self._due_at.items()))
                left = due_at - time.monotonic()
                if left <= 0:
                    del self._due_at[address]
                    return address
                self._changed.wait(left)
            return None
