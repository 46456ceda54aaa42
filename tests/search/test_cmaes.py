"""CMA-ES as a function of the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cmaes import CMA

from app.errors import Invalid
from app.search import cmaes
from app.search.cmaes import EPOCH, Distribution, Evolution, Layout
from app.search.space import Bool, Categorical, Float, Int, SearchSpace
from app.search.suggest import Goal, History, Record, check_options, suggest

LOSS = Goal(("minimize",))
BOX = SearchSpace({f"x{j}": Float(0, 1) for j in range(4)})
Loss = Callable[[dict[str, Any]], float]


def run(space: SearchSpace, value: Loss, n: int, seed: int, algorithm: str = "cmaes", **options: Any) -> list[Record]:
    records: list[Record] = []
    for number in range(1, n + 1):
        history = History.of(space, LOSS, records)
        found = suggest(
            space, LOSS, history, count=1, seed=seed, first_number=number, algorithm=algorithm, options=options
        )
        params = found.points[0].params
        records.append(Record(number, params, "complete", (value(params),)))
    return records


def best(records: list[Record]) -> float:
    return min(record.values[0] for record in records if record.values)


def ellipsoid(params: dict[str, Any]) -> float:
    return sum(100.0 ** (j / 3) * (float(params[f"x{j}"]) - 0.2 - 0.2 * j) ** 2 for j in range(4))


def test_a_badly_scaled_bowl_is_solved_better_than_by_chance() -> None:
    ours = [best(run(BOX, ellipsoid, 120, seed)) for seed in range(3)]
    chance = [best(run(BOX, ellipsoid, 120, seed, "random")) for seed in range(3)]
    assert np.median(ours) < 0.2 * np.median(chance)


def test_integers_and_choices_are_found_with_the_numbers_better_than_by_chance() -> None:
    space = SearchSpace(
        {"x": Float(0, 1), "y": Float(0, 1), "n": Int(0, 9), "c": Categorical(tuple("abcd")), "b": Bool()}
    )

    def loss(params: dict[str, Any]) -> float:
        near = (float(params["x"]) - 0.3) ** 2 + (float(params["y"]) - 0.8) ** 2 + ((params["n"] - 7) / 9) ** 2
        return float(near + 0.3 * (params["c"] != "c") + 0.3 * (not params["b"]))

    ours = [best(run(space, loss, 90, seed)) for seed in range(3)]
    chance = [best(run(space, loss, 90, seed, "random")) for seed in range(3)]
    assert max(ours) < min(chance)


def test_the_replay_is_the_packages_own_run_when_nothing_interferes() -> None:
    rows = np.clip(0.5 + 0.1 * np.random.default_rng(0).standard_normal((24, 4)), 0, 1)
    records = [Record(n, BOX.decode(row), "complete", (float(np.sum(row**2)),)) for n, row in enumerate(rows, 1)]
    reference = CMA(np.full(4, 0.5), 0.2, np.tile([0.0, 1.0], (4, 1)), population_size=8)
    for start in (0, 8, 16):
        reference.tell([(row, float(np.sum(row**2))) for row in rows[start : start + 8]])
    replayed = Evolution(BOX, History.of(BOX, LOSS, records), 0, None)._replay()
    np.testing.assert_allclose(cmaes._core(replayed._numbers)._mean, reference.mean, rtol=1e-12)
    np.testing.assert_allclose(cmaes._core(replayed._numbers)._C, reference._C, rtol=1e-9)


def test_an_incomplete_generation_changes_nothing() -> None:
    records = run(BOX, ellipsoid, 23, 0)

    def mean(n: int) -> Any:
        return cmaes._core(Evolution(BOX, History.of(BOX, LOSS, records[:n]), 0, None)._replay()._numbers)._mean

    np.testing.assert_array_equal(mean(16), mean(23))
    assert (mean(15) != mean(16)).any()


def test_a_trial_from_far_away_cannot_blow_up_the_distribution() -> None:
    layout = Layout.of(BOX)
    distribution = Distribution(layout, 8, np.full(4, 0.5), 1e-4, None, {})
    points = np.full((8, 4), 0.5)
    points[0] = 1.0
    for _ in range(20):
        distribution.update(points, points, np.arange(8.0), 0.0)
    assert float(cmaes._std(cmaes._core(distribution._numbers)).max()) < 0.5


@pytest.mark.parametrize("spread", [1e-9, 0.1])
def test_a_contracted_distribution_and_a_long_plateau_restart_with_a_larger_population(spread: float) -> None:
    rows = 0.5 + spread * (np.random.default_rng(0).random((400, 4)) - 0.5)
    records = [Record(n, BOX.decode(r), "complete", (1.0,)) for n, r in enumerate(rows, 1)]
    evolution = Evolution(BOX, History.of(BOX, LOSS, records), 0, None)
    assert evolution._replay().population_size > 8
    assert np.abs(cmaes._core(evolution._anew(1)._numbers)._mean - 0.5).max() > 0.1


@pytest.mark.parametrize("n", [EPOCH, EPOCH + 1, EPOCH + 5, 2 * EPOCH, 3 * EPOCH + 500])
def test_the_search_goes_on_across_epochs(n: int) -> None:
    rows = np.clip(0.7 + 0.02 * np.random.default_rng(0).standard_normal((n, 4)), 0, 1)
    records = [Record(k, BOX.decode(r), "complete", (float(np.sum((r - 0.7) ** 2)),)) for k, r in enumerate(rows, 1)]
    found = suggest(BOX, LOSS, History.of(BOX, LOSS, records), count=8, seed=0, first_number=n + 1, algorithm="cmaes")
    units = BOX.encode_many([point.params for point in found.points])
    assert {point.source for point in found.points} == {"cmaes"}
    assert np.abs(units - 0.7).max() < 0.1


def test_no_choice_dies_out() -> None:
    space = SearchSpace({"x": Float(0, 1), "c": Categorical(("a", "b", "c"))})
    rng = np.random.default_rng(0)
    records = [Record(n, {"x": float(x), "c": "a"}, "complete", (float(x),)) for n, x in enumerate(rng.random(300), 1)]
    shares = Evolution(space, History.of(space, LOSS, records), 0, None)._replay().shares[1]
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] > 0.7
    assert shares.min() > 0.02


def test_levels_keep_their_places_through_the_distributions_space() -> None:
    space = SearchSpace({"n": Int(1, 9), "s": Float(0, 1, step=0.25), "k": Int(1, 4096, "log"), "x": Float(0, 1)})
    layout = Layout.of(space)
    units = space.snap(np.random.default_rng(0).random((500, 4)))
    np.testing.assert_allclose(layout.outward(layout.inward(units)), units, atol=1e-12)
    assert sorted(layout.level_units) == [0, 1], "4,096 levels are a continuum"


def test_a_long_log_costs_one_epoch() -> None:
    rows = np.random.default_rng(0).random((6_000, 4))
    records = [Record(n, BOX.decode(row), "complete", (float(row[0]),)) for n, row in enumerate(rows, 1)]
    evolution = Evolution(BOX, History.of(BOX, LOSS, records), 0, None)
    n_told = []
    update = Distribution.update

    def counted(self: Distribution, points: Any, *args: Any) -> None:
        n_told.append(len(points))
        update(self, points, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Distribution, "update", counted)
        evolution._replay()
    assert sum(n_told) <= EPOCH


def test_a_failed_update_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise np.linalg.LinAlgError("eigenvalues did not converge")

    monkeypatch.setattr(Distribution, "update", refuse)
    records = [Record(n, BOX.decode(np.full(4, n / 20)), "complete", (float(n),)) for n in range(1, 20)]
    (point,) = suggest(
        BOX, LOSS, History.of(BOX, LOSS, records), count=1, seed=0, first_number=20, algorithm="cmaes"
    ).points
    assert point.source == "fallback"
    assert "did not converge" in (point.why or "")


def test_several_objectives_are_refused_with_what_takes_them() -> None:
    with pytest.raises(Invalid, match="nsga2, tpe or gp"):
        check_options("cmaes", {}, Goal(("minimize", "maximize")))
