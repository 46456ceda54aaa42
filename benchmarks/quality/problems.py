"""The problems by name, and the two splits of them; `python -m benchmarks.quality.problems` serves them to `run.py`.

    bbob/f15/d5/i1          BBOB's function 15 in 5 dimensions, instance 1 (package ioh)
    mixint/f3/d10/i1        bbob-mixint: four of five variables are integers (package coco-experiment)
    noisy/f107/d5/i1        bbob-noisy: noise that grows with the value
    additive/f15/d5/i1      BBOB with normal noise of a tenth of the function's interquartile range
    limits/f2/d5/i1         bbob-constrained: black-box constraints are measured outcomes
    pair/f1-f15/d5/i1       two of BBOB's functions as two objectives, logarithms of their regrets
    zdt/1/d6                two objectives of Zitzler, Deb & Thiele 2000; dtlz/2/d6, of Deb et al. 2002
    ml/svm/wine             a scikit-learn model tuned on bundled data, see models.py
    size/forest/wine        its loss and the logarithm of its size as two objectives
    small/forest/wine       its loss while its size is limited, as a measured outcome

Everything is minimised; an outcome keeps its limit from below. Choose methods on the development split; look at the
held-out one, whose functions, instances, models and data are others, when the choice is made. The reserve, others
again, is for a last word where the held-out problems have been looked at before.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import models
from benchmarks.quality.child import serve
from benchmarks.quality.spaces import Params, Space, box, float_, int_, of_units

N_REPEATS = 101  # evaluations whose median is the value without noise
NOISE_SHARE = 0.1  # of the interquartile range
SIZE_LIMITS = {"boosting": 200.0, "forest": 60.0}  # nodes
WORST_SIZE = 5000.0


@dataclass(frozen=True)
class Measured:
    """values: as the optimiser sees them.  outcomes: one for every limit.  true: the values without noise."""

    values: tuple[float, ...]
    outcomes: tuple[float, ...] = ()
    true: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Problem:
    """optimum: the lowest value, or with several objectives the largest hypervolume below `reference`; None: unknown.

    is_log: whether regrets span so many decades that their logarithms are compared.
    """

    space: Space
    measure: Callable[[Params], Measured]
    n_objectives: int = 1
    limits: tuple[float, ...] = ()
    optimum: float | None = None
    reference: tuple[float, ...] | None = None
    is_log: bool = False


# --- the splits --------------------------------------------------------------------------------------------------


def _named(kind: str, functions: Sequence[int | str], n_dimensions: int, instance: int) -> list[str]:
    return [f"{kind}/f{function}/d{n_dimensions}/i{instance}" for function in functions]


def _crossed(kind: str, which: Sequence[str], data: Sequence[str]) -> list[str]:
    return [f"{kind}/{model}/{rows}" for model in which for rows in data]


SPLITS: dict[str, dict[str, list[str]]] = {
    "development": {
        **{f"bbob{d}": _named("bbob", (1, 5, 8, 11, 15, 16, 20, 23), d, 1) for d in (2, 5, 10)},
        **{f"bbob{d}": _named("bbob", (1, 8, 15, 20), d, 1) for d in (20, 50)},
        "mixed": _named("mixint", (3, 8, 15, 20), 5, 1) + _named("mixint", (8, 15), 10, 1),
        "noisy": _named("noisy", (101, 107, 113, 122), 5, 1) + _named("additive", (1, 15, 23), 5, 1),
        "ml": _crossed("ml", ("svm", "cash", "boosting", "tree"), ("wine", "diabetes")),
        "two": ["zdt/1/d6", "dtlz/2/d6", *_named("pair", ("1-15",), 5, 1), *_crossed("size", ("tree",), ("wine",))],
        "limits": _named("limits", (1, 2, 13, 31), 5, 1) + _crossed("small", ("boosting",), ("wine",)),
    },
    "held-out": {
        **{f"bbob{d}": _named("bbob", (3, 6, 10, 14, 17, 19, 21, 24), d, 2) for d in (2, 5, 10)},
        **{f"bbob{d}": _named("bbob", (6, 10, 17, 21), d, 2) for d in (20, 50)},
        "mixed": _named("mixint", (6, 10, 17, 21), 5, 2) + _named("mixint", (6, 17), 10, 2),
        "noisy": _named("noisy", (104, 110, 119, 125), 5, 2) + _named("additive", (6, 10, 17), 5, 2),
        "ml": _crossed("ml", ("svm", "cash", "forest", "network", "neighbours", "linear"), ("digits", "breast_cancer")),
        "two": ["zdt/3/d6", "zdt/6/d6", *_named("pair", ("6-17",), 5, 2), *_crossed("size", ("forest",), ("digits",))],
        "limits": _named("limits", (7, 19, 25, 49), 5, 2) + _crossed("small", ("forest",), ("breast_cancer",)),
    },
    "reserve": {
        "bbob5": _named("bbob", (2, 4, 7, 9, 12, 13, 18, 22), 5, 3),
        "mixed": _named("mixint", (2, 7, 12, 22), 5, 3) + _named("mixint", (7, 18), 10, 3),
        "noisy": _named("noisy", (103, 109, 116, 128), 5, 3) + _named("additive", (4, 12, 22), 5, 3),
        "ml": _crossed("ml", ("boosting", "tree"), ("breast_cancer", "digits"))
        + _crossed("ml", ("forest", "network", "neighbours", "linear"), ("wine", "diabetes")),
    },
}


# --- from names to problems --------------------------------------------------------------------------------------


def load(name: str, seed: int) -> Problem:
    """Args: seed: of the noise.  Raises: KeyError, for a name of no kind."""
    kind, *rest = name.split("/")
    if kind in MADE_OF_MODELS:
        return MADE_OF_MODELS[kind](*rest)
    numbers = [part.lstrip("fdi") for part in rest]
    if kind in ("zdt", "dtlz"):
        return FRONTS[f"{kind}/{numbers[0]}"](int(numbers[1]))
    if kind == "pair":
        one, other = numbers[0].split("-f" if "-f" in numbers[0] else "-")
        return _pair(int(one), int(other), int(numbers[1]), int(numbers[2]))
    function, n_dimensions, instance = map(int, numbers)
    if kind == "additive":
        return _additive(function, n_dimensions, instance, seed)
    return FUNCTIONS[kind](function, n_dimensions, instance)


def _bbob(function: int, n_dimensions: int, instance: int) -> Problem:
    import ioh

    made = ioh.get_problem(function, instance, n_dimensions, ioh.ProblemClass.BBOB)
    return Problem(
        box(n_dimensions),
        lambda params: Measured((float(made(list(params.values()))),)),
        optimum=float(made.optimum.y),
        is_log=True,
    )


def _additive(function: int, n_dimensions: int, instance: int, seed: int) -> Problem:
    exact = _bbob(function, n_dimensions, instance)
    values = [exact.measure(params).values[0] for params in _some(exact.space, 256)]
    noise_std = NOISE_SHARE * float(np.subtract(*np.percentile(values, [75, 25])))
    rng = np.random.default_rng([seed, 0x0A15E])

    def measure(params: Params) -> Measured:
        (value,) = exact.measure(params).values
        return Measured((value + noise_std * float(rng.standard_normal()),), true=(value,))

    return Problem(exact.space, measure, optimum=exact.optimum, is_log=True)


def _mixint(function: int, n_dimensions: int, instance: int) -> Problem:
    made, best = _coco("bbob-mixint", function, n_dimensions, instance)
    bounds = list(zip(made.lower_bounds.tolist(), made.upper_bounds.tolist(), strict=True))
    n_integers = made.number_of_integer_variables
    space = {
        f"x{j}": int_(round(low), round(high)) if j < n_integers else float_(low, high)
        for j, (low, high) in enumerate(bounds)
    }
    return Problem(space, lambda params: Measured((_value(made, params),)), optimum=best, is_log=True)


def _noisy(function: int, n_dimensions: int, instance: int) -> Problem:
    made, best = _coco("bbob-noisy", function - 100, n_dimensions, instance)

    def measure(params: Params) -> Measured:
        value = _value(made, params)
        repeats = [_value(made, params) for _ in range(N_REPEATS)]
        return Measured((value,), true=(float(np.median(repeats)),))

    return Problem(box(n_dimensions), measure, optimum=best, is_log=True)


def _limits(function: int, n_dimensions: int, instance: int) -> Problem:
    made, best = _coco("bbob-constrained", function, n_dimensions, instance)

    def measure(params: Params) -> Measured:
        outcomes = made.constraint(np.array(list(params.values())))
        return Measured((_value(made, params),), tuple(outcomes.tolist()))

    limits = (0.0,) * made.number_of_constraints
    return Problem(box(n_dimensions), measure, limits=limits, optimum=best, is_log=True)


def _coco(suite: str, function: int, n_dimensions: int, instance: int) -> tuple[Any, float]:
    """The problem, and its lowest (legal) value: the library gives away where it is in a file of its choice."""
    import cocoex

    filters = f"dimensions:{n_dimensions} function_indices:{function} instance_indices:{instance}"
    made = cocoex.Suite(suite, "", filters)[0]
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made._best_parameter("print")
        os.chdir(here)
        best = np.loadtxt(next(Path(folder).iterdir()))
    return made, float(made(best))


def _value(made: Any, params: Params) -> float:
    return float(made(np.array(list(params.values()), dtype=np.float64)))


def _some(space: Space, n: int) -> list[Params]:
    """Always the same random configurations."""
    return [of_units(space, units) for units in np.random.default_rng(0).random((n, len(space)))]


FUNCTIONS = {"bbob": _bbob, "mixint": _mixint, "noisy": _noisy, "limits": _limits}


# --- two objectives ----------------------------------------------------------------------------------------------


def _pair(one: int, other: int, n_dimensions: int, instance: int) -> Problem:
    """The idea of bbob-biobj; the reference is the middle of random points, so that hardly a run starts beyond it."""
    parts = [_bbob(one, n_dimensions, instance), _bbob(other, n_dimensions, instance + 1)]

    def measure(params: Params) -> Measured:
        regrets = [part.measure(params).values[0] - (part.optimum or 0.0) for part in parts]
        return Measured(tuple(math.log10(max(regret, 0.0) + 1e-2) for regret in regrets))

    values = np.array([measure(params).values for params in _some(parts[0].space, 256)])
    middle = tuple(np.percentile(values, 75, axis=0).tolist())
    return Problem(parts[0].space, measure, n_objectives=2, reference=middle)


def _zdt(
    second: Callable[[Any, float], Any], first: Callable[[Any], Any], g: Callable[[Any], float], n_dimensions: int,
    reference: tuple[float, float],
) -> Problem:  # fmt: skip
    """f1 = first(x1), f2 = second(f1, g), with g = 1 along the front."""

    def measure(params: Params) -> Measured:
        x = np.array(list(params.values()))
        one = float(first(x[0]))
        return Measured((one, float(second(one, g(x[1:])))))

    along = first(np.linspace(0.0, 1.0, 20_001))
    best = _volume(np.column_stack([along, second(along, 1.0)]), reference)
    return Problem(
        box(n_dimensions, 0.0, 1.0), measure, n_objectives=2, reference=reference, optimum=best
    )  # fmt: skip


def _zdt1(n_dimensions: int) -> Problem:
    def second(f: Any, g: float) -> Any:
        return g * (1 - np.sqrt(f / g))

    return _zdt(second, lambda x: x, lambda x: 1 + 9 * x.mean(), n_dimensions, (1.1, 5.0))


def _zdt3(n_dimensions: int) -> Problem:
    def second(f: Any, g: float) -> Any:
        return g * (1 - np.sqrt(f / g) - f / g * np.sin(10 * np.pi * f))

    return _zdt(second, lambda x: x, lambda x: 1 + 9 * x.mean(), n_dimensions, (1.1, 5.0))


def _zdt6(n_dimensions: int) -> Problem:
    def first(x: Any) -> Any:
        return 1 - np.exp(-4 * x) * np.sin(6 * np.pi * x) ** 6

    return _zdt(
        lambda f, g: g * (1 - (f / g) ** 2), first, lambda x: 1 + 9 * x.mean() ** 0.25, n_dimensions, (1.1, 9.0)
    )


def _dtlz2(n_dimensions: int) -> Problem:
    """Its front is the quarter of a circle."""

    def measure(params: Params) -> Measured:
        x = np.array(list(params.values()))
        radius, angle = 1 + np.sum((x[1:] - 0.5) ** 2), x[0] * np.pi / 2
        return Measured((float(radius * np.cos(angle)), float(radius * np.sin(angle))))

    return Problem(
        box(n_dimensions, 0.0, 1.0), measure, n_objectives=2, reference=(1.5, 1.5), optimum=1.5**2 - np.pi / 4
    )


def _volume(front: Any, reference: tuple[float, float]) -> float:
    """Between (n, 2) points and the reference."""
    order = np.argsort(front[:, 0], kind="stable")
    x, lowest = front[order, 0], np.minimum.accumulate(front[order, 1])
    widths = np.diff(np.append(np.minimum(x, reference[0]), reference[0]))
    return float(np.sum(widths * np.maximum(reference[1] - lowest, 0.0)))


FRONTS = {"zdt/1": _zdt1, "zdt/3": _zdt3, "zdt/6": _zdt6, "dtlz/2": _dtlz2}


# --- models ------------------------------------------------------------------------------------------------------


def _ml(model: str, data: str) -> Problem:
    return Problem(models.MODELS[model].space, lambda params: Measured((models.evaluate(model, data, params)[0],)))


def _size(model: str, data: str) -> Problem:
    def measure(params: Params) -> Measured:
        loss, n_nodes = models.evaluate(model, data, params)
        return Measured((loss, math.log10(max(n_nodes, 1.0))))

    return Problem(models.MODELS[model].space, measure, n_objectives=2, reference=(1.0, math.log10(WORST_SIZE)))


def _small(model: str, data: str) -> Problem:
    def measure(params: Params) -> Measured:
        loss, n_nodes = models.evaluate(model, data, params)
        return Measured((loss,), (n_nodes,))

    return Problem(models.MODELS[model].space, measure, limits=(SIZE_LIMITS[model],))


MADE_OF_MODELS = {"ml": _ml, "size": _size, "small": _small}


# --- the served side ---------------------------------------------------------------------------------------------


class Served:
    """One problem at a time."""

    def __init__(self) -> None:
        self._problem: Problem | None = None

    def load(self, name: str, seed: int) -> dict[str, Any]:
        made = self._problem = load(name, seed)
        return {
            "space": made.space, "n_objectives": made.n_objectives, "limits": made.limits, "optimum": made.optimum,
            "reference": made.reference, "is_log": made.is_log,
        }  # fmt: skip

    def measure(self, params: Params) -> dict[str, Any]:
        assert self._problem is not None
        measured = self._problem.measure(params)
        return {"values": measured.values, "outcomes": measured.outcomes, "true": measured.true or measured.values}


def main() -> None:
    served = Served()
    serve({"load": served.load, "measure": served.measure})


if __name__ == "__main__":
    main()
