"""The legal moves of a trial; pure.

    waiting ──hand-out──▶ running ──tell──▶ complete | pruned | failed | infeasible
       ▲                   │ │ ▲
       ├──release, expiry──┤ │ └─promotion── paused
       └──late tell──▶ …   │ └──stops at a rung──▲
                           └──max_retries expiries──▶ lost ──late tell, retry──▶ …

A finished trial changes only by correction or removal; `failed` and `lost` may be enqueued again.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from app.errors import IllegalMove

TrialState = Literal["waiting", "running", "paused", "complete", "pruned", "failed", "infeasible", "lost", "removed"]
FinishedState = Literal["complete", "pruned", "failed", "infeasible"]
#: What a worker may say of the trial that it ran.
ToldState = Literal["complete", "pruned", "failed", "infeasible", "paused"]
StudyState = Literal["active", "paused", "stopped"]
#: Where a trial's parameters come from.
Source = Literal[
    "initial", "warm_start", "gp", "tpe", "cmaes", "nsga2", "sobol", "random", "grid", "fallback",
    "enqueued", "imported",
]  # fmt: skip

TRIAL_STATES: Final[tuple[TrialState, ...]] = get_args(TrialState)
#: What a person sees; a removed trial is only a gap in the numbers.
VISIBLE_STATES: Final[tuple[TrialState, ...]] = tuple(state for state in TRIAL_STATES if state != "removed")
_FINISHED: Final[tuple[TrialState, ...]] = get_args(FinishedState)
FINISHED: Final = frozenset(_FINISHED)
#: States from which a result may still come by itself: the study is not over while one is left.
LIVE: Final[frozenset[TrialState]] = frozenset({"waiting", "running"})

MOVES: Final[dict[TrialState, frozenset[TrialState]]] = {
    "waiting": frozenset({"running", "removed", *_FINISHED}),
    "running": frozenset({"waiting", "lost", "paused", "removed", *_FINISHED}),
    "paused": frozenset({"running", "removed"}),
    "lost": frozenset({"waiting", "removed", *_FINISHED}),
    "complete": frozenset({"removed"}),
    "pruned": frozenset({"removed"}),
    "failed": frozenset({"waiting", "removed"}),
    "infeasible": frozenset({"removed"}),
    "removed": frozenset(),
}


def check_move(number: int, here: TrialState, to: TrialState) -> None:
    """Raises: IllegalMove, naming where the trial may go from here."""
    if to not in MOVES[here]:
        legal = ", ".join(sorted(MOVES[here])) or "nowhere"
        raise IllegalMove(
            f"trial {number} is {here} and cannot become {to}; from here it may become: {legal}", state=here
        )
