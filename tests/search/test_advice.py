"""Findings on studies with a planted defect, and none on clean ones. Rates over 50 seeds: `benchmarks/advice.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.search.advice import Advice, Endings, Objective, advise, needed_trials, widened, wilson_low
from app.search.designs import sobol
from app.search.history import Goal, History, Record, State
from app.search.importance import importance
from app.search.kernels import Embedding
from app.search.models import model
from app.search.quantities import objective_quantity
from app.search.space import Bool, Categorical, Fixed, Float, Int, Ordinal, SearchSpace

LOSS = Goal(("minimize",))
BOX = SearchSpace({"x": Float(1e-4, 1.0, "log"), "y": Float(-3, 3), "n": Int(1, 64)})
Params = dict[str, Any]


def records(space: SearchSpace, n: int, value: Callable[[Params], float], seed: int = 0) -> list[Record]:
    rows = sobol(np.arange(n), space.n_dimensions, seed)
    points = [space.decode(row) for row in rows]
    return [Record(i + 1, p, "complete", (value(p),)) for i, p in enumerate(points)]


def said(
    space: SearchSpace, trials: list[Record], *, goal: Goal = LOSS, modelled: bool = True, **options: Any
) -> list[Advice]:
    history = History.of(space, goal, trials)
    objectives = []
    if modelled and int(history.is_measured.sum()) >= needed_trials(space):
        one = model(history, Embedding.of(space), objective_quantity(history, 0), 0)
        objectives = [Objective("loss", one, importance(space, one, seed=0))]
    counts = {state: sum(r.state == state for r in trials) for state in ("complete", "pruned", "failed", "infeasible")}
    endings = options.pop("endings", Endings(**counts, lost=0))
    names = [f"limit {j}" for j in range(len(goal.outcomes))]
    options = {"is_guided": True, "seed": 0} | options
    return advise(space, goal, history, endings, objectives, ["loss"], names, **options)


def codes(found: list[Advice]) -> list[str]:
    return [advice.code for advice in found]


def unit(p: Params) -> np.ndarray[Any, Any]:
    return np.asarray(BOX.encode(p))


def bowl(p: Params) -> float:
    return float(((unit(p) - 0.45) ** 2) @ np.array([3.0, 2.0, 1.0]))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [3, 12, 20, 50])
def test_a_clean_study_is_left_in_peace(n: int, seed: int) -> None:
    optimum = np.random.default_rng(seed).uniform(0.25, 0.75, 3)

    def loss(p: Params) -> float:
        return float(((unit(p) - optimum) ** 2) @ np.array([3.0, 2.0, 1.0]))

    assert [c for c in codes(said(BOX, records(BOX, n, loss, seed))) if c != "stagnation"] == []


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_an_optimum_beyond_a_bound_asks_for_a_wider_space(direction: float) -> None:
    goal = LOSS if direction > 0 else Goal(("maximize",))

    def loss(p: Params) -> float:
        return direction * float(
            (unit(p)[0] - 1.4) ** 2 + 2.0 * (unit(p)[1] - 0.5) ** 2 + 1.5 * (unit(p)[2] - 0.5) ** 2
        )

    trials = records(BOX, 40, loss)
    edge = [Record(41 + k, {"x": 1.0, "y": 0.3 * k, "n": 30 + k}, "complete", (0.0,)) for k in range(4)]
    trials += [Record(r.number, r.params, "complete", (loss(dict(r.params)),)) for r in edge]
    (found,) = said(BOX, trials, goal=goal)
    assert (found.code, found.severity, found.parameter) == ("optimum-at-bound", "warning", "x")
    assert found.evidence["side"] == "high"
    assert found.patch == {"x": {"high": 22.0}}  # a third of four decades further
    assert "22" in found.message


@pytest.mark.parametrize(
    ("kind", "is_high", "expected"),
    [
        (Float(1e-4, 1e-1, "log"), True, 1.0),
        (Float(1e-4, 1e-1, "log"), False, 1e-5),
        (Float(-1, 2), True, 3.0),
        (Float(-1, 2), False, -2.0),
        (Float(1, 10), False, 0.5),  # a positive bound stays positive
        (Float(0, 1, step=0.1), True, 1.4),
        (Int(1, 8), True, 11),
        (Int(1, 8), False, None),
        (Int(16, 512, "log"), True, 1700),
        (Float(0.001, 0.999, "reverse_log"), True, 0.9999),
        (Float(-1e308, 1e308), True, None),
    ],
)
def test_bounds_move_out_on_the_scale_of_their_parameter(kind: Any, is_high: bool, expected: Any) -> None:
    wider = widened(kind, is_high)
    assert wider == (None if expected is None else pytest.approx(expected, rel=1e-4))
    if wider is not None:
        assert isinstance(wider, int) == isinstance(kind, Int)
        low, high = (kind.low, wider) if is_high else (wider, kind.high)
        type(kind)(low, high, kind.scale, kind.step)  # a legal parameter


def test_bounds_that_may_be_natural_limits_are_named_without_a_patch() -> None:
    space = SearchSpace({"dropout": Float(0, 1), "y": Float(0, 1)})
    trials = records(space, 40, lambda p: p["dropout"] + 0.2 * (p["y"] - 0.5) ** 2)
    trials += [Record(41 + k, {"dropout": 0.0, "y": 0.4 + 0.1 * k}, "complete", (0.0,)) for k in range(3)]
    (found,) = [one for one in said(space, trials) if one.code == "optimum-at-bound"]
    assert (found.severity, found.patch) == ("info", None)
    assert "below 0 make sense" in found.message


def close_pairs(rng: np.random.Generator) -> list[Record]:
    """Noise alone, at twenty places and close to each of them: what lies so near tells noise from structure."""
    points = [record.params for record in records(BOX, 20, bowl)]
    near = [BOX.decode(np.clip(unit(dict(p)) + 0.01 * rng.standard_normal(3), 0, 1)) for p in points]
    return [Record(k + 1, p, "complete", (float(rng.standard_normal()),)) for k, p in enumerate([*points, *near])]


def test_noise_larger_than_the_signal_is_said_once_and_not_as_something_else() -> None:
    for seed in range(5):
        (found,) = said(BOX, close_pairs(np.random.default_rng(seed)), is_guided=False)
        assert found.code == "noise-exceeds-signal"
        assert found.evidence["noise_to_signal"] > 1
        assert "by=mean" in found.message


def test_values_without_a_pattern_between_trials_far_apart_may_be_noise_or_not() -> None:
    said_of = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        values = rng.standard_normal(60)
        trials = [
            Record(r.number, r.params, "complete", (float(values[r.number - 1]),)) for r in records(BOX, 60, bowl)
        ]
        said_of.append(codes(said(BOX, trials, is_guided=False)))
    assert all(set(found) <= {"noise-exceeds-signal", "model-cannot-predict", "stagnation"} for found in said_of)
    assert sum(bool(set(found) - {"stagnation"}) for found in said_of) >= 8


def test_told_standard_errors_count_as_noise() -> None:
    trials = [Record(r.number, r.params, "complete", r.values, noise=5.0) for r in records(BOX, 40, bowl)]
    assert "noise-exceeds-signal" in codes(said(BOX, trials))


def test_a_parameter_without_effect_is_to_be_fixed_by_a_patch_that_the_space_takes() -> None:
    from app.services.edit_study import merge_patch

    (found,) = said(BOX, records(BOX, 60, lambda p: float(((unit(p)[:2] - 0.45) ** 2).sum())), is_guided=False)
    assert (found.code, found.parameter) == ("no-effect", "n")
    assert found.evidence["total_importance_at_most"] < 0.03
    edited = SearchSpace.from_json(merge_patch(BOX.to_json(), found.patch))
    assert isinstance(edited.parameters["n"], Fixed)


def test_a_child_that_matters_in_a_rare_branch_is_not_called_idle() -> None:
    choices = ("a", "b", "c", "d", "e", "f", "g", "h")
    space = SearchSpace({"kind": Categorical(choices), "x": Float(0, 1, when={"kind": ("h",)})})
    trials = records(space, 80, lambda p: choices.index(p["kind"]) + 2.0 * p.get("x", 0.0))
    assert [one.parameter for one in said(space, trials) if one.code == "no-effect"] == []


def ended(n_bad: int, n_good: int, state: State, where: Callable[[int], float]) -> list[Record]:
    space_trials = [
        Record(k + 1, {"x": 1e-3, "y": 0.01 * k, "n": 1 + k % 5}, "complete", (float(k),)) for k in range(n_good)
    ]
    return space_trials + [
        Record(n_good + k + 1, {"x": 1e-2, "y": where(k), "n": 1 + k % 5}, state) for k in range(n_bad)
    ]


@pytest.mark.parametrize(("state", "code"), [("failed", "many-failures"), ("infeasible", "many-infeasible")])
def test_bad_endings_are_counted_and_placed(state: State, code: str) -> None:
    (found,) = said(BOX, ended(20, 12, state, lambda k: 2.0 + 0.01 * k), modelled=False)
    assert (found.code, found.severity) == (code, "warning")
    assert found.parameter in ("x", "y")
    assert "They gather at large values" in found.message
    assert found.evidence["share"] == 20 / 32


@pytest.mark.parametrize(("bad", "good"), [(1, 0), (1, 3), (2, 8), (2, 18), (9, 91)])
def test_some_failures_are_life(bad: int, good: int) -> None:
    found = said(BOX, ended(bad, good, "failed", lambda k: 0.0), modelled=False)
    assert [code for code in codes(found) if code != "stagnation"] == []


def test_the_reasons_of_failures_are_shown() -> None:
    endings = Endings(10, 0, 10, 0, 8, reasons=(("CUDA out of memory", 7), ("nan", 3)))
    failures, lost = said(BOX, ended(10, 10, "failed", lambda k: 0.0), modelled=False, endings=endings)
    assert "CUDA out of memory" in failures.message
    assert failures.evidence["reasons"][1] == {"reason": "nan", "count": 3}
    assert lost.code == "many-lost"


def test_bounds_on_outcomes_that_nothing_keeps_are_serious() -> None:
    goal = Goal(("minimize",), (("at_most", 10.0), ("at_least", 0.0)))
    trials = [
        Record(r.number, r.params, "complete", r.values, outcomes=(11.0 + r.number, 1.0))
        for r in records(BOX, 12, bowl)
    ]
    (found,) = said(BOX, trials, goal=goal)
    assert (found.code, found.severity) == ("nothing-feasible", "serious")
    assert found.evidence["broken"] == {"limit 0": 12, "limit 1": 0}
    assert found.evidence["smallest_violation"] == 2.0


def test_one_value_for_all_is_serious_and_one_for_many_a_plateau() -> None:
    (constant,) = said(BOX, records(BOX, 15, lambda p: 0.25))
    assert (constant.code, constant.severity) == ("constant-objective", "serious")
    found = said(BOX, records(BOX, 15, lambda p: max(bowl(p), 0.4)))
    assert codes(found) == ["plateau"]
    assert "the best value" in found[0].message


def test_repeats_of_one_configuration_are_no_plateau() -> None:
    trials = records(BOX, 14, bowl)
    trials += [Record(15 + k, trials[0].params, "complete", (0.5,)) for k in range(10)]
    assert "plateau" not in codes(said(BOX, trials))


def test_a_long_pause_is_stagnation_where_a_model_guides_and_luck_where_none_does() -> None:
    def trials(n_before: int, n_after: int) -> list[Record]:
        values = [10.0 - k / n_before * 9 for k in range(n_before)] + [2.0 + 0.1 * (k % 30) for k in range(n_after)]
        points = records(BOX, len(values), bowl)
        return [Record(r.number, r.params, "complete", (v,)) for r, v in zip(points, values, strict=True)]

    assert "stagnation" in codes(said(BOX, trials(20, 40), modelled=False))
    assert "stagnation" not in codes(said(BOX, trials(20, 40), modelled=False, is_guided=False))
    assert "stagnation" in codes(said(BOX, trials(4, 80), modelled=False, is_guided=False))
    assert "stagnation" not in codes(said(BOX, trials(40, 20), modelled=False))


def test_a_small_space_nearly_tried_says_what_is_left() -> None:
    space = SearchSpace({"n": Ordinal((1, 2, 4, 8, 16)), "on": Bool()}, ("n <= 8",))
    points = list(space.enumerate())
    trials = [Record(k + 1, p, "complete", (float(k),)) for k, p in enumerate(points[:7])]
    (found,) = said(space, trials)
    assert (found.code, found.evidence) == ("space-nearly-exhausted", {"size": 8, "tried": 7, "left": 1})
    assert said(space, trials[:6]) == []


def test_decades_on_a_linear_scale_ask_for_a_log_scale_and_louder_once_it_hurts() -> None:
    space = SearchSpace({"lr": Float(1e-5, 1.0), "n": Int(1, 100)})
    (found,) = said(space, [])
    assert (found.code, found.parameter, found.severity, found.patch) == (
        "log-scale", "lr", "info", {"lr": {"scale": "log"}},
    )  # fmt: skip
    hurts = said(space, records(space, 24, lambda p: abs(np.log(p["lr"] / 1e-3)) + 0.01 * p["n"]))
    assert [one.severity for one in hurts if one.code == "log-scale"] == ["warning"]


def test_a_share_of_few_is_hardly_sure() -> None:
    assert wilson_low(1, 2) == pytest.approx(0.0945, abs=1e-3)
    assert wilson_low(50, 100) == pytest.approx(0.4038, abs=1e-3)
