"""Examples: what a search's networks are made for, by the name of a dataset; an uploaded one comes before a bundled.

Which one a name meant is settled when a search is submitted: an upload under a bundled name changes none that is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Session

from app.db import artefacts, uploads
from app.db.adaptations import DATASET
from app.db.session import Store
from app.db.tables import Upload
from app.errors import FieldError, Invalid
from app.nas.data import BUNDLED, LEAST_EXAMPLES, Split, digits, split_of
from app.nas.network import Shape

#: Datasets whose examples a process keeps.
SPLITS_KEPT = 2
#: In place of an artefact's id.
BUNDLE = "bundled"


def source_of(session: Session, project_id: int, evaluator: Mapping[str, Any]) -> str | None:
    """BUNDLE, the artefact of the dataset that its name means now, or nothing, where no examples are needed.

    Raises: DatasetNotFound, Invalid.
    """
    name = evaluator["dataset"]
    if evaluator["name"] == "table" or evaluator.get("shape") is not None:
        return None
    if name in BUNDLED and uploads.find(session, project_id, DATASET, name) is None:
        return BUNDLE
    return _upload(session, project_id, name).artefact_id


def shape_of(session: Session, project_id: int, evaluator: Mapping[str, Any], source: str | None) -> tuple[Shape, int]:
    """Of one example, and how many classes there are.  Raises: DatasetNotFound, Invalid."""
    if evaluator.get("shape") is not None:
        return tuple(evaluator["shape"]), int(evaluator["classes"])
    if source == BUNDLE:
        return BUNDLED[evaluator["dataset"]]
    summary = _upload(session, project_id, evaluator["dataset"]).summary
    shape = tuple(int(one) for one in summary["shape"])
    return (*shape, 1) if len(shape) == 2 else shape, int(summary["classes"])


def split_for(store: Store, project_id: int, source: str) -> Split:
    """The examples in their three parts.  Raises: Invalid."""
    return _digits() if source == BUNDLE else _uploaded(store, project_id, source)


def _upload(session: Session, project_id: int, name: str) -> Upload:
    upload = uploads.get(session, project_id, DATASET, name)
    if upload.summary["kind"] != "classification":
        raise _wrong(f"the dataset {name!r} holds tasks of regression, and a search trains networks that tell classes")
    if upload.summary["smallest_class"] < LEAST_EXAMPLES:
        raise _wrong(
            f"a class of the dataset {name!r} has {upload.summary['smallest_class']} examples; a search needs "
            f"{LEAST_EXAMPLES} of each, for training, for validation and for the last judgement"
        )
    return upload


@lru_cache(1)
def _digits() -> Split:
    return digits()


@lru_cache(SPLITS_KEPT)
def _uploaded(store: Store, project_id: int, artefact_id: str) -> Split:
    from app.fewshot.dataset import Dataset  # half a second for SciPy that other processes do without

    dataset = Dataset.from_bytes(artefacts.read(store, project_id, artefact_id))
    return split_of(dataset.x, dataset.numbers, dataset.names)


def _wrong(detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError("/evaluator/dataset", detail)])
