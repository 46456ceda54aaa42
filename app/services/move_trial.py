"""What people and workers do to one trial beside telling: release, stop, retry, correct, remove."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.db import idempotency, reports, studies, trials
from app.db.idempotency import Once
from app.db.session import Store
from app.db.studies import Address, OpenStudy
from app.db.tables import Trial
from app.errors import IllegalMove, TrialFinishedDifferently
from app.lifecycle import FINISHED
from app.measurement import Result, judge


def release(store: Store, address: Address, number: int, *, lease: str | None) -> Trial:
    """Gives a running trial back; it waits for the next asker. Of a waiting one it changes nothing.

    Raises: LeaseLost, IllegalMove.
    """
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        trial = trials.get(here, number)
        if trial.state in FINISHED:
            raise TrialFinishedDifferently(
                f"trial {number} is {trial.state} already; there is nothing to give back",
                here={"state": trial.state, "values": trial.values},
            )
        trials.check_lease(trial, lease)
        if trial.state == "waiting":
            return trial
        if trial.state != "running":
            raise IllegalMove(
                f"trial {number} is {trial.state}; only a running one can be given back", state=trial.state
            )
        trials.put_back(here, trial, rank=trials.GIVEN_BACK)
        trial.lease_seconds = None  # the token still releases, but a heartbeat on its way takes nothing up again
        here.record("trial.released", trial.state, number)
        return trial


def stop(store: Store, address: Address, number: int) -> Trial:
    """Asks a running trial to stop: its next report or heartbeat hears it.  Raises: IllegalMove."""
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        trial = trials.get(here, number)
        if trial.state != "running":
            raise IllegalMove(
                f"trial {number} is {trial.state}; only a running one can be asked to stop (DELETE removes one)",
                state=trial.state,
            )
        if not trial.stop_requested:
            trial.stop_requested = True
            here.audit("stopped", number)
            here.record("study.updated", here.study.state, number)
        return trial


def retry(store: Store, address: Address, number: int, once: Once | None) -> Trial:
    """Enqueues a failed or lost trial again, under its number.  Raises: IllegalMove."""
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        trial = trials.get(here, number)
        if idempotency.remembered(session, once) is not None:
            return trial
        if trial.state not in ("failed", "lost"):
            raise IllegalMove(
                f"trial {number} is {trial.state}; only a failed or lost one can be tried again", state=trial.state
            )
        here.audit("retried", number, state=trial.state)
        trials.put_back(here, trial, rank=trials.ENQUEUED)
        trial.expiries = 0
        trial.lease_token = trial.reason = trial.finished_at = trial.finished_revision = None
        trial.noise = trial.cost = None
        here.record("trial.released", trial.state, number)
        idempotency.remember(session, once, {"number": number}, here.now)
        return trial


def correct(store: Store, address: Address, number: int, result: Result | None, changes: Mapping[str, Any]) -> Trial:
    """Corrects a finished trial; what it said before is kept in the study's log.

    `result`: new values, or None to leave them; `changes`: any of noise, cost, metadata, reason.
    Raises: IllegalMove, InvalidMeasurement.
    """

    def rewrite(here: OpenStudy, trial: Trial) -> None:
        if trial.state not in FINISHED:
            raise IllegalMove(
                f"trial {number} is {trial.state}; only a finished one can be corrected", state=trial.state
            )
        if result is not None:
            verdict = judge(here.definition, result)
            here.recount(trial, verdict.state)
            trials.write_verdict(here, trial, verdict)
        for name, value in changes.items():
            setattr(trial, "info" if name == "metadata" else name, value)

    return _logged(store, address, number, "corrected", rewrite, "trial.finished", changes.get("reason"))


def remove(store: Store, address: Address, number: int, reason: str | None) -> Trial:
    """Removes a trial from the study; its number stays taken, and the log keeps what it said."""

    def drop(here: OpenStudy, trial: Trial) -> None:
        here.move(trial, "removed")
        trial.lease_token = trial.lease_expires_at = trial.waiting_rank = trial.waiting_since = None
        reports.forget(here, trial)

    return _logged(store, address, number, "removed", drop, "trial.removed", reason)


def _logged(
    store: Store,
    address: Address,
    number: int,
    kind: str,
    change: Callable[[OpenStudy, Trial], None],
    event: str,
    reason: str | None,
) -> Trial:
    with store.write(address.project_id) as session:
        here = studies.open_study(session, address, lock=True)
        trial = trials.get(here, number)
        before = _record(trial)
        change(here, trial)
        after = _record(trial)
        if before != after:
            here.record(event, trial.state, number)
            here.log(kind, number=number, before=before, after=after, reason=reason)
            changed = [name for name in after if before[name] != after[name]]
            was, became = ({name: record[name] for name in changed} for record in (before, after))
            here.audit(kind, number, before=was, after=became, reason=reason)
        return trial


def _record(trial: Trial) -> dict[str, Any]:
    return {
        "state": trial.state,
        "values": trial.values,
        "noise": trial.noise,
        "cost": trial.cost,
        "reason": trial.reason,
        "metadata": trial.info,
    }
