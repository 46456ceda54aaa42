"""Importance against functions whose indices are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from app.search.constraints import Array
from app.search.designs import sobol
from app.search.history import Goal, History, Record
from app.search.importance import Importance, best_trial, importance, indices, losses_near
from app.search.kernels import Embedding
from app.search.models import Modelled, model
from app.search.paths import Paths
from app.search.quantities import objective_quantity
from app.search.space import Bool, Categorical, Float, Int, SearchSpace

CUBE = SearchSpace({"x1": Float(-np.pi, np.pi), "x2": Float(-np.pi, np.pi), "x3": Float(-np.pi, np.pi)})
LOSS = Goal(("minimize",))


def ishigami(x: Array) -> Array:
    return np.asarray(np.sin(x[:, 0]) + 7.0 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))


#: Ishigami & Homma 1990, with a = 7 and b = 0.1.
ISHIGAMI_FIRST, ISHIGAMI_TOTAL = (0.3139, 0.4424, 0.0), (0.5576, 0.4424, 0.2437)


def estimated(space: SearchSpace, f: Callable[[Array], Array]) -> tuple[Array, Array]:
    found = indices(space, lambda rows: f(rows)[:, None], 0, np.random.default_rng(0))
    return found.first_order[:, 0], found.total[:, 0]


def modelled(space: SearchSpace, f: Callable[[Array], Array], n: int, noise: float = 0.0) -> Modelled:
    rng = np.random.default_rng(5)
    units = space.snap(sobol(np.arange(n), space.n_dimensions, 3))
    values = f(units) + noise * rng.standard_normal(n)
    records = [
        Record(i + 1, space.decode(u), "complete", (float(y),))
        for i, (u, y) in enumerate(zip(units, values, strict=True))
    ]
    history = History.of(space, LOSS, records)
    return model(history, Embedding.of(space), objective_quantity(history, 0), seed=0)


def learned(space: SearchSpace, f: Callable[[Array], Array], n: int, noise: float = 0.0) -> Importance:
    return importance(space, modelled(space, f, n, noise), seed=0)


def test_the_indices_of_ishigami_are_the_analytic_ones() -> None:
    first, total = estimated(CUBE, lambda u: ishigami((2 * u - 1) * np.pi))
    assert first == pytest.approx(ISHIGAMI_FIRST, abs=0.01)
    assert total == pytest.approx(ISHIGAMI_TOTAL, abs=0.01)


def test_an_additive_function_has_equal_first_order_and_total_indices() -> None:
    space = SearchSpace({name: Float(0, 1) for name in "abcd"})
    weights = np.array([4.0, 2.0, 1.0, 0.0])
    first, total = estimated(space, lambda u: u @ weights)
    expected = weights**2 / (weights @ weights)
    assert first == pytest.approx(expected, abs=0.01)
    assert total == pytest.approx(expected, abs=0.01)


def test_a_choice_and_a_parameter_under_it_have_the_shares_of_their_variance() -> None:
    space = SearchSpace({"kind": Categorical(("p", "q")), "x": Float(0, 1, when={"kind": ("q",)}), "n": Int(1, 4)})
    # p: 0; q: x.  Var = E[x²]/2 − 1/16 = 1/6 − 1/16; known kind leaves Var(x)/2 = 1/24
    first, total = estimated(space, lambda u: np.nan_to_num(space.snap(u)[:, 1], nan=0.0))
    variance = 1 / 6 - 1 / 16
    assert total[1] == pytest.approx(1 / 24 / variance, abs=0.02)
    assert first[0] == pytest.approx(1 / 16 / variance, abs=0.02)
    assert total[0] == pytest.approx((variance - 1 / 48) / variance, abs=0.02)  # known x leaves x²/4
    assert first[2] == pytest.approx(0.0, abs=0.01)
    assert total[2] == 0.0


def test_constraints_are_kept_to_and_leave_the_definitions_as_they_are() -> None:
    space = SearchSpace({"x": Float(0, 1), "y": Float(0, 1)}, ("x + y <= 1",))
    seen = []

    def f(u: Array) -> Array:
        seen.append(u)
        return np.asarray(u[:, 0])

    first, total = estimated(space, f)
    assert (np.vstack(seen).sum(axis=1) <= 1.0).all()
    # on the triangle Var(x) = 1/18; x given y is uniform on [0, 1 − y], y says E[x | y] = (1 − y)/2
    assert first == pytest.approx([1.0, 0.25], abs=0.03)
    assert total == pytest.approx([0.75, 0.0], abs=0.05)


def test_the_model_of_ishigami_finds_its_indices_within_the_intervals() -> None:
    found = learned(CUBE, lambda u: ishigami((2 * u - 1) * np.pi), 150)
    assert found.total == pytest.approx(ISHIGAMI_TOTAL, abs=0.08)
    assert found.first_order == pytest.approx(ISHIGAMI_FIRST, abs=0.08)
    for j in range(3):
        assert found.total_interval[j, 0] <= found.total[j] <= found.total_interval[j, 1]


def test_intervals_are_wide_after_few_trials_and_narrow_after_many() -> None:
    def f(u: Array) -> Array:
        return np.asarray(np.sin(6 * u[:, 0]) + u[:, 1])

    few, many = (np.ptp(learned(CUBE, f, n).total_interval, axis=1) for n in (8, 80))
    assert (few > 3 * many).all()
    assert few.max() > 0.2


def test_a_parameter_that_does_nothing_has_an_interval_near_zero_though_the_values_are_noisy() -> None:
    found = learned(CUBE, lambda u: 3 * u[:, 0] + (u[:, 1] - 0.5) ** 2, 80, noise=0.1)
    assert found.total_interval[2, 1] < 0.03
    assert found.total[0] > 0.9


def test_the_same_trials_and_seed_give_the_same_importance() -> None:
    space = SearchSpace({"x": Float(0, 1), "on": Bool()})
    once, again = (learned(space, lambda u: u[:, 0] + u[:, 1], 20) for _ in range(2))
    assert (once.total == again.total).all()


def test_paths_have_the_mean_and_the_spread_of_the_posterior() -> None:
    space = SearchSpace({"x": Float(0, 1), "kind": Categorical(("p", "q", "r")), "n": Int(1, 9)})
    model = modelled(space, lambda u: np.sin(6 * u[:, 0]) + u[:, 2] * (u[:, 1] < 0.4), 25, noise=0.05)
    rows = space.snap(np.random.default_rng(2).random((40, 3)))
    values = Paths.draw(model.surrogate, 4000, np.random.default_rng(3))(rows)
    expected = model.surrogate.predict(rows)
    assert values[:, 0] == pytest.approx(expected.mean, abs=1e-8)
    assert np.abs(values[:, 1:].mean(axis=1) - expected.mean).max() < 4 * expected.std.max() / np.sqrt(4000) + 0.01
    assert values[:, 1:].std(axis=1) == pytest.approx(expected.std, rel=0.25, abs=0.01)


def test_near_the_best_a_parameter_costs_what_the_function_loses() -> None:
    space = SearchSpace({"x": Float(0, 1), "kind": Categorical(("good", "bad")), "idle": Float(0, 1)})
    model = modelled(space, lambda u: 10 * (u[:, 0] - 0.4) ** 2 + 3.0 * (u[:, 1] > 0.5), 60)
    best = best_trial(space, model, np.ones(60, dtype=bool))
    assert best is not None
    x, kind, idle = losses_near(space, model, best)
    assert x == pytest.approx(0.1, abs=0.05)
    assert kind == pytest.approx(3.0, abs=0.3)
    assert idle == pytest.approx(0.0, abs=0.02)
