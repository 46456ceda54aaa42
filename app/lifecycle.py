"""The legal moves of a trial and of a job; pure.

    waiting ──hand-out──▶ running ──tell──▶ complete | pruned | failed | infeasible
       ▲                   │ │ ▲
       ├──release, expiry──┤ │ └─promotion── paused
       └──late tell──▶ …   │ └──stops at a rung──▲
                           └──max_retries expiries──▶ lost ──late tell, retry──▶ …

A finished trial changes only by correction or removal; `failed` and `lost` may be enqueued again.

    queued ──a worker takes it──▶ running ──▶ succeeded | failed        both ──▶ cancelled

A part of a job moves as a job does. A worker that dies leaves it `running`; the next one takes it up from there.
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


JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JOB_STATES: Final[tuple[JobState, ...]] = get_args(JobState)
UNFINISHED: Final[frozenset[JobState]] = frozenset({"queued", "running"})
JOB_MOVES: Final[dict[JobState, frozenset[JobState]]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"running", "succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
#: Times that a job, or a part of one, is taken up without progress in between before it is given up.
MAX_STALLED: Final = 3


def check_job_move(name: str, here: JobState, to: JobState) -> None:
    """Raises: IllegalMove."""
    if to not in JOB_MOVES[here]:
        raise IllegalMove(f"{name} is {here} and cannot become {to}", state=here)


def check_move(number: int, here: TrialState, to: TrialState) -> None:
    """Raises: IllegalMove, naming where the trial may go from here."""
    if to not in MOVES[here]:
        legal = ", ".join(sorted(MOVES[here])) or "nowhere"
        raise IllegalMove(
            f"trial {number} is {here} and cannot become {to}; from here it may become: {legal}", state=here
        )
