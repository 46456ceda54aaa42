"""Jobs on the engine: what is submitted is done once, survives its worker, and says how it stands."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import text, update

from app.db import artefacts, jobs, workers
from app.db import engine as tables
from app.db.session import EVERY_PROJECT, Store
from app.db.tables import Artefact, Job, JobPart
from app.db.tables import Worker as WorkerRow
from app.errors import JobDiffers, JobInUse
from app.services import submit
from app.worker.unit import Cancelled, Done, Superseded, Unit, begin
from app.worker.watch import clean, reconcile, recover
from tests.worker.conftest import Worker


def entries(store: Store, table: str = "workflow_status") -> list[Any]:
    schema = "" if store.is_sqlite else f"{tables.SCHEMA}."
    with store.engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {schema}{table}")).mappings())


def test_a_job_runs_to_its_result(worker: Worker) -> None:
    def run(unit: Unit) -> Done:
        unit.progress(0.5, "half of it")
        return Done({"sum": unit.body["a"] + unit.body["b"]}, model=b"weights")

    worker.kind(run)
    worker.submit(a=1, b=2)
    job = worker.finished()
    assert (job.state, job.result, job.progress, job.attempts, job.error) == ("succeeded", {"sum": 3}, 1.0, 1, None)
    assert job.model_id is not None
    assert artefacts.read(worker.store, worker.project_id, job.model_id) == b"weights"
    with worker.store.read(worker.project_id) as session:
        assert [one.line for one in jobs.log_tail(session, job.id)] == ["half of it"]


def test_the_row_and_its_entry_are_written_together_or_not_at_all(idle: Worker) -> None:
    with suppress(ZeroDivisionError), idle.store.write(idle.project_id) as session:
        here = jobs.insert(session, idle.address("gone"), {}, tables.LIGHT)
        jobs.dispatch(idle.store, session, here.job)
        raise ZeroDivisionError
    assert entries(idle.store) == []
    job = idle.submit("there")
    (entry,) = entries(idle.store)
    assert (entry["workflow_uuid"], entry["status"], entry["queue_name"]) == (f"{job.uid}.1", "ENQUEUED", "light")


def test_the_engine_keeps_ids_alone_as_json(idle: Worker) -> None:
    job = idle.submit(secret="not for the engine")
    (entry,) = entries(idle.store)
    assert entry["serialization"] == "portable_json"
    (given,) = entries(idle.store, "workflow_input")
    assert json.loads(given["inputs"]) == {"namedArgs": {}, "positionalArgs": [job.uid]}
    assert entry["application_version"] == tables.VERSION


def test_the_same_job_again_is_the_one_that_is_there_and_another_is_refused(idle: Worker) -> None:
    first = idle.submit(a=1)
    again = submit.submit(idle.store, idle.address("one"), {"a": 1}, tables.LIGHT, None)
    assert (again.created, again.job.uid) == (False, first.uid)
    with pytest.raises(JobDiffers) as refused:
        idle.submit(a=2)
    assert refused.value.extra["differs"] == [{"pointer": "/a", "here": 1, "given": 2}]
    assert len(entries(idle.store)) == 1


def test_what_a_job_raises_is_its_reason(worker: Worker) -> None:
    def run(unit: Unit) -> Done:
        raise ValueError("no such thing as a free lunch")

    worker.kind(run)
    worker.submit()
    job = worker.finished()
    assert (job.state, job.error) == ("failed", "ValueError: no such thing as a free lunch")


def test_parts_are_done_by_whoever_takes_them_and_a_part_that_fails_fails_alone(worker: Worker) -> None:
    def run(unit: Unit) -> Done:
        unit.submit([(number, {"x": number}) for number in range(1, 5)])
        unit.submit([(1, {"x": 1})])  # again: it is there
        parts = unit.wait()
        while any(part.state in ("queued", "running") for part in parts):
            parts = unit.wait()
        return Done({"squares": [part.result and part.result["square"] for part in parts]})

    def run_part(unit: Unit) -> dict[str, Any]:
        if unit.task["x"] == 3:
            raise MemoryError
        return {"square": unit.task["x"] ** 2}

    worker.kind(run, run_part)
    worker.submit()
    assert worker.finished().result == {"squares": [1, 4, None, 16]}
    failed = worker.parts()[2]
    assert (failed.state, failed.error, failed.attempts) == ("failed", "out of memory", 1)
    assert worker.parts()[0].worker == worker.engine.worker_id


def test_a_cancelled_job_stops_at_its_next_look_and_takes_its_parts_with_it(worker: Worker) -> None:
    started, stopped = threading.Event(), threading.Event()

    def run(unit: Unit) -> Done:
        unit.submit([(number, {}) for number in range(1, 20)])
        while True:
            unit.wait()

    def run_part(unit: Unit) -> dict[str, Any]:
        started.set()
        try:
            while True:
                unit.progress(0.1)
        finally:
            stopped.set()

    worker.kind(run, run_part)
    worker.submit()
    assert started.wait(60)
    cancelled = submit.cancel(worker.store, worker.address("one"))
    assert cancelled.state == "cancelled"
    assert stopped.wait(60)
    assert {part.state for part in worker.parts()} == {"cancelled"}
    worker.until(lambda: all(entry["status"] == "SUCCESS" for entry in entries(worker.store)))
    assert max(part.attempts for part in worker.parts()) == 1
    assert worker.look().state == "cancelled"
    assert submit.cancel(worker.store, worker.address("one")).revision == worker.look().revision


def test_a_running_job_is_not_deleted_and_a_finished_one_goes_with_all_that_it_made(worker: Worker) -> None:
    go_on = threading.Event()

    def run(unit: Unit) -> Done:
        unit.save(b"so far", 0.5)
        go_on.wait(60)
        return Done({}, model=b"weights")

    worker.kind(run)
    worker.submit()
    worker.until(lambda: worker.look().checkpoint_id)
    with pytest.raises(JobInUse):
        submit.remove(worker.store, worker.address("one"))
    go_on.set()
    worker.finished()
    submit.remove(worker.store, worker.address("one"))
    with worker.store.read(EVERY_PROJECT) as session:
        assert session.query(Artefact).count() == session.query(Job).count() == 0


# --- workers that die -------------------------------------------------------------------------------------------


def test_a_worker_that_is_heard_of_no_more_is_dead_and_so_is_one_whose_process_is_gone(store: Store) -> None:
    with store.write(EVERY_PROJECT) as session:
        ids = [workers.enter(session, address=f"http://{n}", capacity=1, has_gpu=False, version="1") for n in range(3)]
        session.flush()
        silent, gone = session.get_one(WorkerRow, ids[1]), session.get_one(WorkerRow, ids[2])
        silent.seen_at = silent.seen_at.replace(year=2000)
        gone.process = "1:0"
    with store.read(EVERY_PROJECT) as session:
        assert [one.id for one in workers.alive(session, 15)] == ids[:1]
        assert set(workers.dead(session, 15)) == set(ids[1:])


def test_the_work_of_a_dead_worker_goes_on_from_its_checkpoint_elsewhere(idle: Worker) -> None:
    def run(unit: Unit) -> Done:
        return Done({"went on from": (unit.saved() or b"nothing").decode(), "attempt": unit.attempt})

    idle.kind(run)
    job = idle.submit()
    dead = as_if_begun_by_another(idle, job)
    dead.save(b"epoch 3", 0.3)
    idle.engine.start()
    done = idle.finished(watched=True)
    idle.engine.stop()
    assert done.result == {"went on from": "epoch 3", "attempt": 2}
    assert done.checkpoint_id is None
    with pytest.raises(Cancelled):  # the one that was taken for dead wakes up
        dead.progress(0.9, "still here")


def as_if_begun_by_another(worker: Worker, job: Job) -> Unit:
    """The job's entry is taken by a worker that is not there, and its row as that one would have written it."""
    schema = "" if worker.store.is_sqlite else f"{tables.SCHEMA}."
    with worker.store.engine.begin() as connection:
        connection.execute(
            text(f"UPDATE {schema}workflow_status SET status = 'PENDING', executor_id = 'f00', owner_xid = 'x'")
        )
    unit = begin(worker.store, "f00", job.uid, None, 2**20)
    assert unit is not None
    return unit


