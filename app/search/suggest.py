"""The door: what to try next.

Decision: a suggestion is a pure function of (space, goal, finished trials, pending trials with lower numbers, seed,
number). Every number draws from a stream of its own, and a model's hyperparameters depend on the finished trials
alone, so a batch of eight equals eight asks in a row. Price: nothing is carried over from one ask to the next.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.search.draw import MODELLED, draw, first_guess
from app.search.free import Suggestion, free_point
from app.search.history import Goal, History, Record
from app.search.options import AVAILABLE, MAX_CONDITIONED, check_options
from app.search.space import SearchSpace
from app.search.values import Value

if TYPE_CHECKING:
    from app.search.bayesian import Posterior
    from app.search.prior import Prior

__all__ = [
    "AVAILABLE", "Goal", "History", "Record", "Suggestion", "Suggestions",
    "check_options", "choose_algorithm", "free_point", "in_turn", "posterior", "suggest",
]  # fmt: skip


@dataclass(frozen=True)
class Suggestions:
    """Points for consecutive numbers; `exhausted` when the space (or the grid) had fewer unused ones than asked for."""

    points: tuple[Suggestion, ...]
    exhausted: bool


def choose_algorithm(space: SearchSpace, goal: Goal, algorithm: str, n_trials: int) -> tuple[str, str]:
    """The algorithm in use and why.

    Raises: Invalid, for an unknown word, or an algorithm that cannot pursue the goal.
    """
    check_options(algorithm, None, goal)
    if algorithm != "auto":
        return algorithm, "asked for"
    if space.n_dimensions == 0:
        return "grid", "every parameter is fixed"
    return "gp", _why_the_model(space, goal, n_trials)


def _why_the_model(space: SearchSpace, goal: Goal, n_trials: int) -> str:
    """`auto` is the Gaussian process wherever it was measured: see docs/decisions/gaussian-process.md."""
    by_goal = {
        1: "expected improvement",
        2: "expected hypervolume improvement of two objectives",
        3: "expected hypervolume improvement of three objectives",
    }
    what = by_goal.get(goal.n_objectives, f"a random weighting of {goal.n_objectives} objectives at every number")
    kinds = [space.parameters[name] for name in space.columns]
    n_choices = sum(not kind.is_ordered for kind in kinds)
    n_conditional = sum(kind.when is not None for kind in kinds)
    parts = [f"{space.n_dimensions} parameter{'s' if space.n_dimensions > 1 else ''}"]
    parts += [f"{n} {word}" for n, word in ((n_choices, "of choices"), (n_conditional, "conditional")) if n]
    why = f"a Gaussian process with {what} needs the fewest trials for {', '.join(parts)}"
    if n_choices:
        why += "; every third number draws the choices, so that no branch is forgotten"
    if n_trials > MAX_CONDITIONED:
        why += f"; of {n_trials} trials it sees the best, the newest, those near the best and a random rest"
    return why


def suggest(
    space: SearchSpace,
    goal: Goal,
    history: History,
    *,
    count: int,
    seed: int,
    first_number: int,
    algorithm: str = "auto",
    options: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Value] | None = None,
    prior: Prior | None = None,
) -> Suggestions:
    """Suggest `count` configurations, for the numbers first_number, first_number + 1, ...

    Args:
        history: `History.of(space, goal, records)`; its pending trials are taken as out for evaluation.
        fixed: values that every suggestion keeps, as `space.check(..., partial=True)` returns them.
        prior: what past studies lend; of the algorithms that draw without a model none takes it.
    Returns: legal configurations, none of them evaluated, pending or twice in the batch.
    Raises: Invalid: see `check_options`. Never a numerical error: where the model fails the point is
        space-filling, its source is `fallback` and its `why` says so.
    """
    points = in_turn(
        space,
        goal,
        history,
        seed=seed,
        first_number=first_number,
        algorithm=algorithm,
        options=options,
        fixed=fixed,
        prior=prior,
    )
    found = tuple(itertools.islice(points, count))
    return Suggestions(found, exhausted=len(found) < count)


def in_turn(
    space: SearchSpace,
    goal: Goal,
    history: History,
    *,
    seed: int,
    first_number: int,
    algorithm: str = "auto",
    options: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Value] | None = None,
    prior: Prior | None = None,
) -> Iterator[Suggestion]:
    """The points of `suggest`, each computed when it is asked for; they end when the space is exhausted."""
    settings = check_options(algorithm, options, goal)
    name, _ = choose_algorithm(space, goal, algorithm, history.n_trials)
    propose = _proposer(name, space, goal, history, seed, settings, fixed, prior)
    return _each(propose, space, history, first_number)


def _each(propose: Proposer, space: SearchSpace, history: History, first_number: int) -> Iterator[Suggestion]:
    in_batch: set[str] = set()

    def taken(key: str) -> bool:
        return key in in_batch or history.is_taken(key)

    points: list[Suggestion] = []
    for number in itertools.count(first_number):
        point = propose(number, taken, points)
        if point is None:
            return
        points.append(replace(point, pending=(*_below(history.pending_numbers, number), *range(first_number, number))))
        in_batch.add(space.key(point.params))
        yield points[-1]


def _below(numbers: Sequence[int], limit: int) -> Sequence[int]:
    """Of rising numbers those below the limit."""
    return numbers[: bisect_left(numbers, limit)]


def posterior(
    space: SearchSpace, goal: Goal, history: History, params_list: Sequence[Mapping[str, Value]], *, seed: int = 0
) -> Posterior:
    """What the model believes about every objective at some configurations; see `bayesian.posterior`."""
    from app.search import bayesian

    return bayesian.posterior(space, goal, history, params_list, seed=seed)


Proposer = Callable[[int, Callable[[str], bool], Sequence[Suggestion]], Suggestion | None]


def _proposer(
    name: str,
    space: SearchSpace,
    goal: Goal,
    history: History,
    seed: int,
    settings: Mapping[str, Any],
    fixed: Mapping[str, Value] | None,
    prior: Prior | None,
) -> Proposer:
    """How the algorithm makes the point of one number, given what is taken and the points of the batch so far."""
    if name in MODELLED and space.n_dimensions:
        model = _model(name, space, goal, history, seed, settings, fixed, prior)

        def propose(number: int, taken: Callable[[str], bool], batch: Sequence[Suggestion]) -> Suggestion | None:
            position = history.n_finished + len(_below(history.pending_numbers, number)) + len(batch) + 1
            return (
                first_guess(space, number=number, taken=taken, fixed=fixed)
                or (None if prior is None else prior.first(history, position, taken, fixed))
                or model(number, taken, batch)
            )

        return propose
    drawn_by = {"name": name, **settings}
    return lambda number, taken, batch: draw(space, drawn_by, seed=seed, number=number, taken=taken, fixed=fixed)


def _model(
    name: str,
    space: SearchSpace,
    goal: Goal,
    history: History,
    seed: int,
    settings: Mapping[str, Any],
    fixed: Mapping[str, Value] | None,
    prior: Prior | None,
) -> Proposer:
    """Each is imported when first asked for: half a second, for SciPy, that other answers need not wait for."""
    if name == "tpe":
        from app.search.tpe import ParzenProposer

        return ParzenProposer(space, history, seed, fixed, **settings)
    if name == "cmaes":
        from app.search.cmaes import Evolution

        return Evolution(space, history, seed, fixed, **settings)
    if name == "nsga2":
        from app.search.nsga2 import Breeder

        return Breeder(space, history, seed, fixed, **settings)
    from app.search.bayesian import ModelProposer

    return ModelProposer(space, goal, history, seed, fixed, prior)
