"""A grid goes through its nodes once each, whatever was tried besides, and ends."""

from __future__ import annotations

import pytest

from app.search.space import Bool, Categorical, Float, Int, SearchSpace
from app.search.suggest import Goal, History, Record, suggest

LOSS = Goal(("minimize",))
TREE = SearchSpace(
    {
        "rate": Float(1e-4, 1.0, "log"),
        "wide": Int(1, 100_000, "log"),
        "kind": Categorical(("a", "b")),
        "depth": Int(1, 3, when={"kind": ("a",)}),
        "on": Bool(),
    },
    ("rate * wide <= 1000", "depth <= 2"),
)


def asked(space: SearchSpace, records: list[Record], count: int, resolution: int) -> tuple[list[Record], bool]:
    history = History.of(space, LOSS, records)
    found = suggest(
        space, LOSS, history, count=count, seed=0, first_number=len(records) + 1, algorithm="grid",
        options={"resolution": resolution},
    )  # fmt: skip
    assert {point.source for point in found.points} <= {"grid"}
    new = [Record(len(records) + 1 + k, point.params, "complete", (0.0,)) for k, point in enumerate(found.points)]
    return records + new, found.exhausted


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_every_node_of_a_conditional_constrained_grid_is_visited_once_whatever_the_batches(count: int) -> None:
    records: list[Record] = []
    done = False
    while not done:
        records, done = asked(TREE, records, count, 4)
    visited = [TREE.key(record.params) for record in records]
    nodes = [TREE.key(params) for params in TREE.enumerate(4)]
    assert len(set(visited)) == len(visited)
    assert sorted(visited) == sorted(nodes)


def test_points_tried_by_others_are_skipped_and_do_not_end_the_grid() -> None:
    nodes = list(TREE.enumerate(3))
    others = [Record(n, params, "complete", (0.0,)) for n, params in enumerate(nodes[::2], start=1)]
    records, done = asked(TREE, others, len(nodes), 3)
    assert done
    assert sorted(TREE.key(record.params) for record in records) == sorted(TREE.key(params) for params in nodes)


def test_a_resolution_finer_than_the_levels_repeats_none() -> None:
    space = SearchSpace({"n": Int(1, 5), "few": Int(1, 120), "s": Float(0, 1, step=0.5)})
    records, done = asked(space, [], 10_000, 900)
    assert done
    assert len({space.key(record.params) for record in records}) == len(records) == 5 * 120 * 3
