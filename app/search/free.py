"""Free points: legal, unused configurations without a model."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from app.search import feasible
from app.search.constraints import Array
from app.search.designs import sobol
from app.search.space import SearchSpace
from app.search.values import Value

Taken = Callable[[str], bool] | Container[str]

N_TRIES = 48  # draws before a space is gone through for what is left
FREE_POINT = 0x0F7EE  # keeps the free points' stream apart from the model's


@dataclass(frozen=True)
class Suggestion:
    """One configuration to evaluate.

    `source` says where it came from, `why` what a reader should know about that. A model's point says what the model
    believed of it: `exploration` is the share of the expected improvement that is owed to uncertainty, in [0, 1];
    `predicted_mean` and `predicted_std` have one number for every objective, in the user's units; `acquisition` is the
    logarithm that was maximised, and `feasibility` the probability of feasibility in it, None where nothing limits it.
    `pending` are the numbers of the trials that were out for evaluation. `prior_weight`, in [0, 1], is how much of the
    expectation behind it came from past studies.
    """

    params: dict[str, Value]
    source: str
    why: str | None = None
    exploration: float | None = None
    predicted_mean: tuple[float, ...] | None = None
    predicted_std: tuple[float, ...] | None = None
    acquisition: float | None = None
    feasibility: float | None = None
    pending: tuple[int, ...] = ()
    prior_weight: float = 0.0


def free_point(
    space: SearchSpace,
    *,
    seed: int,
    number: int,
    taken: Taken,
    fixed: Mapping[str, Value] | None = None,
    source: str = "random",
) -> Suggestion | None:
    """A uniformly random legal configuration that is not taken, a function of seed and number; None when none is left.

    Args:
        taken: identities (`space.key`) in use, or a predicate on them.
        fixed: values to keep, as `space.check(..., partial=True)` returns them.
    A space of up to 10**6 configurations is gone through when random draws meet only taken ones; a larger one counts as
    exhausted when 48 draws and 1,024 further legal ones meet only taken ones.
    """
    is_taken = taken if callable(taken) else taken.__contains__
    rng = np.random.default_rng([seed % 2**64, number % 2**64, FREE_POINT])
    pins = pins_of(space, fixed)
    for n_rows in (1, 1, N_TRIES - 2):
        params = first_unused(space, feasible.draw(space, rng, n_rows, pins), is_taken, fixed)
        if params is not None:
            return Suggestion(params, source)
    if is_countable(space):
        left = unused(space, is_taken, fixed)
        few = [params for params, _ in zip(left, range(32), strict=False)]
        return Suggestion(few[int(rng.integers(len(few)))], source) if few else None
    params = first_unused(space, feasible.draw(space, rng, 1024, pins), is_taken, fixed)
    return None if params is None else Suggestion(params, source)


def sobol_point(
    space: SearchSpace,
    *,
    seed: int,
    number: int,
    taken: Taken,
    fixed: Mapping[str, Value] | None = None,
    source: str = "sobol",
    is_drawn: bool = False,
) -> Suggestion | None:
    """The scrambled Sobol point of this number if it is legal and unused, else a free point; None when none is left.

    Args:
        is_drawn: spread over what the user believes of the optimum, instead of evenly.
    """
    is_taken = taken if callable(taken) else taken.__contains__
    row = sobol(np.array([max(number - 1, 0)]), space.n_dimensions, seed)
    row = feasible.pinned(space.optimum.drawn(row) if is_drawn else row, pins_of(space, fixed))
    params = first_unused(space, row, is_taken, fixed)
    return Suggestion(params, source) if params is not None else free_point(
        space, seed=seed, number=number, taken=taken, fixed=fixed, source=source
    )  # fmt: skip


def first_unused(
    space: SearchSpace, rows: Array, is_taken: Callable[[str], bool], fixed: Mapping[str, Value] | None
) -> dict[str, Value] | None:
    """The configuration of the first row (of (n, D)) that is legal and not taken."""
    if not len(rows):
        return None
    for codes in space.codes_of_units(rows):
        params = settled(space, codes, fixed)
        if params is not None and not is_taken(space.key(params)):
            return params
    return None


def settled(space: SearchSpace, codes: Array, fixed: Mapping[str, Value] | None) -> dict[str, Value] | None:
    """The configuration of a (P,) row of codes with the fixed values exactly as given; None if a constraint breaks."""
    if fixed:
        codes = codes.copy()
        for k, name in enumerate(space.names):
            if name in fixed and not np.isnan(codes[k]):
                codes[k] = space.parameters[name].code(fixed[name])
    if space.constraints and not space.satisfied(codes[None, :])[0]:
        return None
    return space.natives(codes)


def pins_of(space: SearchSpace, fixed: Mapping[str, Value] | None) -> Array:
    """(D,) the columns that `fixed` holds, NaN where free."""
    pins = feasible.no_pins(space)
    for j, name in enumerate(space.columns):
        if fixed and name in fixed:
            kind = space.parameters[name]
            pins[j] = kind.units(np.array([kind.code(fixed[name])]))[0]
    return pins


def is_countable(space: SearchSpace) -> bool:
    """Whether the space is small enough to be exhausted."""
    return space.size is not None


def unused(
    space: SearchSpace,
    is_taken: Callable[[str], bool],
    fixed: Mapping[str, Value] | None,
    resolution: int | None = None,
) -> Iterator[dict[str, Value]]:
    """The configurations of a finite space, or of a grid over it, that are neither taken nor against `fixed`."""
    return (params for params in space.enumerate(resolution, fixed) if not is_taken(space.key(params)))


def grid_point(
    space: SearchSpace, *, number: int, taken: Taken, resolution: int | None, fixed: Mapping[str, Value] | None = None
) -> Suggestion | None:
    """The grid's configuration of this number, else the first unused one; None when the grid is done.

    Args:
        resolution: points per continuous parameter; None takes as many as keep their product within 1,000, 2 to 10.
    """
    is_taken = taken if callable(taken) else taken.__contains__
    resolution = default_resolution(space) if resolution is None else resolution
    for params in islice(space.enumerate(resolution, fixed, start=max(number - 1, 0)), 1):
        if not is_taken(space.key(params)):
            return Suggestion(params, "grid")
    params_left = next(unused(space, is_taken, fixed, resolution), None)
    return None if params_left is None else Suggestion(params_left, "grid")


def default_resolution(space: SearchSpace) -> int:
    """The most points per continuous parameter, 2 to 10, that keep their product within 1,000."""
    n_continuous = sum(levels is None for levels in space.n_levels)
    return max(2, min(10, int(1000.0 ** (1.0 / max(n_continuous, 1)) + 1e-9)))