def test_an_attempt_that_was_superseded_writes_nothing(idle: Worker) -> None:
    idle.kind(lambda unit: Done({}))
    job = idle.submit()
    old = begin(idle.store, "a", job.uid, None, 2**20)
    new = begin(idle.store, "b", job.uid, None, 2**20)
    assert old is not None
    assert new is not None
    for say in (lambda: old.progress(0.5, "x"), lambda: old.finish(Done({})), lambda: old.save(b"", 0.5), old.check):
        with pytest.raises(Superseded):
            say()
    new.finish(Done({"by": "b"}))
    assert idle.look().result == {"by": "b"}


@pytest.mark.parametrize("number", [None, 1])
def test_three_attempts_without_progress_end_it_and_progress_starts_the_count_anew(
    idle: Worker, number: int | None
) -> None:
    job = idle.submit()
    first = begin(idle.store, "w", job.uid, None, 2**20)
    assert first is not None
    first.submit([(1, {})])
    for attempt in range(1, 7):  # with progress, as often as it takes
        unit = begin(idle.store, "w", job.uid, number, 2**20)
        assert unit is not None
        unit.progress(0.1, f"attempt {attempt}")
    for _ in range(3):
        assert begin(idle.store, "w", job.uid, number, 2**20) is not None
    assert begin(idle.store, "w", job.uid, number, 2**20) is None
    row = idle.look() if number is None else idle.parts()[0]
    assert row.state == "failed"
    assert "3 times without progress" in str(row.error)
    assert idle.parts()[0].state == ("cancelled" if number is None else "failed")


