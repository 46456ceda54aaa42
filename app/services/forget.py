"""Forget: a dataset that no unfinished job needs."""

from __future__ import annotations

from app.db import jobs, uploads
from app.db.adaptations import DATASET
from app.db.session import Store
from app.errors import DatasetInUse


def forget_dataset(store: Store, project_id: int, name: str, *, by: str) -> None:
    """Raises: DatasetNotFound, DatasetInUse."""
    with store.write(project_id) as session:
        upload = uploads.get(session, project_id, DATASET, name)
        for job in jobs.open_ones(session, project_id):
            if name in _needed(job.body):
                raise DatasetInUse(f"{job.kind} {job.name!r} is {job.state} and needs it; cancel that first")
        uploads.remove(session, upload, by=by)


def _needed(body: dict[str, object]) -> list[object]:
    """Datasets that a job's body names, of whatever kind it is."""
    evaluator = body.get("evaluator")
    named = [body.get("dataset"), evaluator.get("dataset") if isinstance(evaluator, dict) else None]
    return [name for one in named for name in (one if isinstance(one, list) else [one])]
