"""The legal moves of a trial, against the table of the contract."""

from __future__ import annotations

import itertools

import pytest

from app.errors import IllegalMove
from app.lifecycle import FINISHED, MOVES, TRIAL_STATES, TrialState, check_move

LEGAL: dict[str, set[str]] = {
    "waiting": {"running", "complete", "pruned", "failed", "infeasible", "removed"},
    "running": {"complete", "pruned", "failed", "infeasible", "paused", "waiting", "lost", "removed"},
    "paused": {"running", "removed"},
    "lost": {"complete", "pruned", "failed", "infeasible", "waiting", "removed"},
    "complete": {"removed"},
    "pruned": {"removed"},
    "failed": {"waiting", "removed"},
    "infeasible": {"removed"},
    "removed": set(),
}


@pytest.mark.parametrize(("here", "to"), list(itertools.product(TRIAL_STATES, TRIAL_STATES)))
def test_a_move_is_legal_exactly_if_the_contract_has_it(here: TrialState, to: TrialState) -> None:
    if to in LEGAL[here]:
        check_move(1, here, to)
    else:
        with pytest.raises(IllegalMove, match=f"trial 7 is {here} and cannot become {to}"):
            check_move(7, here, to)


def test_every_state_has_its_moves_and_nothing_leaves_removed() -> None:
    assert set(MOVES) == set(TRIAL_STATES)
    assert MOVES["removed"] == frozenset()
    assert {"complete", "pruned", "failed", "infeasible"} == FINISHED
