"""A search as it was asked for, read and checked: the body of the contract, as far as it can be told without data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import FieldError, Invalid
from app.nas.network import Network, Shape
from app.nas.problem import Problem
from app.nas.search import Settings
from app.nas.spaces import Space, space_from_json
from app.nas.strategies import Strategy
from app.nas.table import Lookup


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
        if (evaluator.get("shape") is None) != (evaluator.get("classes") is None):
            raise _wrong("/evaluator/shape", "and classes go together: both say what your script trains on")
        if evaluator.get("shape") is not None and name != "external":
            raise _wrong("/evaluator/shape", f"is for the evaluator external; {name} knows its examples")
        if strategy.name == "halving" and name == "table":
            raise _wrong("/strategy/name", "halving stops trainings early, and a table has only finished ones")
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
        name, halves = self.evaluator["name"], self.strategy.name == "halving"
        epochs = self.evaluator.get("epochs") if name == "train" or (name == "external" and halves) else None
        return Settings(self.strategy, self.seed, self.evaluations, self.parallel, epochs)

    def problem_of_networks(
        self, shape: Shape, n_classes: int, latency: Callable[[Network], float] = Network.parameters
    ) -> Problem:
        """`latency`: how long a network takes; parameters stand for it where nothing is timed."""
        measure = {"parameters": Network.parameters, "flops": Network.flops, "latency": latency}[self.measure]
        return Problem.of_networks(
            self.space, shape, n_classes, measure=measure, penalty=self.penalty, front=self.strategy.front
        )

    def problem_of_table(self, lookup: Lookup) -> Problem:
        return lookup.problem(measure=self.measure, penalty=self.penalty, front=self.strategy.front)


def _wrong(pointer: str, detail: str) -> Invalid:
    return Invalid(f"{pointer[1:]}: {detail}", errors=[FieldError(pointer, detail)])
