"""What a study is: the part of it that a second PUT is compared with. Pure.

The space, its constraints, the objectives, measured outcomes, the algorithm, the pruning rule and the seed.
Everything is normalised when it is made, so that two definitions are equal exactly if their JSON is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from app.errors import FieldError, Invalid
from app.search.history import Goal
from app.search.pruning import PruningRule
from app.search.space import SearchSpace

Direction = Literal["minimize", "maximize"]
DIRECTIONS: tuple[Direction, ...] = ("minimize", "maximize")
#: The name of the only objective of a study that gave just a `direction`.
SINGLE = "value"


@dataclass(frozen=True)
class Objective:
    name: str
    direction: Direction

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "direction": self.direction}


@dataclass(frozen=True)
class Outcome:
    """A measured constraint: a told value `at_most` or `at_least` a bound makes the trial feasible."""

    name: str
    sense: Literal["at_most", "at_least"]
    bound: float

    def holds(self, value: float) -> bool:
        return value <= self.bound if self.sense == "at_most" else value >= self.bound

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, self.sense: self.bound}


@dataclass(frozen=True)
class Definition:
    space: SearchSpace
    objectives: tuple[Objective, ...]
    outcomes: tuple[Outcome, ...]
    algorithm: Mapping[str, Any]  # {"name": …, options…}
    pruning: PruningRule
    seed: int

    def __post_init__(self) -> None:
        names = [objective.name for objective in self.objectives] + [outcome.name for outcome in self.outcomes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(
                f"objectives and outcomes need names of their own; {twice[0]!r} is there twice",
                errors=[FieldError("/objectives", f"{twice[0]!r} is there twice")],
            )

    @cached_property
    def goal(self) -> Goal:
        return Goal(
            directions=tuple(objective.direction for objective in self.objectives),
            outcomes=tuple((outcome.sense, outcome.bound) for outcome in self.outcomes),
            n_rungs=0 if self.pruning.rungs is None else len(self.pruning.rungs.steps),
        )

    @property
    def is_single(self) -> bool:
        return len(self.objectives) == 1

    @property
    def direction(self) -> Direction:
        """Of the first objective."""
        return self.objectives[0].direction

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """The names every complete trial must tell."""
        return tuple(o.name for o in self.objectives) + tuple(o.name for o in self.outcomes)

    def is_feasible(self, values: Mapping[str, float]) -> bool:
        return all(outcome.holds(values[outcome.name]) for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        return {
            "space": self.space.to_json(),
            "constraints": list(self.space.constraints),
            "objectives": [objective.to_json() for objective in self.objectives],
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "algorithm": algorithm_json(self.algorithm),
            "pruning": pruning_json(self.pruning),
            "seed": self.seed,
        }


def algorithm_json(algorithm: Mapping[str, Any]) -> Any:
    """The short form, a bare name, when there are no options."""
    return algorithm["name"] if set(algorithm) == {"name"} else dict(algorithm)


def pruning_json(pruning: PruningRule) -> Any:
    return "off" if pruning.rule == "off" else pruning.to_json()


def objectives_from_json(given: Sequence[Mapping[str, Any]]) -> tuple[Objective, ...]:
    return tuple(Objective(str(one["name"]), one.get("direction", "minimize")) for one in given)


def outcomes_from_json(given: Sequence[Mapping[str, Any]]) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(str(one["name"]), sense, float(one[sense]))
        for one in given
        for sense in ("at_most", "at_least")
        if one.get(sense) is not None
    )


def differences(here: Any, given: Any, pointer: str = "") -> list[dict[str, Any]]:
    """Where two JSON values differ: [{"pointer", "here", "given"}], deepest places first named; null: not there."""
    if isinstance(here, dict) and isinstance(given, dict):
        names = [*here, *(name for name in given if name not in here)]
        return [
            difference
            for name in names
            for difference in differences(here.get(name), given.get(name), f"{pointer}/{escape(name)}")
        ]
    return [] if _is_same(here, given) else [{"pointer": pointer, "here": here, "given": given}]


def _is_same(here: Any, given: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but not true."""
    if isinstance(here, list) and isinstance(given, list):
        return len(here) == len(given) and all(map(_is_same, here, given))
    return bool(here == given) and isinstance(here, bool) == isinstance(given, bool)


def escape(name: str) -> str:
    """A name as one step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
