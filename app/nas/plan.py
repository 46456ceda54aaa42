"""A search as it was asked for, read and checked: the body of the contract, as far as it can be told without data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import FieldError, Invalid, NotAvailableYet
from app.nas.data import BUNDLED
from app.nas.network import Shape
from app.nas.problem import Problem
from app.nas.search import Settings
from app.nas.spaces import Space, space_from_json
from app.nas.strategies import Strategy
from app.nas.table import Lookup

EVALUATORS = ("train", "table")


@dataclass(frozen=True)
class Plan:
    space: Space
    strategy: Strategy
    evaluator: Mapping[str, Any]
    metric: str
    measure: str
    penalty: float
    evaluations: int
    max_seconds: float | None
    parallel: int
    seed: int

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Plan:
        """Raises: Invalid, naming the place."""
        strategy = Strategy.from_json(body["strategy"])
        evaluator, reward, budget = body["evaluator"], body["reward"], body["budget"]
        name = evaluator["name"]
        if name == "external":
            raise NotAvailableYet(
                f"the evaluator 'external' is not available yet; there are {', '.join(EVALUATORS)}",
                errors=[FieldError("/evaluator/name", "is not available yet")],
            )
        if strategy.name == "halving" and name == "table":
            raise _wrong("/strategy/name", "halving stops trainings early, and a table has only finished ones")
        if reward["complexity"] == "latency" and name == "train":
            raise NotAvailableYet(
                "the complexity 'latency' is not available yet for trained networks; there are parameters, flops",
                errors=[FieldError("/reward/complexity", "is not available yet")],
            )
        return cls(
            space=space_from_json(body["space"]),
            strategy=strategy,
            evaluator=evaluator,
            metric=reward["metric"],
            measure=reward["complexity"],
            penalty=reward["penalty"],
            evaluations=budget["evaluations"],
            max_seconds=budget.get("max_seconds"),
            parallel=budget["parallel"],
            seed=body["seed"],
        )

    def settings(self) -> Settings:
        epochs = self.evaluator.get("epochs") if self.evaluator["name"] == "train" else None
        return Settings(self.strategy, self.seed, self.evaluations, self.parallel, epochs)

    def problem_of_networks(self, shape: Shape, n_classes: int) -> Problem:
        return Problem.of_networks(
            self.space, shape, n_classes, measure=self.measure, penalty=self.penalty, front=self.strategy.front
        )

    def problem_of_table(self, lookup: Lookup) -> Problem:
        return lookup.problem(measure=self.measure, penalty=self.penalty, front=self.strategy.front)


def bundled(dataset: str) -> tuple[Shape, int]:
    """Shape and classes.  Raises: NotAvailableYet."""
    if dataset not in BUNDLED:
        raise NotAvailableYet(
            f"searches train on {', '.join(BUNDLED)}; registered datasets are not available yet, got {dataset!r}",
            errors=[FieldError("/evaluator/dataset", "is not available yet")],
        )
    return BUNDLED[dataset]


def _wrong(pointer: str, detail: str) -> Invalid:
    return Invalid(f"{pointer[1:]}: {detail}", errors=[FieldError(pointer, detail)])
