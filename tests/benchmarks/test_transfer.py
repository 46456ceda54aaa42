from __future__ import annotations

import numpy as np
import pytest

from benchmarks.transfer.methods import Metatune
from benchmarks.transfer.report import difference, improvement, mean, reached_by_task
from benchmarks.transfer.tables import Column, Table, past_studies

COLUMNS = (
    Column("lr", "float", 1e-3, 1.0, log=True),
    Column("kind", "categorical", values=("a", "b")),
    Column("width", "ordinal", values=(16, 32, 64)),
)


def table(name: str, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    X = np.column_stack([10 ** rng.uniform(-3, 0, 60), rng.integers(0, 2, 60), rng.integers(0, 3, 60)])
    return Table("family", name, COLUMNS, X, rng.random(60))


TABLES = {one.key: one for one in (table("a", 1), table("b", 2), table("c", 3))}
TARGET = TABLES["family/a"]


def test_regret_is_zero_at_the_best_row_and_one_from_the_median_on() -> None:
    y = np.sort(TARGET.y)
    assert TARGET.regret(np.array([y[0], np.median(y), y[-1]])).tolist() == [0.0, 1.0, 1.0]


def test_a_row_is_the_nearest_to_its_own_configuration() -> None:
    for i in (0, 7, 33):
        assert TARGET.nearest(TARGET.params(TARGET.X[i])) == i
    taken = np.zeros(60, dtype=bool)
    taken[7] = True
    assert TARGET.nearest(TARGET.params(TARGET.X[7]), taken) != 7


def test_the_past_never_holds_the_target_and_is_the_same_for_every_method() -> None:
    past = past_studies(TABLES, TARGET, "good", 0)
    assert len(past) == 2
    assert past == past_studies(TABLES, TARGET, "good", 0)
    assert past != past_studies(TABLES, TARGET, "good", 1)
    own = {tuple(TARGET.params(row).items()) for row in TARGET.X}
    assert not any(tuple(params.items()) in own for study in past for params, _ in study)


def test_a_wrong_past_is_the_good_one_negated() -> None:
    good, wrong = (past_studies(TABLES, TARGET, scenario, 4) for scenario in ("good", "all-wrong"))
    assert [[(params, -loss) for params, loss in study] for study in good] == wrong
    half = past_studies(TABLES, TARGET, "half-wrong", 4)
    assert [study in good for study in half] == [False, True]


def test_scarce_and_partial_pasts_lack_what_they_say() -> None:
    assert [len(study) for study in past_studies(TABLES, TARGET, "scarce", 0)] == [30, 30]
    for study in past_studies(TABLES, TARGET, "partial", 0):
        assert {len(params) for params, _ in study} == {2}


def test_families_weigh_the_same_whatever_their_tasks_and_seeds() -> None:
    curves = {("x/1", 0): np.zeros(2), ("x/1", 1): np.ones(2), ("x/2", 0): np.full(2, 0.5), ("y/1", 0): np.ones(2)}
    assert mean(curves).tolist() == [0.75, 0.75]


def test_differences_are_paired_and_their_interval_covers_them() -> None:
    rng = np.random.default_rng(0)
    b = {(f"x/{t}", s): rng.random(5) for t in range(4) for s in range(5)}
    a = {key: curve - 0.1 for key, curve in b.items()}
    found = difference(a, b, lambda curve: float(curve.mean()))
    assert found == pytest.approx((-0.1, -0.1, -0.1))
    assert difference(a, {("y/1", 0): np.ones(5)}, lambda curve: float(curve.mean())) is None


def test_random_search_improves_on_itself_by_nothing() -> None:
    rng = np.random.default_rng(1)
    runs = {("family/a", seed): {"losses": TARGET.y[rng.integers(0, 60, 20)].tolist()} for seed in range(4000)}
    assert abs(improvement(runs, TABLES, 20)) < 0.05


def test_a_task_is_reached_when_its_mean_over_seeds_is_at_its_own_cold_level() -> None:
    cold = {("f/a", 0): np.array([0.9, 0.5, 0.4]), ("f/a", 1): np.array([0.8, 0.4, 0.2]), ("f/b", 0): np.full(3, 0.1)}
    warm = {("f/a", 0): np.array([0.5, 0.4, 0.1]), ("f/a", 1): np.array([0.3, 0.2, 0.2]), ("f/b", 0): np.full(3, 0.2)}
    assert reached_by_task(warm, cold, 3) == [2, 4]


def test_among_candidates_alone_the_model_picks_one_of_them_that_was_not_tried() -> None:
    pool = [TARGET.params(row) for row in TARGET.X]
    method, tried = Metatune(TARGET.space, 0), []
    method.set_candidates(pool)
    for k in range(8):
        row = pool[TARGET.nearest(method.ask(), np.isin(np.arange(60), tried))] if k < 6 else method.ask()
        tried.append(pool.index(row))
        method.tell(row, float(TARGET.y[tried[-1]]))
    assert len(set(tried)) == 8
