"""What the demo's second act shows, and what `make bench-demo` makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metatune
from benchmarks import digits_svm
from benchmarks.demo import BUDGET, NEW_OFFICE, Curves, open_office
from benchmarks.demo_memory import interval, report, share
from benchmarks.demo_seeds import Evaluations
from benchmarks.server import Server


def curves(met: int | None) -> Curves:
    """Memory is as good as the end from nothing in that trial."""
    n_before = BUDGET if met is None else met - 1
    return Curves(np.linspace(2.0, 1.0, BUDGET).tolist(), [1.5] * n_before + [1.0] * (BUDGET - n_before))


def test_no_office_has_an_image_of_another() -> None:
    parts = [digits_svm.digits_of(number) for number in range(1, NEW_OFFICE + 1)]
    assert sum(len(images) for images, _ in parts) == 1797
    for images, labels in parts:
        assert images.min() == 0.0
        assert images.max() == 1.0
        assert labels[:10].tolist() == [*range(10)], "a form begins here"


@pytest.mark.parametrize("met", [1, 25, BUDGET, None])
def test_the_curves_meet_where_memory_is_first_as_good_as_the_end_from_nothing(met: int | None) -> None:
    assert curves(met).met == met


def test_an_end_that_memory_never_meets_counts_as_more_than_all_evaluations() -> None:
    assert share(curves(None)) > share(curves(BUDGET)) == 1.0
    assert share(curves(25)) == 0.5


def test_the_verdict_wants_the_median_and_most_seeds_at_half(capsys: pytest.CaptureFixture[str]) -> None:
    assert report({seed: curves(met) for seed, met in enumerate((1, 25, None))})
    assert "at most half in 2 of 3 seeds" in capsys.readouterr().out
    assert not report({seed: curves(met) for seed, met in enumerate((1, 26, None))})
    assert not report({seed: curves(met) for seed, met in enumerate((25, 25, None, None))})


def test_the_interval_of_equal_shares_is_that_share() -> None:
    assert interval([0.3] * 5) == (0.3, 0.3)
    low, high = interval([0.1, 0.2, 0.3, 0.4, 1.0])
    assert 0.1 <= low < 0.3 < high <= 1.0


def test_an_evaluation_is_made_once_for_every_office(tmp_path: Path) -> None:
    made: list[tuple[int, ...]] = []

    def evaluate(params: Mapping[str, Any], *office: int) -> float:
        made.append(office)
        return float(sum(office))

    path = tmp_path / "kept.jsonl"
    for _ in range(2):
        evaluations = Evaluations(path, evaluate)
        assert [evaluations.loss({"C": 1.0}, *office) for office in ((), (1,), (2,), (1,))] == [0.0, 1.0, 2.0, 1.0]
    assert made == [(), (1,), (2,)]
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 3


@pytest.mark.slow
def test_a_new_office_starts_from_all_earlier_ones_and_from_nothing_else(tmp_path: Path) -> None:
    asked: list[int] = []

    def loss(params: Mapping[str, Any], office: int) -> float:
        asked.append(office)
        return float(abs(np.log10(params["C"]) - 1.0) + abs(params["blur"] - 0.5))

    with Server(tmp_path) as server, metatune.Client(server.url) as client:
        found = open_office(client, loss, seed=0, progress=False)
        prior = client.study(f"office-{NEW_OFFICE}").prior()
    assert [asked.count(office) for office in range(1, NEW_OFFICE + 1)] == [BUDGET, BUDGET, 2 * BUDGET]
    assert sorted(source["study"] for source in prior["sources"]) == ["office-1", "office-2"]
    assert found.warm[0] < found.cold[0]
