"""What a user believes of the optimum: densities against SciPy, slopes against differences, and what a search does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from app.errors import InvalidSearchSpace
from app.search.acquisition import Acquisition
from app.search.optimum import DOUBT, STRENGTH, Lean
from app.search.space import SearchSpace
from app.search.suggest import Goal, History, Record, suggest

GOAL = Goal(("minimize",))
BELIEVED = SearchSpace.from_json(
    {
        "lr": {
            "type": "float", "low": 1e-5, "high": 1.0, "scale": "log",
            "prior": {"type": "normal", "mean": 1e-3, "std": 9e-3},
        },
        "momentum": {"type": "float", "low": 0.0, "high": 1.0, "prior": {"type": "beta", "alpha": 7, "beta": 3}},
        "depth": {"type": "int", "low": 1, "high": 9, "prior": {"type": "normal", "mean": 3, "std": 1}},
        "kind": {"type": "categorical", "choices": ["a", "b", "c"], "prior": {"type": "weights", "weights": [1, 6, 0]}},
        "decay": {
            "type": "float", "low": 0.0, "high": 1.0, "when": {"kind": ["a"]},
            "prior": {"type": "beta", "alpha": 0.5, "beta": 2},
        },
    }
)  # fmt: skip


def silent(space: SearchSpace) -> SearchSpace:
    return SearchSpace.from_json(
        {name: {key: v for key, v in kind.items() if key != "prior"} for name, kind in space.to_json().items()}
    )


def sure(log: float, density: float, highest: float) -> None:
    """That a logarithm is that of the density, by which a little is taken away for doubt."""
    assert log == pytest.approx(np.log((1 - DOUBT) * density / highest + DOUBT), rel=1e-9)


def believed(name: str, place: float) -> float:
    """What is believed of one parameter at a place of its range, the others where they are believed best."""
    best = {"lr": 0.4, "momentum": 0.75, "depth": 2.5 / 9, "kind": 0.5}
    return float(BELIEVED.optimum.log(np.array([[*{**best, name: place}.values(), np.nan]]))[0])


def test_a_normal_belief_is_normal_on_the_scale_and_one_std_reaches_to_mean_plus_std() -> None:
    place = np.log10(1e-2 / 1e-5) / 5  # mean + std, a decade above the mean
    sure(believed("lr", place), stats.norm.pdf(1.0), stats.norm.pdf(0.0))
    assert believed("lr", 0.4) == pytest.approx(0.0, abs=1e-12)


def test_a_beta_belief_agrees_with_scipy_over_the_range() -> None:
    belief = stats.beta(7, 3)
    for place in (0.1, 0.5, 0.9):
        sure(believed("momentum", place), belief.pdf(place), belief.pdf(0.75))


def test_weights_are_shares_of_the_heaviest_and_zero_is_not_never() -> None:
    sure(believed("kind", 1 / 6), 1.0, 6.0)
    assert believed("kind", 5 / 6) == pytest.approx(np.log(DOUBT))


def test_what_is_not_active_does_not_count() -> None:
    rows = np.array([[0.4, 0.75, 2.5 / 9, 0.5, np.nan], [0.4, 0.75, 2.5 / 9, 1 / 6, 0.9]])
    logs = BELIEVED.optimum.log(rows)
    assert logs[0] == pytest.approx(0.0, abs=1e-12)
    assert logs[1] < believed("kind", 1 / 6)


def test_the_slope_of_a_belief_is_its_finite_difference() -> None:
    acquisition = Acquisition((), Lean(BELIEVED.optimum, 0.7))
    rows = np.random.default_rng(1).uniform(0.05, 0.95, (6, 5))
    values, gradient = acquisition.value_and_gradient(rows)
    np.testing.assert_allclose(values, acquisition.value(rows), rtol=1e-12)
    for j in (0, 1, 2, 4):
        step = np.eye(5)[j] * 1e-6
        numeric = (acquisition.value(rows + step) - acquisition.value(rows - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, j], numeric, rtol=1e-5, atol=1e-7)


def test_draws_follow_the_belief() -> None:
    rows = BELIEVED.optimum.drawn(np.random.default_rng(0).random((20_000, 5)))
    momentum = (1 - DOUBT) * stats.beta(7, 3).cdf(0.6) / stats.beta(7, 3).pdf(0.75) + DOUBT * 0.6
    whole = (1 - DOUBT) / stats.beta(7, 3).pdf(0.75) + DOUBT
    assert (rows[:, 1] < 0.6).mean() == pytest.approx(momentum / whole, abs=0.01)  # three standard errors
    kinds = np.bincount((rows[:, 3] * 3).astype(int), minlength=3) / len(rows)
    shares = (1 - DOUBT) * np.array([1 / 6, 1.0, 0.0]) + DOUBT
    np.testing.assert_allclose(kinds, shares / shares.sum(), atol=0.01)


def test_the_first_trial_is_what_is_believed_best_and_a_default_goes_before_it() -> None:
    first = suggest(BELIEVED, GOAL, History.of(BELIEVED, GOAL, []), count=1, seed=0, first_number=1).points[0]
    assert (first.source, first.params) == ("initial", {"lr": 1e-3, "momentum": 0.75, "depth": 3, "kind": "b"})
    fields = BELIEVED.to_json()
    fields["lr"]["default"] = 0.1
    space = SearchSpace.from_json(fields)
    first = suggest(space, GOAL, History.of(space, GOAL, []), count=1, seed=0, first_number=1).points[0]
    assert first.params["lr"] == 0.1


def test_a_belief_fades_with_every_result() -> None:
    row = np.array([[0.9, 0.1, 0.9, 1 / 6, 0.9]])
    few, many = Lean.of(BELIEVED, 5), Lean.of(BELIEVED, 50)
    assert few is not None
    assert many is not None
    assert few.value(row)[0] == pytest.approx(10 * many.value(row)[0])
    assert few.weight == STRENGTH / 5
    assert Lean.of(silent(BELIEVED), 5) is None


def bowl(at: float) -> Any:
    """Best at that momentum and lr = 1e-3, depth 3, kind b."""

    def loss(params: dict[str, Any]) -> float:
        u = (np.log10(params["lr"]) + 3.0) / 5.0
        return float(
            8 * u**2 + 3 * (params["momentum"] - at) ** 2 + ((params["depth"] - 3) / 8) ** 2 + (params["kind"] != "b")
        )

    return loss


def best_of(space: SearchSpace, loss: Any, n: int, seed: int) -> float:
    history = History.of(space, GOAL, [])
    for number in range(1, n + 1):
        params = suggest(space, GOAL, history, count=1, seed=seed, first_number=number).points[0].params
        history = history.grown([Record(number, params, "complete", (loss(params),))])
    return float(history.objectives.min())


def test_a_belief_that_is_right_is_ahead_and_one_that_is_wrong_is_overcome() -> None:
    near, wrong = BELIEVED.to_json(), BELIEVED.to_json()
    near["momentum"]["prior"] = {"type": "normal", "mean": 0.6, "std": 0.2}
    wrong["lr"]["prior"] = {"type": "normal", "mean": 0.5, "std": 0.1}
    wrong["kind"]["prior"] = {"type": "weights", "weights": [0, 0, 1]}
    loss = bowl(0.7)
    plain = best_of(silent(BELIEVED), loss, 10, seed=1)
    assert best_of(SearchSpace.from_json(near), loss, 10, seed=1) < plain
    assert best_of(SearchSpace.from_json(wrong), loss, 25, seed=1) < plain


def test_a_space_with_beliefs_survives_json() -> None:
    assert SearchSpace.from_json(BELIEVED.to_json()).to_json() == BELIEVED.to_json()


@pytest.mark.parametrize(
    ("kind", "prior", "pointer"),
    [
        ({"type": "float", "low": 0, "high": 1}, {"type": "normal", "mean": 2, "std": 1}, "/space/x/prior/mean"),
        ({"type": "float", "low": 0, "high": 1}, {"type": "normal", "mean": 0.5, "std": 0}, "/space/x/prior/std"),
        ({"type": "float", "low": 0, "high": 1}, {"type": "normal", "mean": 0.5}, "/space/x/prior/std"),
        ({"type": "float", "low": 0, "high": 1}, {"type": "normal", "mean": "a", "std": 1}, "/space/x/prior/mean"),
        ({"type": "int", "low": 0, "high": 9}, {"type": "beta", "alpha": -1, "beta": 1}, "/space/x/prior/alpha"),
        ({"type": "int", "low": 0, "high": 9}, {"type": "weights", "weights": [1]}, "/space/x/prior/type"),
        ({"type": "bool"}, {"type": "weights", "weights": [1]}, "/space/x/prior/weights"),
        ({"type": "bool"}, {"type": "weights", "weights": [0, 0]}, "/space/x/prior/weights"),
        ({"type": "bool"}, {"type": "weights", "weights": [1, -1]}, "/space/x/prior/weights/1"),
        ({"type": "bool"}, {"type": "weights", "weights": "ab"}, "/space/x/prior/weights"),
        ({"type": "bool"}, {"type": "weights", "weights": [1, 2], "mean": 1}, "/space/x/prior/mean"),
        ({"type": "bool"}, {"type": ["weights"]}, "/space/x/prior/type"),
        ({"type": "bool"}, 3, "/space/x/prior"),
        ({"type": "fixed", "value": 3}, {"type": "weights", "weights": [1]}, "/space/x/prior"),
    ],
)
def test_a_belief_that_makes_no_sense_is_refused_where_it_is_wrong(kind: Any, prior: Any, pointer: str) -> None:
    with pytest.raises(InvalidSearchSpace) as caught:
        SearchSpace.from_json({"x": {**kind, "prior": prior}})
    assert pointer in [error.pointer for error in caught.value.errors]


@pytest.mark.parametrize(
    ("aliases", "pointer"),
    [("lr", "/space/x/aliases"), ([3], "/space/x/aliases/0"), (["a", ""], "/space/x/aliases/1"),
     (["y"], "/space/x/aliases/0"), (["a"] * 17, "/space/x/aliases")],
)  # fmt: skip
def test_aliases_that_are_no_names_are_refused(aliases: Any, pointer: str) -> None:
    with pytest.raises(InvalidSearchSpace) as caught:
        SearchSpace.from_json({"x": {"type": "bool", "aliases": aliases}, "y": {"type": "bool"}})
    assert pointer in [error.pointer for error in caught.value.errors]