def test_a_worker_that_leaves_by_itself_costs_no_attempt(idle: Worker) -> None:
    started = threading.Event()

    def run(unit: Unit) -> Done:
        started.set()
        while unit.attempt < 6:
            unit.wait()
        return Done({})

    idle.kind(run)
    idle.submit()
    for _ in range(5):
        idle.engine = idle.another()
        started.clear()
        idle.engine.start()
        idle.until(started.is_set, watched=True)
        idle.engine.stop()
    assert (idle.look().state, idle.look().stalled) == ("running", 0)
    idle.engine = idle.another()
    idle.engine.start()
    job = idle.finished(watched=True)
    idle.engine.stop()
    assert (job.state, job.attempts) == ("succeeded", 6)


# --- what the rows say and what the engine says ------------------------------------------------------------------


def test_a_row_without_an_entry_gets_one(worker: Worker) -> None:
    """As the slim API process leaves it, where the engine is not installed."""
    worker.kind(lambda unit: Done({"ran": True}))
    with worker.store.write(worker.project_id) as session:
        jobs.insert(session, worker.address("one"), {}, tables.LIGHT)
    reconcile(worker.engine)
    assert worker.finished().result == {"ran": True}
    reconcile(worker.engine)
    assert len(entries(worker.store)) == 1


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "failed", "dispatched too often"),
        ("CANCELLED", "cancelled", "None"),
        ("ERROR", "succeeded", "None"),  # the engine's own trouble, not the job's: it is given there again
        ("SUCCESS", "succeeded", "None"),
    ],
)
def test_the_public_state_is_reconciled_with_the_engines(idle: Worker, status: str, state: str, said: str) -> None:
    idle.kind(lambda unit: Done({}))
    idle.submit()
    schema = "" if idle.store.is_sqlite else f"{tables.SCHEMA}."
    with idle.store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema}workflow_status SET status = :status"), {"status": status})
    idle.engine.start()
    job = idle.finished(watched=True)
    idle.engine.stop()
    assert job.state == state
    assert said in str(job.error)


def test_what_the_engine_keeps_is_deleted_after_a_while_and_the_result_stays(worker: Worker) -> None:
    worker.kind(lambda unit: Done({"kept": True}))
    worker.submit()
    worker.finished()
    worker.until(lambda: entries(worker.store)[0]["status"] == "SUCCESS")
    clean(worker.engine)
    assert len(entries(worker.store)) == 1
    schema = "" if worker.store.is_sqlite else f"{tables.SCHEMA}."
    with worker.store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema}workflow_status SET completed_at = 1000, updated_at = 1000"))
    clean(worker.engine)
    assert entries(worker.store) == []
    assert worker.look().result == {"kept": True}


def test_the_dead_are_struck_off_once_their_work_is_taken_up(worker: Worker) -> None:
    with worker.store.write(EVERY_PROJECT) as session:
        workers.enter(session, address="", capacity=1, has_gpu=False, version="1")
        session.flush()
        session.execute(update(WorkerRow).where(WorkerRow.id != worker.engine.worker_id).values(process="1:0"))
    recover(worker.engine)
    with worker.store.read(EVERY_PROJECT) as session:
        assert [one.id for one in session.query(WorkerRow)] == [worker.engine.worker_id]
        assert session.query(JobPart).count() == 0
