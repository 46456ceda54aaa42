"""A server with a bug put in on purpose: `python -m tests.ledger.planted <bug> serve …`. The audit has to find it.

Several are joined by `+`. `forgetful-disk` is none of the server's: under it a power cut can be played, see `power`.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm.attributes import set_committed_value

from app import cli
from app.db import idempotency, studies, trials
from app.db import session as database
from app.db.session import EVERY_PROJECT, Store
from app.db.studies import OpenStudy
from app.db.tables import Event, Study, Trial
from tests.ledger import power


def asynchronous_commit() -> None:
    """Commits that are acknowledged before they are on disk. The product refuses such a database; here nobody looks."""

    def unchecked(store: Store) -> None:
        return

    Store.check = unchecked  # type: ignore[method-assign]


def unsynced_commit() -> None:
    """The same on SQLite: a commit is in the log, and the log is on disk sometime."""

    def prepare(connection: Any, record: Any) -> None:
        prepared(connection, record)
        connection.execute("PRAGMA synchronous=NORMAL")

    asynchronous_commit()
    prepared, database._prepare_sqlite = database._prepare_sqlite, prepare


def max_plus_one() -> None:
    """The next number is one more than the largest there is, and the study's row is not locked while it is found.

    The rules of the database that would stop the worst are taken away too: numbers are no longer unique, and the
    events are numbered by an update of their own.
    """
    make, open_study, check = trials.make, studies.open_study, Store.check

    def open_unlocked(session: Any, address: Any, *, lock: bool = False) -> OpenStudy:
        return open_study(session, address)

    def make_by_looking(here: OpenStudy, **fields: Any) -> Trial:
        here.session.flush()
        largest = here.session.execute(select(func.max(Trial.number)).where(Trial.study_id == here.study.id)).scalar()
        here.study.next_number = (largest or 0) + 1
        return make(here, **fields)

    def record(here: OpenStudy, type_: str, state: str, number: int | None = None) -> int:
        here.session.flush()
        drawn = update(Study).where(Study.id == here.study.id).values(revision=Study.revision + 1)
        revision: int = here.session.execute(
            drawn.returning(Study.revision), execution_options={"synchronize_session": False}
        ).scalar_one()
        set_committed_value(here.study, "revision", revision)
        here.session.add(
            Event(
                study_id=here.study.id, revision=revision, type=type_, number=number, state=state, created_at=here.now
            )
        )
        return revision

    def check_and_loosen(store: Store) -> None:
        check(store)
        with store.write(EVERY_PROJECT) as session:
            session.execute(text("ALTER TABLE trials DROP CONSTRAINT IF EXISTS uq_trials_study_id_number"))

    studies.open_study = open_unlocked  # type: ignore[assignment]
    trials.make = make_by_looking  # type: ignore[assignment]
    OpenStudy.record = record  # type: ignore[assignment]
    Store.check = check_and_loosen  # type: ignore[assignment]


def forgotten_keys() -> None:
    """Idempotency keys are taken and not kept: a call that is sent again does its work again."""
    idempotency.remember = lambda *_: None  # type: ignore[assignment]


def unchecked_leases() -> None:
    """Whoever held a trial once may speak for it, also when somebody else has it now."""
    trials.check_lease = lambda *_: None  # type: ignore[assignment]


def rounded_values() -> None:
    """Results are kept with half their digits."""
    result_fields = trials.result_fields

    def rounded(definition: Any, values: Any, *rest: Any) -> dict[str, Any]:
        kept = values and {name: struct.unpack("f", struct.pack("f", value))[0] for name, value in values.items()}
        return result_fields(definition, kept, *rest)

    trials.result_fields = rounded


BUGS: dict[str, Callable[[], None]] = {
    "forgetful-disk": power.watch,
    "asynchronous-commit": asynchronous_commit,
    "unsynced-commit": unsynced_commit,
    "max-plus-one": max_plus_one,
    "forgotten-keys": forgotten_keys,
    "unchecked-leases": unchecked_leases,
    "rounded-values": rounded_values,
}

if __name__ == "__main__":
    for bug in sys.argv[1].split("+"):
        BUGS[bug]()
    cli.main(sys.argv[2:])
