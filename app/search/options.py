"""The algorithms by name, and the options that each takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import FieldError, Invalid
from app.search.history import Goal

MAX_CONDITIONED = 250  # trials that a Gaussian process sees all of; beyond, the best, the newest, the near and a rest


@dataclass(frozen=True)
class Option:
    """A number in [low, high]; `default` is what it is when left out, in words."""

    meaning: str
    default: str
    low: float
    high: float
    is_whole: bool = True

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, or None."""
        kind = "an integer" if self.is_whole else "a number"
        detail = f"must be {kind} from {self.low} to {self.high}, got {value!r}"
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return detail
        return None if math.isfinite(value) and self.low <= value <= self.high else detail


OPTIONS: dict[str, dict[str, Option]] = {
    "auto": {},
    "gp": {},
    "tpe": {
        "n_initial": Option("space-filling points before the densities speak", "10", 2, 1000),
        "n_candidates": Option("draws from the good density that are compared", "24", 1, 1000),
    },
    "cmaes": {
        "population_size": Option("trials of a generation", "4 + 3 ln(parameters)", 4, 256),
        "sigma": Option("initial standard deviation, in cube edges", "0.2", 0.01, 1.0, is_whole=False),
    },
    "nsga2": {"population_size": Option("trials that may become parents", "10, with several objectives 16", 2, 1000)},
    "sobol": {},
    "random": {},
    "grid": {
        "resolution": Option("points for each continuous parameter", "2 to 10, within 1,000 points in all", 1, 1000)
    },
    "enqueued": {},
}
#: Suggests nothing: what is handed out is what somebody enqueued, such as an architecture search.
ENQUEUED = "enqueued"
AVAILABLE = tuple(OPTIONS)


def check_options(algorithm: str, options: Mapping[str, Any] | None, goal: Goal | None = None) -> dict[str, Any]:
    """The options of an algorithm, validated; with a goal also that the algorithm can pursue it.

    Raises: Invalid with a pointer `/algorithm/...`, naming what is legal.
    """
    if algorithm not in OPTIONS:
        detail = f"there is no algorithm {algorithm!r}; there are {', '.join(OPTIONS)}"
        raise Invalid(detail, errors=[FieldError("/algorithm", detail)])
    if algorithm == "cmaes" and goal is not None and goal.n_objectives > 1:
        detail = f"cmaes pursues one objective, there are {goal.n_objectives}; take nsga2, tpe or gp"
        raise Invalid(detail, errors=[FieldError("/algorithm", detail)])
    legal = OPTIONS[algorithm]
    for name, value in (options or {}).items():
        if name not in legal:
            detail = f"{algorithm} has no option {name!r}; its options: {', '.join(legal) or 'none'}"
            raise Invalid(detail, errors=[FieldError(f"/algorithm/{name}", detail)])
        problem = legal[name].problem(value)
        if problem is not None:
            raise Invalid(f"{name} {problem}", errors=[FieldError(f"/algorithm/{name}", f"{name} {problem}")])
    return dict(options or {})


def described() -> str:
    """The algorithms with their options, a line each, for the API's document."""
    lines = [
        f"{algorithm}: "
        + "; ".join(f"{name}, {o.meaning} ({o.low} to {o.high}; {o.default})" for name, o in own.items())
        for algorithm, own in OPTIONS.items()
        if own
    ]
    return f"{', '.join(OPTIONS)}; or an object with `name` and options. " + ". ".join(lines) + "."
