"""The tables. A rule the database can keep, it keeps; whatever is filtered, ordered or joined on is a column.

JSON columns are PostgreSQL's `json`, not `jsonb`: it keeps the order in which parameters were given.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    event,
    false,
    inspect,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.db.session import UtcDateTime
from app.lifecycle import VISIBLE_STATES

#: SQLite numbers rows by itself only for a column of type INTEGER.
Id = BigInteger().with_variant(Integer, "sqlite")

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class WarmStart(TypeDecorator[Any]):
    """A word, or a list of names as JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return value if value is None or isinstance(value, str) else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return json.loads(value) if value is not None and value.startswith("[") else value


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy reads it so)
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        str: Text(),
        int: BigInteger(),
        float: Float(53),
        bytes: LargeBinary(),
    }


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)
    created_at: Mapped[datetime]


class ApiKey(Base):
    """`Authorization: Bearer mt_<id>_<secret>`; only a hash of the secret is kept.

    A revoked one stays: its row says that a key was made once, and whom the audit log means.
    """

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    secret_hash: Mapped[bytes]
    scopes: Mapped[list[Any]]
    #: What it is for, in its maker's words.
    name: Mapped[str] = mapped_column(String(128), server_default=text("''"))
    #: Makes projects, and keys for any of them.
    is_instance: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    #: Coarse, see `app.db.keys.Uses`.
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Study(Base):
    """The row that every write locks. Its counters (`n_…`, `next_number`, `revision`) move only under that lock."""

    __tablename__ = "studies"
    __table_args__ = (
        Index(
            "uq_studies_project_id_name",
            "project_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        CheckConstraint("state IN ('active', 'paused', 'stopped')", name="state"),
        {"sqlite_autoincrement": True},  # an id is never used again
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16))

    objectives: Mapped[list[Any]]
    outcomes: Mapped[list[Any]]
    algorithm: Mapped[dict[str, Any]]
    pruning: Mapped[dict[str, Any] | None]
    seed: Mapped[int]
    space_version: Mapped[int]

    description: Mapped[str]
    tags: Mapped[dict[str, Any]]
    stop: Mapped[dict[str, Any]]
    metafeatures: Mapped[dict[str, Any]]
    warm_start: Mapped[Any] = mapped_column(WarmStart())
    #: Which past studies lend to this one, since its first ask; goes up when they change. None: not asked
    #: yet; negative: to be chosen anew at the next ask.
    knowledge_version: Mapped[int | None]
    max_retries: Mapped[int]

    next_number: Mapped[int]
    #: Goes up with every event; also the id of the event.
    revision: Mapped[int]
    n_waiting: Mapped[int]
    n_running: Mapped[int]
    n_paused: Mapped[int]
    n_complete: Mapped[int]
    n_pruned: Mapped[int]
    n_failed: Mapped[int]
    n_infeasible: Mapped[int]
    n_lost: Mapped[int]
    #: Of the finished ones, those that were never handed out (imports): they do not count towards `max_trials`.
    n_imported: Mapped[int]
    #: How often a trial changed in what the model sees of it, see `number_changes`.
    n_changes: Mapped[int] = mapped_column(server_default=text("0"))

    first_ask_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    paused_seconds: Mapped[float]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    def counts(self) -> dict[str, int]:
        return {state: getattr(self, f"n_{state}") for state in VISIBLE_STATES}


class StudyTag(Base):
    """The tags once more, to filter by."""

    __tablename__ = "study_tags"
    __table_args__ = (Index("ix_study_tags_name_value", "name", "value"),)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[str]


class SpaceVersion(Base):
    __tablename__ = "space_versions"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    space: Mapped[dict[str, Any]]
    constraints: Mapped[list[Any]]
    created_at: Mapped[datetime]


