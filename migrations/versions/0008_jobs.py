"""Jobs, their parts and logs, the workers that host them, and artefacts: what a job reads and makes, in chunks.

The engine's own tables lie beside these and are made by the engine's own migrations, see app/db/engine.py.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
STATES = "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')"
UNFINISHED = sa.text("state IN ('queued', 'running')")

#: What each row belongs to, for row-level security. Workers serve every project, and are nobody's.
OWN = ("artefacts", "uploads", "jobs")
OF_OTHERS = {
    "artefact_chunks": "artefacts WHERE artefacts.id = artefact_chunks.artefact_id",
    "job_parts": "jobs WHERE jobs.id = job_parts.job_id",
    "job_log": "jobs WHERE jobs.id = job_log.job_id",
}


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("process", sa.Text(), nullable=True),
        sa.Column("capacity", sa.BigInteger(), nullable=False),
        sa.Column("has_gpu", sa.Boolean(), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "artefacts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_artefacts_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artefacts")),
    )
    op.create_index("ix_artefacts_created_at", "artefacts", ["created_at"])
    op.create_index("ix_artefacts_project_id", "artefacts", ["project_id"])
    op.create_table(
        "artefact_chunks",
        sa.Column("artefact_id", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        _of_artefact("artefact_chunks", "artefact_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("artefact_id", "position", name=op.f("pk_artefact_chunks")),
    )
    op.create_table(
        "uploads",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("artefact_id", sa.String(32), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_uploads_project_id")),
        _of_artefact("uploads", "artefact_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("project_id", "kind", "name", name=op.f("uq_uploads_project_id_kind_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("queue", sa.String(16), nullable=False),
        *_run(),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("model_id", sa.String(32), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(STATES, name=op.f("ck_jobs_state")),
        _of_artefact("jobs", "checkpoint_id"),
        _of_artefact("jobs", "model_id"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("project_id", "kind", "name", name=op.f("uq_jobs_project_id_kind_name")),
        sa.UniqueConstraint("uid", name=op.f("uq_jobs_uid")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_unfinished", "jobs", ["state"], sqlite_where=UNFINISHED, postgresql_where=UNFINISHED)
    op.create_table(
        "job_parts",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.JSON(), nullable=False),
        *_run(),
        sa.Column("worker", sa.String(32), nullable=True),
        sa.CheckConstraint(STATES, name=op.f("ck_job_parts_state")),
        _of_artefact("job_parts", "checkpoint_id"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_parts_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_job_parts")),
    )
    op.create_table(
        "job_log",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_log_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "position", name=op.f("pk_job_log")),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in OWN:
            _wall(table, "current_setting('metatune.project', true) IN (project_id::text, 'every')")
        for table, owner in OF_OTHERS.items():
            _wall(table, f"EXISTS (SELECT FROM {owner})")


def _run() -> list[sa.Column[object]]:
    """What a job and a part have in common."""
    return [
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("progress", sa.Float(53), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("stalled", sa.BigInteger(), nullable=False),
        sa.Column("dispatches", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("checkpoint_id", sa.String(32), nullable=True),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
    ]


def _of_artefact(table: str, column: str, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["artefacts.id"], name=op.f(f"fk_{table}_{column}"), ondelete=ondelete)


def _wall(table: str, is_seen: str) -> None:
    op.execute(f"CREATE POLICY project ON {table} USING ({is_seen})")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in ("job_log", "job_parts", "jobs", "uploads", "artefact_chunks", "artefacts", "workers"):
        op.drop_table(table)
