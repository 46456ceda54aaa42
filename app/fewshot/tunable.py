"""A learner's own hyperparameters as a search space, in the words of a study's definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.errors import FieldError, Invalid
from app.fewshot.spec import GRADIENT_BASED

COMMON: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 3e-4, "high": 3e-2, "scale": "log"},
    "width": {"type": "int", "low": 16, "high": 128, "scale": "log"},
}
INNER: dict[str, Any] = {
    "inner_rate": {"type": "float", "low": 1e-2, "high": 1.0, "scale": "log"},
    "inner_steps": {"type": "int", "low": 1, "high": 5},
}
OWN: dict[str, dict[str, Any]] = {
    "prototypical": {"distance": {"type": "categorical", "choices": ["euclidean", "cosine"]}},
    "metasvm": {"head": {"type": "categorical", "choices": ["ridge", "svm"]}},
}


def space_of(method: str, backbone: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is searched: all that the method has and the caller left open.  Raises: Invalid, if that is nothing."""
    if backbone == "hog":
        raise _nothing("hog has no hyperparameters to search; leave `tune` out, or take another backbone")
    space = COMMON | (INNER if method in GRADIENT_BASED else OWN.get(method, {}))
    found = {name: parameter for name, parameter in space.items() if name not in given}
    if not found:
        raise _nothing(f"`options` fix all that `tune` would search ({', '.join(space)}); leave one of them out")
    return found


def _nothing(detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError("/tune", detail)])
