"""Adaptations of few-shot learners that are kept: each names a support set, and lies inside its project's wall.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "adaptations",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("learner_id", ID, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("artefact_id", sa.String(32), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_adaptations_project_id")),
        sa.ForeignKeyConstraint(
            ["learner_id"], ["jobs.id"], name=op.f("fk_adaptations_learner_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["artefact_id"], ["artefacts.id"], name=op.f("fk_adaptations_artefact_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adaptations")),
        sa.UniqueConstraint("learner_id", "name", name=op.f("uq_adaptations_learner_id_name")),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "postgresql":
        is_seen = "current_setting('metatune.project', true) IN (project_id::text, 'every')"
        op.execute(f"CREATE POLICY project ON adaptations USING ({is_seen})")
        op.execute("ALTER TABLE adaptations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.drop_table("adaptations")
