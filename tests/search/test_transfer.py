from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.errors import Invalid
from app.search.blend import Borrowed, blend, stacked
from app.search.kernels import Embedding
from app.search.paths import Paths
from app.search.portfolio import Portfolio, greedy
from app.search.prior import Prior
from app.search.space import SearchSpace
from app.search.suggest import Goal, History, Record, suggest
from app.search.surrogate import Factor
from app.search.transfer import Lesson, Past, Source, learn, matching, normal_scores, source_mean

GOAL = Goal(("minimize",))
SPACE = SearchSpace.from_json(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
        "depth": {"type": "int", "low": 1, "high": 9},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"]},
        "decay": {"type": "float", "low": 0.0, "high": 1.0, "when": {"kind": ["b"]}},
    }
)


def loss(params: dict[str, Any], shift: float = 0.0) -> float:
    """Best near lr = 0.01, depth 5, kind b with decay 0.3."""
    u = (np.log10(params["lr"]) + 2.0 + shift) / 4.0
    extra = abs(params["decay"] - 0.3) if params["kind"] == "b" else 1.0
    return float(u**2 + ((params["depth"] - 5) / 8) ** 2 + 0.3 * extra)


def study(space: SearchSpace, f: Callable[[dict[str, Any]], float], n: int = 40, seed: int = 0) -> list[Record]:
    found = suggest(space, GOAL, History.of(space, GOAL, []), count=n, seed=seed, first_number=1, algorithm="random")
    return [Record(k, p.params, "complete", (f(p.params),)) for k, p in enumerate(found.points, start=1)]


def lesson(
    space: SearchSpace = SPACE, f: Callable[[dict[str, Any]], float] = loss, n: int = 40, seed: int = 0
) -> Lesson:
    records = study(space, f, n, seed)
    found = learn(History.of(space, GOAL, records), 0, seed)
    assert found is not None
    return found


def past(*lessons: Lesson, space: SearchSpace = SPACE) -> Past:
    return Past.of(space, [Source.of(space, one) for one in lessons])


def run(
    prior: Prior | None, n: int, f: Callable[[dict[str, Any]], float] = loss, seed: int = 3
) -> tuple[list[Any], list[float]]:
    history, points, values = History.of(SPACE, GOAL, []), [], []
    for number in range(1, n + 1):
        point = suggest(SPACE, GOAL, history, count=1, seed=seed, first_number=number, prior=prior).points[0]
        points.append(point)
        values.append(f(point.params))
        history = history.grown([Record(number, point.params, "complete", (values[-1],))])
    return points, values


# --- what is learnt


def test_scores_do_not_depend_on_the_unit() -> None:
    y = np.random.default_rng(0).random(30)
    assert np.array_equal(normal_scores(y), normal_scores(np.exp(50 * y)))


def test_the_best_has_the_lowest_score_whatever_the_direction() -> None:
    records = study(SPACE, loss)
    goal = Goal(("maximize",))
    turned = [Record(r.number, r.params, "complete", (-r.values[0],)) for r in records if r.values]
    found = learn(History.of(SPACE, goal, turned), 0, 0)
    assert found is not None
    assert np.array_equal(found.scores, lesson().scores)


def test_trials_that_could_not_be_evaluated_are_the_worst_and_never_tried_again() -> None:
    records = [*study(SPACE, loss), Record(41, {"lr": 0.5, "depth": 9, "kind": "a"}, "infeasible")]
    found = learn(History.of(SPACE, GOAL, records), 0, 0)
    assert found is not None
    assert found.scores[-1] == found.scores.max()
    assert not found.is_eligible[-1]
    assert found.is_eligible[:-1].all()


def test_four_results_teach_nothing() -> None:
    records = study(SPACE, loss, n=4)
    assert learn(History.of(SPACE, GOAL, records), 0, 0) is None


def test_of_many_trials_the_best_are_kept() -> None:
    found = lesson(n=300)
    assert len(found.scores) == 100
    values = sorted(loss(r.params) for r in study(SPACE, loss, n=300))
    assert sorted(loss(dict(params)) for params in found.configurations)[:50] == values[:50]


def test_a_lesson_survives_json() -> None:
    import json

    before = lesson()
    after = Lesson.from_json(json.loads(json.dumps(before.to_json())))
    assert np.array_equal(past(before).means(past(before).rows[0]), past(after).means(past(after).rows[0]))


