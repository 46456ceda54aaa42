"""Examples: what a search's networks are made for, by the name of a dataset; a bundled one comes before an uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.db import artefacts, uploads
from app.db.adaptations import DATASET
from app.db.session import Store
from app.db.tables import Upload
from app.errors import FieldError, Invalid
from app.nas.data import BUNDLED, LEAST_EXAMPLES, Split, digits, split_of
from app.nas.network import Shape

#: Datasets whose examples a process keeps.
SPLITS_KEPT = 2


def shape_of(store: Store, project_id: int, evaluator: Mapping[str, Any]) -> tuple[Shape, int]:
    """Of one example, and how many classes there are.  Raises: DatasetNotFound, Invalid."""
    if evaluator.get("shape") is not None:
        return tuple(evaluator["shape"]), int(evaluator["classes"])
    if evaluator["dataset"] in BUNDLED:
        return BUNDLED[evaluator["dataset"]]
    summary = _upload(store, project_id, evaluator["dataset"]).summary
    shape = tuple(int(one) for one in summary["shape"])
    return (*shape, 1) if len(shape) == 2 else shape, int(summary["classes"])


def split_for(store: Store, project_id: int, evaluator: Mapping[str, Any]) -> Split:
    """The examples in their three parts.  Raises: DatasetNotFound, Invalid."""
    if evaluator["dataset"] in BUNDLED:
        return _digits()
    return _uploaded(store, project_id, _upload(store, project_id, evaluator["dataset"]).artefact_id)


def _upload(store: Store, project_id: int, name: str) -> Upload:
    with store.read(project_id) as session:
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
