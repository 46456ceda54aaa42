"""Searches on made-up tables: rules are kept, results do not depend on who computed what, and the best is found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import Invalid
from app.nas.front import expected_hypervolume_gain, hypervolume, non_dominated
from app.nas.network import Network
from app.nas.problem import Problem, Task, Told
from app.nas.search import Settings, beliefs, front, propose_number, recommend, search
from app.nas.spaces import Genes, space_from_json
from app.nas.strategies import NAMES, Memory, Strategy

SPACE = space_from_json({"type": "cell", "nodes": 4})


def problem(**options: Any) -> Problem:
    return Problem.of_networks(SPACE, (8, 8, 1), 10, measure=Network.parameters, penalty=0.0, **options)


def truth(genes: Genes) -> float:
    """Convolutions help, the more so on the way straight to the output."""
    weights = (0.03, 0.02, 0.05, 0.06, 0.04, 0.05)
    worth = (0.0, 0.3, 0.6, 1.0, 0.2)
    return 0.7 + sum(w * worth[gene] for w, gene in zip(weights, genes, strict=True))


def noisy(task: Task) -> float:
    return truth(task.genes) + 0.01 * float(np.random.default_rng([*task.genes, task.repeat]).standard_normal())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_strategy_keeps_the_rules_and_tries_nothing_twice_but_to_confirm(name: str) -> None:
    limited = replace(SPACE, max_parameters=1500)
    here = Problem.of_networks(limited, (8, 8, 1), 10, measure=Network.parameters, penalty=0.0)
    settings = Settings(Strategy(name, population=6, sample=3, initial=5), 1, 25, epochs=9)
    told = search(here, settings, noisy)
    assert len(told) == 25
    for one in told:
        assert limited.network(one.genes, (8, 8, 1), 10).parameters() <= 1500
        assert limited.canonical(one.genes) == one.genes
    tried = [(one.genes, one.repeat, one.epochs) for one in told]
    assert len(set(tried)) == len(tried)


def test_the_model_finds_better_than_chance() -> None:
    best = max(truth(SPACE.sample(np.random.default_rng(0))) for _ in range(500))
    gaps = {}
    for name in ("random", "gp"):
        found = [
            recommend(problem(), search(problem(), Settings(Strategy(name), seed, 40), noisy)) for seed in range(3)
        ]
        gaps[name] = np.mean([best - truth(one.genes) for one in found if one is not None])
    assert gaps["gp"] < gaps["random"]


def test_a_proposal_is_the_same_with_and_without_memory_and_looks_no_further_than_it_may() -> None:
    settings = Settings(Strategy("gp"), 3, 40, parallel=4)
    told: list[Told] = []
    memory = Memory()
    for number in range(1, 31):
        task = propose_number(problem(), settings, told, number, memory)
        told.append(Told(task.genes, task.repeat, task.epochs, noisy(task)))
    here = problem()
    for number in (12, 25, 31):
        known = [one if i < number - 4 else replace(one, value=-1e9) for i, one in enumerate(told[: number - 1])]
        again = propose_number(here, settings, known, number, Memory())
        assert again == propose_number(problem(), settings, told, number, memory)
        assert number > len(told) or again.genes == told[number - 1].genes


def test_a_failed_evaluation_teaches_nothing_and_ends_nothing() -> None:
    def failing(task: Task) -> float | None:
        return None if task.genes[3] == 0 else noisy(task)

    told = search(problem(), Settings(Strategy("gp"), 2, 25), failing)
    assert any(one.value is None for one in told)
    found = recommend(problem(), told)
    assert found is not None
    assert found.genes[3] != 0


def test_a_higher_penalty_recommends_a_smaller_network_without_another_search() -> None:
    told = search(problem(), Settings(Strategy("gp"), 4, 40), noisy)
    sizes = []
    for penalty in (0.0, 0.3, 3.0):
        found = recommend(problem(), told, penalty)
        assert found is not None
        sizes.append(problem().complexity(found.genes))
    assert sizes[0] > sizes[1] > sizes[2] or sizes[0] > sizes[1] == sizes[2]
    shown = front(problem(), told)
    complexities = [problem().complexity(one.genes) for one in shown]
    assert complexities == sorted(complexities)
    assert [one.mean for one in shown] == sorted(one.mean for one in shown)


def test_a_bad_network_is_believed_to_be_as_bad_as_it_was_measured_however_small_it_is() -> None:
    """How bad the bad ones are does not count for the best metric; it does for the best reward."""
    cells = sorted(set(SPACE.samples(np.random.default_rng(3), 12)), key=problem().complexity)
    values = [0.3, *(0.85 + 0.01 * i for i in range(len(cells) - 1))]
    told = [Told(genes, value=value) for genes, value in zip(cells, values, strict=True)]
    summary, means, _ = beliefs(problem(), told)
    assert means[0] == pytest.approx(0.3, abs=0.05)
    assert np.abs(means - summary.means).max() < 0.05
    found = recommend(problem(), told, penalty=0.4)
    assert found is not None
    assert found.genes != cells[0]


def test_where_all_trainings_there_are_were_seen_the_mean_is_known() -> None:
    """Of two that have the same mean of two trainings, one is known by them, as there are no more."""
    cells = [SPACE.sample(np.random.default_rng(seed)) for seed in range(12)]
    told = [Told(genes, repeat, None, noisy(Task(genes, repeat))) for genes in cells for repeat in range(2)]
    here = replace(problem(), trainings=lambda genes: 2 if genes == cells[0] else None)
    summary, means, deviations = beliefs(here, told)
    assert (means[0], deviations[0]) == (pytest.approx(summary.means[0], abs=1e-4), pytest.approx(0.0, abs=1e-4))
    assert min(deviations[1:]) > 1e-3


def test_no_more_trainings_are_asked_for_than_there_are() -> None:
    few = replace(problem(), trainings=lambda genes: 3, table=set(SPACE.neighbours((3, 3, 3, 3, 3, 3))))
    told = search(few, Settings(Strategy("gp"), 6, 2 * len(few.table or ())), noisy)
    assert max(Counter(one.genes for one in told).values()) in (2, 3)


def test_advised_architectures_are_tried_first() -> None:
    advised = (SPACE.canonical((3, 3, 3, 3, 3, 3)), SPACE.canonical((2, 2, 2, 2, 2, 2)))
    told = search(problem(), Settings(Strategy("random"), 5, 5, advised=advised), noisy)
    assert tuple(one.genes for one in told[:2]) == advised


def test_the_hypervolume_is_the_area_under_the_staircase() -> None:
    metric, size = np.array([0.5, 0.8, 0.7, 0.2]), np.array([0.2, 0.6, 0.7, 0.1])
    assert non_dominated(metric, size) == [3, 0, 1]
    area = 0.1 * 0.2 + 0.4 * 0.5 + 0.4 * 0.8
    assert hypervolume(metric, size, (0.0, 1.0)) == pytest.approx(area)


def test_the_expected_gain_of_hypervolume_is_the_mean_of_drawn_ones() -> None:
    metric, size = np.array([0.5, 0.8]), np.array([0.2, 0.6])
    mean, deviation, complexity = np.array([0.7]), np.array([0.1]), np.array([0.3])
    expected = expected_hypervolume_gain(mean, deviation, complexity, (metric, size), (0.0, 1.0))
    rng = np.random.default_rng(0)
    before = hypervolume(metric, size, (0.0, 1.0))
    drawn = [
        hypervolume(np.append(metric, value), np.append(size, 0.3), (0.0, 1.0)) - before
        for value in mean + deviation * rng.standard_normal(4000)
    ]
    assert expected[0] == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(4000))


@pytest.mark.parametrize("name", [{}, [], None, 7, "fastest"])
def test_what_names_no_strategy_and_no_space_is_refused_whatever_it_is(name: Any) -> None:
    with pytest.raises(Invalid, match="one of"):
        Strategy.from_json({"name": name})
    with pytest.raises(Invalid, match="one of"):
        space_from_json({"type": name})