def test_a_lesson_whose_parts_do_not_fit_is_refused() -> None:
    with pytest.raises(Invalid, match="40 scores"):
        Lesson.from_json(lesson().to_json() | {"scores": [0.0]})


# --- read in another space


def test_a_source_ranks_the_new_study_as_it_was_ranked_itself() -> None:
    points = [record.params for record in study(SPACE, loss, n=60, seed=9)]
    expected = past(lesson()).means(SPACE.encode_many(points))[:, 0]
    values = np.array([loss(params) for params in points])
    ranks = [np.argsort(np.argsort(x)) for x in (expected, values)]
    assert np.corrcoef(*ranks)[0, 1] > 0.8


def test_a_search_that_crowded_in_one_place_is_carried_as_its_process_has_it() -> None:
    """Far from all that it tried it expects what its process does there, not the mean of its many good trials."""
    rng = np.random.default_rng(0)
    space = SearchSpace.from_json({f"x{j}": {"type": "float", "low": 0.0, "high": 1.0} for j in range(4)})
    units = np.vstack([rng.random((8, 4)), 0.2 + 0.05 * rng.standard_normal((40, 4))])
    configurations = [dict(zip(space.columns, row, strict=True)) for row in units.clip(0, 1).tolist()]
    records = [
        Record(n, c, "complete", (sum((x - 0.2) ** 2 for x in c.values()),))
        for n, c in enumerate(configurations, start=1)
    ]
    found = learn(History.of(space, GOAL, records), 0, 0)
    assert found is not None
    source, embedding, far = Source.of(space, found), Embedding.of(space), rng.random((50, 4))
    means = Past.of(space, [source]).means(far)[:, 0]
    assert np.allclose(means, source_mean(embedding, source, embedding.features(far)), atol=0.02)
    assert means.mean() > np.mean(found.scores) + 0.3


def test_values_go_through_the_new_scale_and_bounds() -> None:
    wide = {"lr": {"type": "float", "low": 1e-6, "high": 1e2, "scale": "log"}}
    linear = {"lr": {"type": "float", "low": 1e-4, "high": 1.0}}
    one = lesson(SearchSpace.from_json(wide), lambda p: abs(np.log10(p["lr"]) + 2.0))
    source = Source.of(SearchSpace.from_json(linear), one)
    natives = np.array([params["lr"] for params in one.configurations])
    inside = (natives >= 1e-4) & (natives <= 1.0)
    assert np.allclose(source.units[inside, 0], (natives[inside] - 1e-4) / (1.0 - 1e-4))


