"""Whatever a study may have seen: suggestions are finite, legal and new, and nothing is raised or warned of.

Histories are made from a seed alone, so that a number in a failure is all one needs to see it again. `make test` goes
through a few hundred, `make histories` through 10,000, `METATUNE_HISTORIES=4711-4712` through those named.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from app.errors import NumericalError, SpaceViolation
from app.search.free import default_resolution
from app.search.history import State
from app.search.space import Bool, Categorical, Fixed, Float, Int, SearchSpace
from app.search.suggest import Goal, History, Record, Suggestion, free_point, posterior, suggest
from app.search.values import Value
from tests.search.spaces import BAND, CHOICES, MIXED, SMALL

BLOCK = 20  # histories of one test
GIVEN = os.environ.get("METATUNE_HISTORIES", "300").split("-")
FIRST, END = (0, int(GIVEN[0])) if len(GIVEN) == 1 else (int(GIVEN[0]), int(GIVEN[1]))

SPACES = {
    "line": SearchSpace({"x": Float(0, 1)}),
    "plane": SearchSpace({"x": Float(-5, 5), "y": Float(1e-6, 1e3, "log")}),
    "box": SearchSpace({f"x{j}": Float(-5, 5) for j in range(6)}),
    "wide": SearchSpace({f"x{j}": Float(0, 1) for j in range(24)}),
    "coin": SearchSpace({"b": Bool()}),
    "die": SearchSpace({"n": Int(1, 6)}),
    "small": SMALL,
    "nothing": SearchSpace({"a": Fixed(1), "b": Fixed("x")}),
    "only": SearchSpace({"c": Categorical(("one",)), "x": Float(0, 1)}),
    "choices": CHOICES,
    "mixed": MIXED,
    "nested": SearchSpace(
        {
            "learner": Categorical(("tree", "net", "none")),
            "depth": Int(1, 12, when={"learner": ("tree",)}),
            "optimizer": Categorical(("sgd", "adam"), when={"learner": ("net",)}),
            "momentum": Float(0.5, 0.999, "reverse_log", when={"optimizer": ("sgd",)}),
            "beta": Float(0.5, 0.999, when={"optimizer": ("adam",)}, default=0.9),
        }
    ),
    "band": BAND,
    "vast": SearchSpace({"x": Float(-1e300, 1e300), "y": Float(1e-300, 1e300, "log"), "n": Int(-(2**53), 2**53)}),
    "narrow": SearchSpace({"x": Float(1.0, 1.0 + 1e-15), "y": Float(1e-300, 2e-300)}),
}
SINGLE = ("gp", "auto", "tpe", "cmaes", "nsga2", "random", "sobol", "grid")
EXTREMES = (0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 1.7e308, -1.7e308, 1e-300, -1e-300, 5e-324)
STRANGE = (math.nan, math.inf, -math.inf)
NOISES = (None, None, 0.0, 1e-300, 1.0, 1e300, math.nan, math.inf)


@dataclass(frozen=True)
class Case:
    """One history with what is asked of it; `name` says what is special about it."""

    name: str
    space: SearchSpace
    goal: Goal
    history: History
    records: tuple[Record, ...]
    algorithm: str
    arguments: Mapping[str, Any]


def case(seed: int) -> Case:
    rng = np.random.default_rng([seed, 0xA11])
    space_name = _one(rng, tuple(SPACES))
    space, goal = SPACES[space_name], _goal(rng)
    algorithm = _one(rng, SINGLE if goal.n_objectives == 1 else tuple(name for name in SINGLE if name != "cmaes"))
    n = int(_one(rng, (0, 1, 2, 3, space.n_dimensions, 8, 15, 25, 45)))
    values_name, states_name = _one(rng, tuple(VALUES)), _one(rng, tuple(STATES))
    values = VALUES[values_name](rng, n, goal.n_objectives)
    states = STATES[states_name](rng, n)
    is_noisy = rng.random() < 0.3
    numbers = np.cumsum(rng.integers(1, 4, size=n)) if rng.random() < 0.3 else np.arange(1, n + 1)
    records = [
        _record(rng, int(number), params, state, tuple(row), goal, is_noisy)
        for number, params, state, row in zip(
            numbers, _configurations(rng, space, n, seed), states, values.tolist(), strict=True
        )
    ]
    arguments: dict[str, Any] = {
        "count": int(rng.integers(1, 4)), "seed": seed, "first_number": int(numbers[-1]) + 1 if n else 1
    }  # fmt: skip
    if records and rng.random() < 0.15:
        arguments["fixed"] = _fixed(rng, space, records)
    name = f"{algorithm}, {space_name}, {n} trials, {values_name}, {states_name}, {goal.n_objectives} objectives"
    return Case(name, space, goal, _history(rng, space, goal, records), tuple(records), algorithm, arguments)


def _goal(rng: np.random.Generator) -> Goal:
    m = int(rng.choice([1, 1, 1, 1, 2, 2, 3, 5]))
    n_outcomes = int(rng.choice([0, 0, 0, 1, 2]))
    bounds = tuple(
        (_one(rng, ("at_most", "at_least")), _one(rng, (0.5, 0.0, 1e300, -1e300))) for _ in range(n_outcomes)
    )
    n_rungs = _one(rng, (0, 0, 3))
    return Goal(tuple(_one(rng, ("minimize", "maximize")) for _ in range(m)), bounds, n_rungs)


def _configurations(rng: np.random.Generator, space: SearchSpace, n: int, seed: int) -> list[dict[str, Value]]:
    """Mostly distinct ones; of a study that repeats itself few, of an older version of the space strange ones."""
    way = rng.choice(["distinct", "distinct", "distinct", "few", "same", "older"])
    taken: set[str] = set()
    found: list[dict[str, Value]] = []
    for number in range(1, n + 1):
        place = {"few": number % 3, "same": 1}.get(way, number)
        point = free_point(space, seed=seed, number=place, taken=taken if way == "distinct" else ())
        params = dict(point.params) if point is not None else dict(found[0])
        taken.add(space.key(params))
        if way == "older" and number % 2:
            params.pop(_one(rng, tuple(params)), None)
            params |= {"gone": "yes", _one(rng, space.names): _one(rng, (1e300, -7, "other", True))}
        found.append(params)
    return found


def _record(
    rng: np.random.Generator, number: int, params: dict[str, Value], state: State, values: tuple[float, ...],
    goal: Goal, is_noisy: bool,
) -> Record:  # fmt: skip
    is_told = state == "complete" or (state == "pruned" and rng.random() < 0.7)
    outcomes = None
    if goal.outcomes and state == "complete" and rng.random() < 0.9:
        pool = (*EXTREMES, *STRANGE, *rng.standard_normal(8).tolist())
        outcomes = tuple(_one(rng, pool) for _ in goal.outcomes)
    return Record(
        number, params, state, values if is_told else None, outcomes,
        noise=_one(rng, NOISES) if is_noisy else None,
        cost=_one(rng, (None, 0.0, 1.0, 1e300)),
        at_rungs=tuple(
            tuple(_one(rng, (*EXTREMES, *values)) for _ in values) if rng.random() < 0.6 else None
            for _ in range(goal.n_rungs)
        ),
    )  # fmt: skip


def _history(rng: np.random.Generator, space: SearchSpace, goal: Goal, records: Sequence[Record]) -> History:
    """At once, or grown part by part in any order."""
    if rng.random() < 0.5:
        return History.of(space, goal, records)
    history = History.of(space, goal, [])
    order = rng.permutation(len(records))
    for part in np.array_split(order, max(1, len(order) // 4)):
        history = history.grown(records[i] for i in part)
    return history


def _fixed(rng: np.random.Generator, space: SearchSpace, records: Sequence[Record]) -> dict[str, Value] | None:
    """One value of some trial, if it means anything in this space."""
    params = records[int(rng.integers(len(records)))].params
    name = _one(rng, tuple(params))
    try:
        return space.check({name: params[name]}, partial=True)
    except SpaceViolation:
        return None


def _mixture(pool: Sequence[float], share: float) -> Any:
    """Values of the pool with this share, the rest standard normal."""

    def values(rng: np.random.Generator, n: int, m: int) -> Any:
        chosen = rng.choice(np.array(pool), size=(n, m))
        return np.where(rng.random((n, m)) < share, chosen, rng.standard_normal((n, m)))

    return values


VALUES: dict[str, Any] = {
    "normal": _mixture((0.0,), 0.0),
    "all equal": lambda rng, n, m: np.full((n, m), rng.choice(EXTREMES)),
    "equal but one": lambda rng, n, m: np.where(np.arange(n)[:, None] == n // 2, rng.choice(EXTREMES), np.ones((n, m))),
    "ties": lambda rng, n, m: rng.integers(0, 3, size=(n, m)).astype(float),
    "huge": lambda rng, n, m: 1e300 * rng.standard_normal((n, m)),
    "tiny": lambda rng, n, m: 1e-300 * rng.standard_normal((n, m)),
    "magnitudes": lambda rng, n, m: rng.choice([-1, 1], (n, m)) * 10.0 ** rng.uniform(-300, 300, (n, m)),
    "nearly equal": lambda rng, n, m: 1.0 + 1e-16 * rng.integers(0, 9, size=(n, m)),
    "an offset": lambda rng, n, m: 1e12 + rng.standard_normal((n, m)),
    "extremes": _mixture(EXTREMES, 1.0),
    "outliers": _mixture(EXTREMES, 0.1),
    "strange": _mixture(STRANGE, 0.3),
    "only strange": _mixture(STRANGE, 1.0),
}
ALL: tuple[State, ...] = ("complete", "pruned", "failed", "infeasible", "pending")
STATES: dict[str, Any] = {
    "complete": lambda rng, n: ["complete"] * n,
    "mostly complete": lambda rng, n: rng.choice(("complete",) * 8 + ALL, size=n).tolist(),
    "all states": lambda rng, n: rng.choice(ALL, size=n).tolist(),
    "all failed": lambda rng, n: ["failed"] * n,
    "all infeasible": lambda rng, n: ["infeasible"] * n,
    "all pruned": lambda rng, n: ["pruned"] * n,
    "all pending": lambda rng, n: ["pending"] * n,
    "one complete": lambda rng, n: ["complete" if i == n // 2 else rng.choice(ALL[1:]) for i in range(n)],
    "pending at the end": lambda rng, n: ["complete" if i < n - 8 else "pending" for i in range(n)],
}


def _one(rng: np.random.Generator, pool: Sequence[Any]) -> Any:
    return pool[int(rng.integers(len(pool)))]


# --- what is promised --------------------------------------------------------------------------------------------


def problem(of: Case) -> str | None:
    """What is wrong with the answers to a case, or None."""
    found = suggest(of.space, of.goal, of.history, algorithm=of.algorithm, **of.arguments)
    taken = {of.space.key(record.params) for record in of.records}
    for point in found.points:
        if of.space.check(point.params) != point.params:
            return f"not as the space has it: {point.params}"
        if of.space.key(point.params) in taken:
            return f"not new: {point.params}"
        if any(point.params.get(name) != value for name, value in (of.arguments.get("fixed") or {}).items()):
            return f"not as fixed: {point.params}"
        taken.add(of.space.key(point.params))
        if (wrong := _wrong_number(point)) is not None:
            return wrong
    if len(found.points) < of.arguments["count"] and not found.exhausted:
        return f"{len(found.points)} points of {of.arguments['count']}, and not exhausted"
    if found.exhausted and (left := _left(of, taken)) is not None:
        return f"exhausted, but there is {left}"
    return _wrong_belief(of)


def _wrong_number(point: Suggestion) -> str | None:
    shares = [share for share in (point.exploration, point.feasibility) if share is not None]
    numbers = [*shares, *(point.predicted_mean or ()), *(point.predicted_std or ())]
    if point.acquisition is not None:
        numbers.append(point.acquisition)
    if not all(map(math.isfinite, numbers)):
        return f"not finite: {point}"
    if not all(0 <= share <= 1 for share in shares) or min(point.predicted_std or (0.0,)) < 0:
        return f"out of range: {point}"
    return None


def _left(of: Case, taken: set[str]) -> dict[str, Value] | None:
    """A configuration that could still have been suggested."""
    is_grid = of.algorithm == "grid"
    if of.space.size is None and not is_grid:
        point = free_point(of.space, seed=1, number=1, taken=taken, fixed=of.arguments.get("fixed"))
        return None if point is None else point.params
    resolution = default_resolution(of.space) if is_grid else None
    every = of.space.enumerate(resolution, of.arguments.get("fixed"))
    return next((params for params in every if of.space.key(params) not in taken), None)


def _wrong_belief(of: Case) -> str | None:
    if of.algorithm != "gp" or not of.space.n_dimensions:
        return None
    at = [free_point(of.space, seed=7, number=k, taken=()) for k in (1, 2)]
    configurations = [point.params for point in at if point is not None]
    try:
        belief = posterior(of.space, of.goal, of.history, configurations, seed=int(of.arguments["seed"]))
    except NumericalError:  # said plainly, and nobody is handed a wrong number
        return None
    if not of.history.is_measured.any():
        return None
    is_fine = np.isfinite(belief.mean).all() and np.isfinite(belief.std).all() and (belief.std >= 0).all()
    return None if is_fine else f"believed: {belief}"


@pytest.mark.parametrize("first", range(FIRST, END, BLOCK))
def test_whatever_the_history_suggestions_are_finite_legal_and_new(first: int) -> None:
    wrong = []
    for seed in range(first, min(first + BLOCK, END)):
        of = case(seed)
        try:
            what = problem(of)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{error!r} at {where.filename}:{where.lineno}"
        if what is not None:
            wrong.append(f"history {seed} ({of.name}): {what}")
    assert not wrong, "\n" + "\n".join(wrong)
