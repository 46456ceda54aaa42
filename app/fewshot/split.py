"""Train, validation and test, split by class: what a learner is judged on, it has never seen an example of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from app.errors import FieldError, Invalid
from app.fewshot.dataset import Dataset

SPLIT_STREAM = 0x5917
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class SplitRule:
    """`validation` and `test` are shares of the classes, or of the groups, or the very groups (or classes) by name."""

    validation: float | tuple[str, ...] = VALIDATION_SHARE
    test: float | tuple[str, ...] = 0.0
    by_group: bool = False


@dataclass(frozen=True)
class Split:
    """Class numbers."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...] = field(default=())


def split(dataset: Dataset, rule: SplitRule, seed: int) -> Split:
    """Whatever was not asked for elsewhere is for training.

    Raises: Invalid, if a name is unknown, or nothing is left to train on or to judge on.
    """
    rng = np.random.default_rng([seed, SPLIT_STREAM])
    left = list(range(len(dataset.names)))
    parts = {}
    for part, wish in (("validation", rule.validation), ("test", rule.test)):
        named = not isinstance(wish, (int, float))
        parts[part] = _named(dataset, wish, part) if named else _drawn(dataset, wish, rule.by_group, left, rng)  # type: ignore[arg-type]
        if set(parts[part]) - set(left):
            raise _invalid(part, "validation and test name the same classes")
        left = [number for number in left if number not in set(parts[part])]
    if not left or not parts["validation"]:
        raise _invalid(
            "validation",
            f"of {len(dataset.names)} classes it leaves {len(left)} to train on and "
            f"{len(parts['validation'])} to judge on; each needs some",
        )
    return Split(tuple(left), tuple(parts["validation"]), tuple(parts["test"]))


def _named(dataset: Dataset, wish: Sequence[str], part: str) -> list[int]:
    names = dataset.groups if dataset.groups is not None else tuple(map(str, dataset.names))
    unknown = sorted(set(wish) - set(names))
    if unknown:
        there = ", ".join(sorted(set(names))[:10])
        raise _invalid(
            part, f"the dataset has no {unknown[0]!r}; it has {there}{', …' if len(set(names)) > 10 else ''}"
        )
    return [number for number, name in enumerate(names) if name in wish]


def _drawn(dataset: Dataset, share: float, by_group: bool, left: Sequence[int], rng: np.random.Generator) -> list[int]:
    if share == 0:
        return []
    if not by_group or dataset.groups is None:
        n = max(1, round(share * len(dataset.names)))
        return sorted(int(number) for number in rng.permutation(left)[:n])
    groups = sorted({dataset.groups[number] for number in left})
    n = max(1, round(share * len(set(dataset.groups))))
    chosen = {groups[i] for i in rng.permutation(len(groups))[:n]}
    return [number for number in left if dataset.groups[number] in chosen]


def _invalid(part: str, detail: str) -> Invalid:
    return Invalid(detail, errors=[FieldError(f"/split/{part}", detail)])