def test_length_scales_are_stretched_with_the_bounds() -> None:
    wide = SearchSpace.from_json({"x": {"type": "float", "low": 0.0, "high": 4.0}})
    narrow = SearchSpace.from_json({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    one = lesson(wide, lambda p: (p["x"] - 1.0) ** 2)
    assert np.isclose(Source.of(wide, one).inverse_lengths[0], 4.0 * Source.of(narrow, one).inverse_lengths[0])


def test_an_unknown_parameter_counts_nowhere_and_an_alias_finds_it() -> None:
    other = SearchSpace.from_json({"learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"}})
    assert matching(SPACE, other) == {}
    assert matching(SPACE, other, {"lr": ["learning_rate"]}) == {"lr": "learning_rate"}
    one = lesson(other, lambda p: abs(np.log10(p["learning_rate"]) + 2.0))
    found = Past.of(SPACE, [Source.of(SPACE, one, {"lr": ["learning_rate"]})])
    row = SPACE.encode({"lr": 0.01, "depth": 5, "kind": "a"})
    elsewhere = SPACE.encode({"lr": 0.01, "depth": 1, "kind": "c"})
    assert np.isclose(found.means(row[None])[0, 0], found.means(elsewhere[None])[0, 0])


def test_an_alias_of_either_space_matches_and_no_parameter_is_taken_twice() -> None:
    plain = {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"}
    other = SearchSpace.from_json({"learning_rate": plain})
    own = SearchSpace.from_json({"lr": plain | {"aliases": ["eta", "learning_rate"]}})
    assert matching(own, other) == {"lr": "learning_rate"}
    assert matching(other, own) == {"learning_rate": "lr"}
    assert matching(SearchSpace.from_json({"eta": plain}), own) == {"eta": "lr"}
    two = SearchSpace.from_json({"lr": plain | {"aliases": ["rate"]}, "decay": plain | {"aliases": ["rate"]}})
    assert matching(two, SearchSpace.from_json({"rate": plain})) == {"lr": "rate"}


def test_kinds_that_do_not_compare_are_not_matched() -> None:
    other = SearchSpace.from_json(
        {"lr": {"type": "categorical", "choices": ["x", "y"]}, "kind": {"type": "categorical", "choices": ["b", "z"]}}
    )
    assert matching(SPACE, other) == {"kind": "kind"}


def test_what_a_source_did_not_tune_is_filled_from_those_that_did() -> None:
    part = SearchSpace({name: SPACE.parameters[name] for name in ("lr", "depth")})
    half = lesson(part, lambda p: (p["depth"] - 5) ** 2 + 0.0 * p["lr"])
    filled = past(half, lesson()).rows[0]
    kinds = {SPACE.decode(row)["kind"] for row in filled}
    assert "b" in kinds  # the better trials of the other source
    for row in filled:
        SPACE.check(SPACE.decode(row))


def test_values_that_were_good_together_stay_together() -> None:
    """The other source knows of two places that are good; each trial takes the value of the place that it is in."""
    space = SearchSpace.from_json({name: {"type": "float", "low": 0, "high": 1} for name in ("x", "y")})
    places = [{"x": 0.1 + 0.001 * k, "y": 0.9} for k in range(5)] + [{"x": 0.9 - 0.001 * k, "y": 0.2} for k in range(5)]
    bad = [{"x": 0.5, "y": 0.03 * k} for k in range(30)]
    records = [Record(n, p, "complete", (float(p in bad),)) for n, p in enumerate(places + bad, start=1)]
    both = learn(History.of(space, GOAL, records), 0, 0)
    part = lesson(SearchSpace({"x": space.parameters["x"]}), lambda p: (p["x"] - 0.1) ** 2)
    assert both is not None
    rows = past(part, both, space=space).rows[0]
    assert np.allclose(rows[:, 1], np.where(rows[:, 0] < 0.5, 0.9, 0.2))


def test_what_nobody_tuned_is_the_middle_in_the_best_trial_and_different_in_the_others() -> None:
    space = SearchSpace.from_json({name: {"type": "float", "low": 0, "high": 1} for name in ("x", "y")})
    rows = past(lesson(SearchSpace({"x": space.parameters["x"]}), lambda p: (p["x"] - 0.1) ** 2), space=space).rows[0]
    assert rows[np.argmin(np.abs(rows[:, 0] - 0.1)), 1] == 0.5
    assert len(np.unique(rows[:, 1])) == len(rows)
    told = SearchSpace.from_json(
        {"x": {"type": "float", "low": 0, "high": 1}, "y": {"type": "float", "low": 0, "high": 1, "default": 0.3}}
    )
    rows = past(lesson(SearchSpace({"x": told.parameters["x"]}), lambda p: p["x"]), space=told).rows[0]
    assert np.allclose(rows[:, 1], 0.3)


def test_the_slope_of_the_past_agrees_with_finite_differences() -> None:
    found = past(lesson(), lesson(f=lambda p: loss(p, 0.7), seed=1))
    weights = np.array([0.7, 0.2])
    units = SPACE.snap(np.random.default_rng(1).random((6, 4)))
    values, gradient = found.sum_with_gradient(units, weights)
    assert np.allclose(values, found.means(units) @ weights)
    h = 1e-6
    for j in (0, 3):
        active = ~np.isnan(units[:, j])
        step = np.zeros(4)
        step[j] = h
        slope = (found.sum(units + step, weights) - found.sum(units - step, weights)) / (2 * h)
        assert np.allclose(gradient[active, j], slope[active], atol=1e-5)


# --- how much it is believed


def fitted(n: int = 12) -> tuple[Factor, np.ndarray, np.ndarray, Past]:
    found = past(lesson())
    units = SPACE.encode_many([record.params for record in study(SPACE, loss, n=n, seed=5)])
    y = np.array([loss(record.params) for record in study(SPACE, loss, n=n, seed=5)])
    theta = np.array([0.0, 0.0, 0.0, 0.0, 0.0, np.log(1e-2), 0.0])
    return Factor.of(Embedding.of(SPACE), theta, units, np.zeros(n)), (y - y.mean()) / y.std(), units, found


def test_a_past_that_agrees_is_believed_and_one_that_ranks_backwards_is_not() -> None:
    factor, y, units, found = fitted()
    means = found.means(units)
    ones = np.ones(1)
    assert blend(factor, y, means, ones).weights.sum() > 0.5
    assert blend(factor, y, -means, ones).weights.sum() < 1e-9


def test_a_cap_holds() -> None:
    factor, y, units, found = fitted()
    assert blend(factor, y, found.means(units), np.array([0.2])).weights[0] <= 0.2


def test_the_stack_finds_the_source_that_is_right() -> None:
    rng = np.random.default_rng(2)
    A = rng.standard_normal((60, 3))
    w = stacked(A - A.mean(axis=0), 3.0 * (A[:, 1] - A[:, 1].mean()))
    assert w[1] > 1.5
    assert w[1] > 5 * max(w[0], w[2])
    assert (w >= 0).all()


def test_a_trend_is_added_to_the_process_of_what_it_leaves() -> None:
    factor, y, units, found = fitted()
    trend = Borrowed(found, np.array([0.8]))
    new = SPACE.snap(np.random.default_rng(3).random((7, 4)))
    with_trend, rest = factor.given(y, trend), factor.given(y - trend.values(units))
    assert np.allclose(with_trend.predict(new).mean, rest.predict(new).mean + trend.values(new))
    assert np.allclose(with_trend.predict(new).std, rest.predict(new).std)
    assert np.allclose(with_trend.mean_at_trials, with_trend.predict(units).mean)
    believing = with_trend.believing(new[0])
    assert np.allclose(believing.predict(new).mean, with_trend.predict(new).mean)
    assert np.allclose(with_trend.watching(new).following(believing).prediction.std, believing.predict(new).std)
    assert np.allclose(with_trend.watching(new).prediction.mean, with_trend.predict(new).mean)
    paths = Paths.draw(with_trend, 2000, np.random.default_rng(4))(new)
    assert np.allclose(paths[:, 0], with_trend.predict(new).mean)
    assert np.abs(paths[:, 1:].mean(axis=1) - paths[:, 0]).max() < 0.15  # five standard errors


def test_a_factor_scales() -> None:
    factor, y, _, _ = fitted()
    scaled = factor.scaled(4.0, 0.5)
    assert np.allclose(scaled.L @ scaled.L.T, 4.0 * factor.L @ factor.L.T)
    assert scaled.hyper.mean == 0.5
    assert np.isclose(scaled.hyper.noise_variance, 4.0 * factor.hyper.noise_variance)
    assert np.allclose(scaled.given(y).factor.added, 4.0 * factor.added)


# --- the portfolio


def test_each_item_lowers_most_what_the_others_left() -> None:
    scores = np.random.default_rng(4).standard_normal((12, 3))
    chosen = greedy(scores, np.full(3, 1 / 3), np.full(3, np.inf), 4)
    for k, item in enumerate(chosen):
        before = scores[chosen[:k]].min(axis=0) if k else np.full(3, np.inf)
        losses = [np.minimum(before, scores[i]).mean() for i in range(12) if i not in chosen[:k]]
        assert np.isclose(np.minimum(before, scores[item]).mean(), min(losses))


def test_the_first_trials_are_good_and_three_of_ten_do_not_come_from_the_past() -> None:
    prior = Prior((past(lesson(), lesson(f=lambda p: loss(p, 0.3), seed=1)),))
    points, values = run(prior, 10)
    assert [point.source for point in points[:3]] == ["warm_start"] * 3
    assert sum(point.prior_weight == 0.0 for point in points) >= 3
    assert min(values[:3]) <= np.quantile([loss(r.params) for r in study(SPACE, loss, n=400, seed=8)], 0.05)


def test_a_batch_takes_the_next_items_and_equals_asks_in_a_row() -> None:
    prior = Prior((past(lesson(), lesson(seed=1)),))
    history = History.of(SPACE, GOAL, [])
    batch = suggest(SPACE, GOAL, history, count=5, seed=3, first_number=1, prior=prior).points
    one_by_one = []
    for number in range(1, 6):
        point = suggest(SPACE, GOAL, history, count=1, seed=3, first_number=number, prior=prior).points[0]
        one_by_one.append(point)
        history = history.grown([Record(number, point.params, "pending")])
    assert [point.params for point in batch] == [point.params for point in one_by_one]
    assert [point.source for point in batch] == ["warm_start", "warm_start", "warm_start", "sobol", "warm_start"]


def test_a_single_source_is_put_to_the_test_by_the_second_trial() -> None:
    points, _ = run(Prior((past(lesson()),)), 10)
    assert [point.source for point in points[:5]] == ["warm_start", "sobol", "gp", "gp", "gp"]
    assert all(point.prior_weight > 0.0 for point in points[2:5])
    assert sum(point.prior_weight == 0.0 for point in points) >= 3
    misled, _ = run(Prior((past(lesson(f=lambda p: -loss(p))),)), 10)
    assert [point.source for point in misled[:6]] == ["warm_start"] + ["sobol"] * 4 + ["gp"]


def test_asks_that_cannot_wait_for_results_get_the_single_source_s_items() -> None:
    prior = Prior((past(lesson()),))
    found = suggest(SPACE, GOAL, History.of(SPACE, GOAL, []), count=4, seed=0, first_number=1, prior=prior).points
    assert [point.source for point in found] == ["warm_start", "sobol", "warm_start", "warm_start"]


def test_a_past_that_is_believed_spares_the_draws_of_the_choices() -> None:
    prior = Prior((past(lesson(), lesson(seed=1)),))
    spared = [run(prior, 15, seed=seed)[1][k - 1] for seed in range(3) for k in (9, 12, 15)]
    drawn = [run(None, 15, seed=seed)[1][k - 1] for seed in range(3) for k in (9, 12, 15)]
    assert np.median(spared) < 0.5 * np.median(drawn)


def test_a_past_that_misleads_is_given_up_and_weighs_nothing() -> None:
    wrong = Prior((past(lesson(f=lambda p: -loss(p)), lesson(f=lambda p: -loss(p), seed=1)),))
    points, _ = run(wrong, 14)
    assert [point.source for point in points].count("warm_start") <= 3
    assert points[-1].prior_weight < 0.05
    right, _ = run(Prior((past(lesson(), lesson(seed=1)),)), 14)
    assert right[-1].prior_weight > 0.3


def test_the_same_past_gives_the_same_points() -> None:
    first, _ = run(Prior((past(lesson(), lesson(seed=1)),)), 12)
    second, _ = run(Prior((past(lesson(), lesson(seed=1)),)), 12)
    assert first == second


def test_a_portfolio_satisfies_the_constraints() -> None:
    space = SearchSpace.from_json(SPACE.to_json(), ["depth <= 3"])
    items = Portfolio(Past.of(space, [Source.of(space, lesson())]), 0).items(History.of(space, GOAL, []), 5)
    assert len(items)
    assert all(int(str(space.decode(row)["depth"])) <= 3 for row in items)


def test_every_objective_transfers_by_itself() -> None:
    goal = Goal(("minimize", "maximize"))
    prior = Prior((past(lesson()), None))
    history = History.of(SPACE, goal, [])
    for number in range(1, 13):
        point = suggest(SPACE, goal, history, count=1, seed=1, first_number=number, prior=prior).points[0]
        values = (loss(point.params), float(point.params["depth"]))
        history = history.grown([Record(number, point.params, "complete", values)])
    assert point.source == "gp"
    assert point.prior_weight > 0.0


@pytest.mark.parametrize("algorithm", ["tpe", "cmaes", "nsga2"])
def test_other_algorithms_begin_with_the_portfolio(algorithm: str) -> None:
    prior = Prior((past(lesson(), lesson(seed=1)),))
    history = History.of(SPACE, GOAL, [])
    found = suggest(SPACE, GOAL, history, count=4, seed=1, first_number=1, algorithm=algorithm, prior=prior)
    assert [point.source for point in found.points] == ["warm_start"] * 3 + [found.points[3].source]
    assert found.points[3].source != "warm_start"