class Trial(Base):
    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_trials_study_id_config_key", "study_id", "config_key"),
        Index("ix_trials_study_id_state_waiting", "study_id", "state", "waiting_rank", "waiting_since", "number"),
        Index("ix_trials_study_id_value", "study_id", "state", "value", "number"),
        Index("ix_trials_study_id_last_change", "study_id", "last_change"),
        Index("ix_trials_study_id_finished_revision", "study_id", "state", "finished_revision"),
        Index(
            "ix_trials_lease_expires_at",
            "lease_expires_at",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        CheckConstraint(
            "state IN ('waiting','running','paused','complete','pruned','failed','infeasible','lost','removed')",
            name="state",
        ),
        CheckConstraint("number >= 1", name="number"),
        CheckConstraint(
            "state <> 'running' OR (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)", name="lease"
        ),
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    #: 0 until it is handed out for the first time.
    attempt: Mapped[int]
    #: What is to be run; of an enqueued trial that was given in part only that part, until it is handed out.
    params: Mapped[dict[str, Any]]
    is_partial: Mapped[bool]
    #: `SearchSpace.key(params)`; none while the parameters are partial.
    config_key: Mapped[str | None] = mapped_column(String(64))
    space_version: Mapped[int]
    #: Is it legal in the study's current space?
    in_space: Mapped[bool]

    #: The objective of a study with one, to order by; all of them and the outcomes are in `values`.
    value: Mapped[float | None]
    values: Mapped[dict[str, Any] | None] = mapped_column("measured", JSON(none_as_null=True))
    feasible: Mapped[bool | None]
    noise: Mapped[float | None]
    cost: Mapped[float | None]
    info: Mapped[dict[str, Any]] = mapped_column("metadata", JSON(none_as_null=True))
    reason: Mapped[str | None]
    origin: Mapped[dict[str, Any]]

    worker: Mapped[str | None]
    lease_token: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    lease_seconds: Mapped[float | None]
    #: How often its lease ran out since it was created or enqueued again.
    expiries: Mapped[int]
    stop_requested: Mapped[bool]
    #: 0: handed out before (given back, or its lease ran out); 1: enqueued.
    waiting_rank: Mapped[int | None]
    waiting_since: Mapped[datetime | None]
    checkpoint: Mapped[str | None]
    #: Where the worker is to stop and say `paused`; none: it runs to the end.
    until_step: Mapped[int | None]
    #: Its last report with finite numbers.
    last_step: Mapped[int | None]
    last_values: Mapped[dict[str, Any] | None] = mapped_column("last_measured", JSON(none_as_null=True))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    #: The study's revision when it was finished: the order of results, without ties.
    finished_revision: Mapped[int | None]
    #: Which of the study's changes was its last: whoever has seen n of them reads only the trials beyond n.
    last_change: Mapped[int] = mapped_column(server_default=text("0"))


class Report(Base):
    """A value on the way, kept per attempt and step."""

    __tablename__ = "reports"
    __table_args__ = (Index("ix_reports_study_id_step", "study_id", "step", "is_current", "value"),)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    values: Mapped[dict[str, Any]] = mapped_column("measured", JSON(none_as_null=True))
    created_at: Mapped[datetime]
    #: Its trial's: so that the values of all trials at one step are one range of the index.
    study_id: Mapped[int]
    #: The latest attempt's word on this step, of a trial that was not removed.
    is_current: Mapped[bool]


class RungValue(Base):
    """What a trial had come to when it reached a rung: its report at the first step that is not below it."""

    __tablename__ = "rung_values"
    __table_args__ = (
        Index("ix_rung_values_study_id_loss", "study_id", "bracket", "rung", "loss", "trial_id"),
        Index("ix_rung_values_study_id_may_go_on", "study_id", "may_go_on", "bracket", "rung", "loss", "trial_id"),
    )
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    rung: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int]
    #: The first rung at which its trial is compared.
    bracket: Mapped[int]
    step: Mapped[int]
    #: The objectives, minimised; none, if one of them was not finite.
    losses: Mapped[list[Any] | None]
    #: The only objective, to compare by; none also if there are several.
    loss: Mapped[float | None]
    #: Paused here, and free to be promoted.
    may_go_on: Mapped[bool]


