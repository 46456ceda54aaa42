"""Zero-shot: what past studies recommend to a study that is not there yet, and their exchange between sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from app.db import audit, idempotency, knowledge
from app.db.idempotency import Once
from app.db.session import Store
from app.db.tables import Lesson
from app.definition import SINGLE, Objective
from app.errors import FieldError, Invalid, InvalidSearchSpace, StudyNotFound
from app.search.space import SearchSpace
from app.services.priors import lent_to
from app.services.sources import Considered, consider
from app.services.turns import short_turns

#: Score of a past result that only a tenth of its study's results beat.
BEST_TENTH = -1.2815515655446004
#: What an exported file says it is.
FORMAT: Final = 1
KIND: Final = "metatune-knowledge"


@dataclass(frozen=True)
class Wish:
    """A study in words.  space None: that of the past study most alike.  aliases: other names of parameters."""

    space: SearchSpace | None
    description: str
    metafeatures: Mapping[str, float]
    objective: str = SINGLE
    count: int = 5
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Recommended:
    """expected_quantile: the part of the past studies' results that should be better.  sources: who says so."""

    params: Mapping[str, Any]
    expected_quantile: float
    sources: Sequence[str]


@dataclass(frozen=True)
class Recommendation:
    """space: in which the configurations are."""

    items: Sequence[Recommended]
    considered: Sequence[Considered]
    space: SearchSpace | None


def recommend(store: Store, project_id: int, wish: Wish) -> Recommendation:
    """Configurations that complement one another, the best first; none, where nothing alike is known.

    Raises: Invalid, if neither space nor words nor metafeatures are given.
    """
    from app.search.similarity import Portrait

    words = knowledge.words_of(wish.description)
    if wish.space is None and not words and not wish.metafeatures:
        detail = "tell something of the study: its space, a description, or metafeatures"
        raise Invalid(detail, errors=[FieldError("/description", detail)])
    space = wish.space
    with store.read(project_id) as session:
        portrait = Portrait(space, words, wish.metafeatures)
        found = consider(session, project_id, portrait, aliases=wish.aliases)
        if space is None and found:
            space = SearchSpace.from_json(found[0].lesson.space)
            found = consider(session, project_id, Portrait(space, words, wish.metafeatures), aliases=wish.aliases)
        lessons = knowledge.whole(session, [one.lesson.id for one in found if one.is_taken])
    if space is None or not lessons or not space.n_dimensions:
        return Recommendation([], found, space)
    with short_turns():
        items = _items(space, [lessons[one.lesson.id] for one in found if one.is_taken], wish)
    return Recommendation(items, found, space)


def _items(space: SearchSpace, lessons: Sequence[Lesson], wish: Wish) -> list[Recommended]:
    from scipy.special import ndtr

    from app.search.history import Goal, History

    lent = lent_to(space, [Objective(wish.objective, "minimize")], lessons, aliases=wish.aliases)
    past = None if lent.prior is None else lent.prior.pasts[0]
    if lent.prior is None or past is None:
        return []
    rows = lent.prior.items(History.of(space, Goal(("minimize",)), []), wish.count)
    if not len(rows):
        return []
    scores = past.means(rows)
    found = []
    for k in np.argsort(scores.mean(axis=1), kind="stable"):
        for_it = [lent.names[0][s] for s in np.argsort(scores[k], kind="stable") if scores[k, s] <= BEST_TENTH]
        best = for_it or [lent.names[0][int(np.argmin(scores[k]))]]
        found.append(Recommended(space.decode(rows[k]), float(ndtr(scores[k].mean())), best))
    return found


# --- one file for another site ----------------------------------------------------------------------------------


def export(store: Store, project_id: int, *, raw: bool) -> dict[str, Any]:
    """Every lesson of the project; without `raw` the ranks of results, not what they came to."""
    entries: list[dict[str, Any]] = []
    with store.read(project_id) as session:
        after = None
        while page := knowledge.page(session, project_id, after=after, limit=100):
            entries += [_entry(lesson, raw) for lesson in page]
            after = page[-1].id
            session.expunge_all()
    return {"format": FORMAT, "kind": KIND, "entries": entries}


def _entry(lesson: Lesson, raw: bool) -> dict[str, Any]:
    objectives = []
    for objective in lesson.objectives:
        taught = objective["lesson"]
        if taught is not None and not raw:
            taught = {name: value for name, value in taught.items() if name != "values"}
        objectives.append({**objective, "lesson": taught})
    return {
        "name": lesson.name,
        "description": lesson.description,
        "tags": lesson.tags,
        "metafeatures": lesson.metafeatures,
        "n_results": lesson.n_results,
        "objectives": objectives,
        "space": lesson.space,
    }


def bring(
    store: Store, project_id: int, entries: Sequence[Mapping[str, Any]], *, by: str, once: Once | None = None
) -> int:
    """Takes in what another site exported, all or nothing; an import of the same name is replaced.

    Raises: Invalid, with the place of what does not fit.
    """
    from app.search.transfer import Lesson as Taught

    spaces = []
    for k, entry in enumerate(entries):
        try:
            spaces.append(SearchSpace.from_json(entry["space"]))
            for objective in entry["objectives"]:
                if objective["lesson"] is not None:
                    Taught.from_json(objective["lesson"])
        except (InvalidSearchSpace, Invalid, KeyError, TypeError, ValueError) as problem:
            detail = getattr(problem, "detail", None) or f"does not fit together: {problem!r}"
            raise Invalid(f"entry {k}: {detail}", errors=[FieldError(f"/entries/{k}", str(detail))]) from problem
    with store.write(project_id) as session:
        before = idempotency.remembered(session, once)
        if before is not None:
            return int(before["imported"])
        at = None
        for entry, space in zip(entries, spaces, strict=True):
            lesson = knowledge.add(
                session,
                project_id=project_id,
                study_id=None,
                name=entry["name"],
                n_changes=0,
                n_results=entry["n_results"],
                space=space,
                description=entry["description"],
                tags=entry["tags"],
                metafeatures=entry["metafeatures"],
                objectives=entry["objectives"],
            )
            at = lesson.created_at
        if at is not None:
            audit.record(
                session, project_id, by=by, action="knowledge.imported", target="knowledge", at=at, entries=len(spaces)
            )
            idempotency.remember(session, once, {"imported": len(spaces)}, at)
    return len(spaces)


def forget(store: Store, project_id: int, name: str, *, by: str) -> None:
    """Deletes an imported lesson; studies that build on it note it.  Raises: StudyNotFound."""
    with store.write(project_id) as session:
        lesson = knowledge.imported(session, project_id, name)
        if lesson is None:
            raise StudyNotFound(
                f"no imported study is named {name!r}; what studies of this server teach goes with them"
            )
        now = knowledge.now(session)
        knowledge.take_away(session, [lesson.id], name, by=by)
        audit.record(session, project_id, by=by, action="knowledge.deleted", target=f"knowledge/{name}", at=now)
        session.delete(lesson)
