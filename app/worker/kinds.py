"""The kinds of jobs that a worker can run, and how each is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.worker import searches
from app.worker.unit import Done, Unit


@dataclass(frozen=True)
class Kind:
    """`run` does a whole job, `run_part` a part that `Unit.submit` made. What they raise ends it `failed`."""

    name: str
    run: Callable[[Unit], Done]
    run_part: Callable[[Unit], Mapping[str, Any]] | None = None


def _learner(unit: Unit) -> Done:
    from app.worker import learners

    return learners.train(unit)


def _evaluation(unit: Unit) -> Done:
    from app.worker import learners

    return learners.evaluate(unit)


#: By name. What a kind needs to compute is imported when it runs for the first time.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(searches.KIND, searches.run, searches.run_part),
        Kind("learner", _learner),
        Kind("evaluation", _evaluation),
    )
}