class Event(Base):
    """What happened lately, for those who watch; old ones are dropped."""

    __tablename__ = "events"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(32))
    number: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class LogEntry(Base):
    """Corrections, removals and edits, kept as long as the study."""

    __tablename__ = "study_log"
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    number: Mapped[int | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]


class Lesson(Base):
    """What a study taught at one moment; never changed, and kept as long as another study may build on it."""

    __tablename__ = "lessons"
    __table_args__ = (
        Index("ix_lessons_project_id_signature", "project_id", "signature", "id"),
        Index("ix_lessons_study_id", "study_id"),
        Index("ix_lessons_project_id_name", "project_id", "name"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    #: None: it was imported.
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(128))
    #: Superseded ones stay for the studies that build on them, and are offered to no other.
    is_latest: Mapped[bool]
    #: How often the study's trials had changed.
    n_changes: Mapped[int]
    n_results: Mapped[int]
    #: Of the names and kinds of its parameters: studies of one program have the same.
    signature: Mapped[str] = mapped_column(String(64))
    space: Mapped[dict[str, Any]]
    description: Mapped[str]
    tags: Mapped[dict[str, Any]]
    metafeatures: Mapped[dict[str, Any]]
    #: [{"name", "direction", "lesson": what `app.search.transfer.Lesson` writes, or null}]
    objectives: Mapped[list[Any]]
    created_at: Mapped[datetime]


class LessonWord(Base):
    """The words of latest lessons: of name, description and tags, and its parameters' names with a `=` before."""

    __tablename__ = "lesson_words"
    __table_args__ = (Index("ix_lesson_words_project_id_word", "project_id", "word", "lesson_id"),)
    lesson_id: Mapped[int] = mapped_column(ForeignKey("lessons.id", ondelete="CASCADE"), primary_key=True)
    word: Mapped[str] = mapped_column(String(129), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))


class PriorSource(Base):
    """A past study that was considered for a new one, and what became of it."""

    __tablename__ = "prior_sources"
    __table_args__ = (Index("ix_prior_sources_lesson_id", "lesson_id"),)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    lesson_id: Mapped[int] = mapped_column(ForeignKey("lessons.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int]
    is_taken: Mapped[bool]
    similarity: Mapped[float]
    why: Mapped[str]
    #: By hand: 0 excludes it.
    cap: Mapped[float]


class AuditEntry(Base):
    """Who created, changed, corrected or deleted what by hand; it outlives what it speaks of.

    Triggers refuse to change or delete an entry, see migration 0007.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_project_id_id", "project_id", "id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    at: Mapped[datetime]
    #: A key's id, or one of the words of `app.db.audit`.
    by: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(32))
    target: Mapped[str]
    details: Mapped[dict[str, Any]]


class Artefact(Base):
    """Bytes that any worker must find: a dataset, a table, a checkpoint, a model; see `app.db.artefacts`."""

    __tablename__ = "artefacts"
    __table_args__ = (Index("ix_artefacts_created_at", "created_at"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    size: Mapped[int]
    #: Of the whole content; none until the last chunk is written.
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]


class ArtefactChunk(Base):
    __tablename__ = "artefact_chunks"
    artefact_id: Mapped[str] = mapped_column(ForeignKey("artefacts.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes]


class Upload(Base):
    """A file that a caller gave a name: a dataset, or a table of evaluated architectures."""

    __tablename__ = "uploads"
    __table_args__ = (UniqueConstraint("project_id", "kind", "name"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(128))
    #: What is in it, as it is answered: shapes, classes, columns.
    summary: Mapped[dict[str, Any]]
    artefact_id: Mapped[str] = mapped_column(ForeignKey("artefacts.id"))
    created_at: Mapped[datetime]


class Worker(Base):
    """A process with the worker role; whoever stops renewing `seen_at` is dead, and others take up its work."""

    __tablename__ = "workers"
    #: Random for each start; the engine calls it the executor.
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    #: Where it listens, for calls that only a worker answers.
    address: Mapped[str]
    #: The machine as processes see it, and the process there; none where that cannot be told.
    machine: Mapped[str | None]
    process: Mapped[str | None]
    capacity: Mapped[int]
    has_gpu: Mapped[bool]
    version: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class Job(Base):
    """What a worker does for long. The row is the truth; the engine only brings it to a worker, see `app.worker`."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("project_id", "kind", "name"),
        Index(
            "ix_jobs_unfinished",
            "state",
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    #: Also the first part of the names under which the engine knows it.
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(128))
    body: Mapped[dict[str, Any]]
    #: What was settled when it was submitted, and stays so whatever is uploaded or searched later; null in older rows.
    basis: Mapped[dict[str, Any] | None]
    #: Of the engine; see `app.db.engine`.
    queue: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float]
    #: How often a worker has taken it up; also tells an attempt that goes on from one that was superseded.
    attempts: Mapped[int]
    #: How many of these, the last ones, made no progress.
    stalled: Mapped[int]
    #: How often it was given to the engine.
    dispatches: Mapped[int]
    error: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    #: Goes up with every change that those who watch shall see.
    revision: Mapped[int]
    #: What to go on from, and what came out.
    checkpoint_id: Mapped[str | None] = mapped_column(ForeignKey("artefacts.id"))
    model_id: Mapped[str | None] = mapped_column(ForeignKey("artefacts.id"))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobPart(Base):
    """A piece of a job that any worker may take, such as one evaluation; an entry of its own in the queue."""

    __tablename__ = "job_parts"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
    )
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float]
    attempts: Mapped[int]
    stalled: Mapped[int]
    dispatches: Mapped[int]
    error: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    checkpoint_id: Mapped[str | None] = mapped_column(ForeignKey("artefacts.id"))
    #: Who ran it last.
    worker: Mapped[str | None] = mapped_column(String(32))
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobLine(Base):
    """A line of a job's log; the last ones are kept."""

    __tablename__ = "job_log"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    line: Mapped[str] = mapped_column("text")


