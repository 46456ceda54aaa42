"""What the demo's second act shows, and what `make bench-demo` makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metatune
from benchmarks import monthly_digits
from benchmarks.demo import MONTHLY_BUDGET, NEW_MONTH, Curves, begin_month
from benchmarks.demo_memory import interval, report, share
from benchmarks.demo_seeds import Evaluations
from benchmarks.server import Server


def curves(met: int | None) -> Curves:
    """Memory is as good as the end from nothing in that trial."""
    n_before = MONTHLY_BUDGET if met is None else met - 1
    return Curves(
        np.linspace(2.0, 1.0, MONTHLY_BUDGET).tolist(), [1.5] * n_before + [1.0] * (MONTHLY_BUDGET - n_before)
    )


def test_no_month_has_an_image_of_another_and_all_have_all_digits() -> None:
    parts = [monthly_digits.digits_of(month) for month in range(1, NEW_MONTH + 1)]
    assert sum(len(images) for images, _ in parts) == 1797
    for images, labels in parts:
        assert (images.min(), images.max()) == (0.0, 1.0)
        assert np.bincount(labels, minlength=10).min() > 30


def test_a_slanted_stroke_is_set_upright() -> None:
    stroke = np.zeros((1, 8, 8))
    for y in range(8):
        x = 2.0 + 0.5 * y
        stroke[0, y, int(x)], stroke[0, y, int(x) + 1] = 1.0 - x % 1, x % 1
    assert np.allclose(monthly_digits.straightened(stroke, 0.0), stroke)
    widths = [monthly_digits.straightened(stroke, share)[0].sum(axis=0).max() for share in (0.0, 0.5, 1.0)]
    assert widths[0] < widths[1] < widths[2]


def test_a_sensible_reader_reads_a_month_and_one_without_contrasts_does_not() -> None:
    sensible = {
        "upright": 0.8, "contrast": 1.0, "blur": 0.7, "edges": 0.1, "profiles": 0.1, "components": 30,
        "whitening": 0.4, "kernel": "rbf", "C": 10.0, "gamma": 0.3,
    }  # fmt: skip
    images, _ = monthly_digits.digits_of(1)
    assert monthly_digits.features(images, sensible).shape == (len(images), 208)
    assert monthly_digits.loss(sensible, 1) < 0.15 < 0.8 < monthly_digits.loss(sensible | {"gamma": 1e-5, "C": 1e-3}, 1)


def test_components_are_evened_as_far_as_asked() -> None:
    X = np.random.default_rng(0).standard_normal((200, 5)) * np.array([5.0, 3.0, 2.0, 1.0, 0.5])
    plain, half, whole = (
        monthly_digits.EvenedComponents(4, whitening).fit(X).transform(X).std(axis=0) for whitening in (0.0, 0.5, 1.0)
    )
    assert plain.shape == (4,)
    assert np.allclose(half, np.sqrt(plain * plain[0]))
    assert np.allclose(whole, plain[0])


@pytest.mark.parametrize("met", [1, 15, MONTHLY_BUDGET, None])
def test_the_curves_meet_where_memory_is_first_as_good_as_the_end_from_nothing(met: int | None) -> None:
    assert curves(met).met == met


def test_an_end_that_memory_never_meets_counts_as_more_than_all_evaluations() -> None:
    assert share(curves(None)) > share(curves(MONTHLY_BUDGET)) == 1.0
    assert share(curves(15)) == 0.5


def test_the_verdict_wants_the_median_and_most_seeds_at_half(capsys: pytest.CaptureFixture[str]) -> None:
    assert report({seed: curves(met) for seed, met in enumerate((1, 15, None))})
    assert "at most half in 2 of 3 seeds" in capsys.readouterr().out
    assert not report({seed: curves(met) for seed, met in enumerate((1, 16, None))})
    assert not report({seed: curves(met) for seed, met in enumerate((15, 15, None, None))})


def test_the_interval_of_equal_shares_is_that_share() -> None:
    assert interval([0.3] * 5) == (0.3, 0.3)
    low, high = interval([0.1, 0.2, 0.3, 0.4, 1.0])
    assert 0.1 <= low < 0.3 < high <= 1.0


def test_an_evaluation_is_made_once_for_every_month(tmp_path: Path) -> None:
    made: list[tuple[int, ...]] = []

    def evaluate(params: Mapping[str, Any], *month: int) -> float:
        made.append(month)
        return float(sum(month))

    path = tmp_path / "kept.jsonl"
    for _ in range(2):
        evaluations = Evaluations(path, evaluate)
        assert [evaluations.loss({"C": 1.0}, *month) for month in ((), (1,), (2,), (1,))] == [0.0, 1.0, 2.0, 1.0]
    assert made == [(), (1,), (2,)]
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3


@pytest.mark.slow
def test_a_new_month_starts_from_all_earlier_ones_and_from_nothing_else(tmp_path: Path) -> None:
    asked: list[int] = []

    def loss(params: Mapping[str, Any], month: int) -> float:
        asked.append(month)
        return float(abs(np.log10(params["C"]) - 1.0) + abs(params["blur"] - 0.5))

    with Server(tmp_path) as server, metatune.Client(server.url) as client:
        found = begin_month(client, loss, seed=0, progress=False)
        prior = client.study(f"month-{NEW_MONTH}").prior()
    assert [asked.count(month) for month in range(1, NEW_MONTH + 1)] == [MONTHLY_BUDGET] * 3 + [2 * MONTHLY_BUDGET]
    assert sorted(source["study"] for source in prior["sources"]) == ["month-1", "month-2", "month-3"]
    assert found.warm[0] < found.cold[0]
