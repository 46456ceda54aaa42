"""The first schema: projects and keys, studies with their spaces, trials, reports, events and log.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", ID, nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_idempotency_keys_project_id")),
        sa.PrimaryKeyConstraint("project_id", "key_hash", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "studies",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("objectives", sa.JSON(), nullable=False),
        sa.Column("outcomes", sa.JSON(), nullable=False),
        sa.Column("algorithm", sa.JSON(), nullable=False),
        sa.Column("pruning", sa.JSON(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("space_version", sa.BigInteger(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("stop", sa.JSON(), nullable=False),
        sa.Column("metafeatures", sa.JSON(), nullable=False),
        sa.Column("warm_start", sa.Text(), nullable=False),
        sa.Column("max_retries", sa.BigInteger(), nullable=False),
        sa.Column("next_number", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("n_waiting", sa.BigInteger(), nullable=False),
        sa.Column("n_running", sa.BigInteger(), nullable=False),
        sa.Column("n_paused", sa.BigInteger(), nullable=False),
        sa.Column("n_complete", sa.BigInteger(), nullable=False),
        sa.Column("n_pruned", sa.BigInteger(), nullable=False),
        sa.Column("n_failed", sa.BigInteger(), nullable=False),
        sa.Column("n_infeasible", sa.BigInteger(), nullable=False),
        sa.Column("n_lost", sa.BigInteger(), nullable=False),
        sa.Column("n_imported", sa.BigInteger(), nullable=False),
        sa.Column("first_ask_at", TIME, nullable=True),
        sa.Column("paused_at", TIME, nullable=True),
        sa.Column("paused_seconds", sa.Float(precision=53), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.CheckConstraint("state IN ('active', 'paused', 'stopped')", name=op.f("ck_studies_state")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_studies_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("uid", name=op.f("uq_studies_uid")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_studies_project_id"), "studies", ["project_id"], unique=False)
    op.create_index(
        "uq_studies_project_id_name",
        "studies",
        ["project_id", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "events",
        sa.Column("study_id", ID, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_events_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "revision", name=op.f("pk_events")),
    )
    op.create_table(
        "space_versions",
        sa.Column("study_id", ID, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("space", sa.JSON(), nullable=False),
        sa.Column("constraints", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_space_versions_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "version", name=op.f("pk_space_versions")),
    )
    op.create_table(
        "study_log",
        sa.Column("study_id", ID, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_log_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "revision", name=op.f("pk_study_log")),
    )
    op.create_table(
        "study_tags",
        sa.Column("study_id", ID, nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_tags_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "name", name=op.f("pk_study_tags")),
    )
    op.create_index("ix_study_tags_name_value", "study_tags", ["name", "value"], unique=False)
    op.create_table(
        "trials",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("is_partial", sa.Boolean(), nullable=False),
        sa.Column("config_key", sa.String(length=64), nullable=True),
        sa.Column("space_version", sa.BigInteger(), nullable=False),
        sa.Column("in_space", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=True),
        sa.Column("measured", sa.JSON(), nullable=True),
        sa.Column("feasible", sa.Boolean(), nullable=True),
        sa.Column("noise", sa.Float(precision=53), nullable=True),
        sa.Column("cost", sa.Float(precision=53), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.Column("lease_seconds", sa.Float(precision=53), nullable=True),
        sa.Column("expiries", sa.BigInteger(), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("waiting_rank", sa.BigInteger(), nullable=True),
        sa.Column("waiting_since", TIME, nullable=True),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("until_step", sa.BigInteger(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("finished_revision", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state <> 'running' OR (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_trials_lease"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting','running','paused','complete','pruned','failed','infeasible','lost','removed')",
            name=op.f("ck_trials_state"),
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_trials_number")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_trials_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_trials_study_id_number")),
    )
    op.create_index(
        "ix_trials_lease_expires_at",
        "trials",
        ["lease_expires_at"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_trials_study_id_config_key", "trials", ["study_id", "config_key"], unique=False)
    op.create_index(
        "ix_trials_study_id_state_waiting",
        "trials",
        ["study_id", "state", "waiting_rank", "waiting_since", "number"],
        unique=False,
    )
    op.create_index("ix_trials_study_id_value", "trials", ["study_id", "state", "value", "number"], unique=False)
    op.create_table(
        "reports",
        sa.Column("trial_id", ID, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=True),
        sa.Column("measured", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_reports_trial_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trial_id", "attempt", "step", name=op.f("pk_reports")),
    )


def downgrade() -> None:
    op.drop_table("reports")
    op.drop_index("ix_trials_study_id_value", table_name="trials")
    op.drop_index("ix_trials_study_id_state_waiting", table_name="trials")
    op.drop_index("ix_trials_study_id_config_key", table_name="trials")
    op.drop_index(
        "ix_trials_lease_expires_at",
        table_name="trials",
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.drop_table("trials")
    op.drop_index("ix_study_tags_name_value", table_name="study_tags")
    op.drop_table("study_tags")
    op.drop_table("study_log")
    op.drop_table("space_versions")
    op.drop_table("events")
    op.drop_index(
        "uq_studies_project_id_name",
        table_name="studies",
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.drop_index(op.f("ix_studies_project_id"), table_name="studies")
    op.drop_table("studies")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("api_keys")
    op.drop_table("projects")