class Adaptation(Base):
    """A few-shot learner's adaptation to one task: the support set it learnt from, and what it remembers."""

    __tablename__ = "adaptations"
    __table_args__ = (UniqueConstraint("learner_id", "name"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    learner_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(128))
    #: How many examples of each class, in the order of the classes.
    summary: Mapped[dict[str, Any]]
    artefact_id: Mapped[str] = mapped_column(ForeignKey("artefacts.id"))
    #: Goes up with every change of the support set.
    revision: Mapped[int]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class IdempotencyKey(Base):
    """What a POST with an `Idempotency-Key` did, as a reference to the rows it made."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    reference: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


#: The columns of a trial from which the model's record of it is made.
LEARNED_FROM = ("state", "params", "is_partial", "values", "noise", "cost", "last_values")


@event.listens_for(Session, "before_flush")
def number_changes(session: Session, *_: Any) -> None:
    """Every trial that is written with another word for the model gets the next number of its study's changes.

    Here and not where trials are changed, so that no place can forget it; under the lock on the study's row, as every
    write.
    """
    changed = [trial for trial in (*session.new, *session.dirty) if isinstance(trial, Trial) and _has_news(trial)]
    for trial in changed:
        study = session.get_one(Study, trial.study_id)
        study.n_changes += 1
        trial.last_change = study.n_changes


def _has_news(trial: Trial) -> bool:
    state = inspect(trial)
    before = state.committed_state
    if not state.has_identity:
        return True
    names = LEARNED_FROM if trial.state == "paused" else LEARNED_FROM[:-1]
    return any(name in before and before[name] != getattr(trial, name) for name in names)


def add_event(session: Session, **columns: Any) -> None:
    """Nobody looks at an event again in its own transaction: it is no object, and those of a flush are one statement.

    It comes with a change of its study's row (`revision`), so there is a flush to write it.
    """
    session.info.setdefault("events", []).append(columns)


_ADD_EVENTS = Base.metadata.tables["events"].insert()


@event.listens_for(Session, "after_flush")
def write_events(session: Session, *_: Any) -> None:
    """After the rows that they point at."""
    rows = session.info.pop("events", None)
    if rows:
        session.connection().execute(_ADD_EVENTS, rows)
