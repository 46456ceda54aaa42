"""Kept adaptations of few-shot learners: rows that name a support set in the artefact store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import artefacts
from app.db.jobs import OpenJob
from app.db.tables import Adaptation
from app.errors import AdaptationNotFound

#: Kinds of jobs, and of uploads, that few-shot adaptation has.
LEARNER, EVALUATION, DATASET = "learner", "evaluation", "dataset"


def find(learner: OpenJob, name: str, *, lock: bool = False) -> Adaptation | None:
    query = select(Adaptation).where(Adaptation.learner_id == learner.job.id, Adaptation.name == name)
    return learner.session.scalars(query.with_for_update() if lock else query).one_or_none()


def get(learner: OpenJob, name: str, *, lock: bool = False) -> Adaptation:
    """Raises: AdaptationNotFound."""
    found = find(learner, name, lock=lock)
    if found is None:
        raise AdaptationNotFound(f"learner {learner.job.name!r} keeps no adaptation {name!r}")
    return found


def keep(learner: OpenJob, name: str, artefact_id: str, summary: Mapping[str, Any]) -> tuple[Adaptation, bool]:
    """In place of the one that had the name; whether it is new."""
    there = find(learner, name, lock=True)
    if there is None:
        made = Adaptation(
            project_id=learner.job.project_id,
            learner_id=learner.job.id,
            name=name,
            summary=dict(summary),
            artefact_id=artefact_id,
            revision=1,
            created_at=learner.now,
            changed_at=learner.now,
        )
        learner.session.add(made)
        return made, True
    change(learner, there, artefact_id, summary)
    return there, False


def change(learner: OpenJob, row: Adaptation, artefact_id: str, summary: Mapping[str, Any]) -> None:
    """Another support set."""
    before, row.artefact_id, row.summary = row.artefact_id, artefact_id, dict(summary)
    row.revision, row.changed_at = row.revision + 1, learner.now
    artefacts.remove(learner.session, before)


def page(session: Session, learner: OpenJob, *, after: str | None, limit: int) -> Sequence[Adaptation]:
    """By name."""
    name: Any = Adaptation.name
    name = name.collate("C") if session.get_bind().dialect.name == "postgresql" else name
    query = select(Adaptation).where(Adaptation.learner_id == learner.job.id)
    if after is not None:
        query = query.where(name > after)
    return session.scalars(query.order_by(name).limit(limit)).all()


def remove(learner: OpenJob, row: Adaptation) -> None:
    """With its support set."""
    artefact_id = row.artefact_id
    learner.session.delete(row)
    artefacts.remove(learner.session, artefact_id)
