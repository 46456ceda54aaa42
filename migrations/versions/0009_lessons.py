"""What studies teach, the words by which it is found, and what each study builds on.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OWN = "current_setting('metatune.project', true) IN (project_id::text, 'every')"
OF_STUDY = "EXISTS (SELECT FROM studies WHERE studies.id = prior_sources.study_id)"


def upgrade() -> None:
    op.add_column("studies", sa.Column("knowledge_version", sa.BigInteger(), nullable=True))
    op.create_table(
        "lessons",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=True),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("is_latest", sa.Boolean(), nullable=False),
        sa.Column("n_changes", sa.BigInteger(), nullable=False),
        sa.Column("n_results", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.Column("space", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("metafeatures", sa.JSON(), nullable=False),
        sa.Column("objectives", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_lessons_project_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_lessons_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lessons")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_lessons_project_id_signature", "lessons", ["project_id", "signature", "id"])
    op.create_index("ix_lessons_study_id", "lessons", ["study_id"])
    op.create_index("ix_lessons_project_id_name", "lessons", ["project_id", "name"])
    op.create_table(
        "lesson_words",
        sa.Column("lesson_id", ID, nullable=False),
        sa.Column("word", sa.String(length=129), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["lesson_id"], ["lessons.id"], name=op.f("fk_lesson_words_lesson_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_lesson_words_project_id")),
        sa.PrimaryKeyConstraint("lesson_id", "word", name=op.f("pk_lesson_words")),
    )
    op.create_index("ix_lesson_words_project_id_word", "lesson_words", ["project_id", "word", "lesson_id"])
    op.create_table(
        "prior_sources",
        sa.Column("study_id", ID, nullable=False),
        sa.Column("lesson_id", ID, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("is_taken", sa.Boolean(), nullable=False),
        sa.Column("similarity", sa.Float(53), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("cap", sa.Float(53), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name=op.f("fk_prior_sources_study_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["lesson_id"], ["lessons.id"], name=op.f("fk_prior_sources_lesson_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "lesson_id", name=op.f("pk_prior_sources")),
    )
    op.create_index("ix_prior_sources_lesson_id", "prior_sources", ["lesson_id"])
    if op.get_bind().dialect.name == "postgresql":
        for table, is_seen in (("lessons", OWN), ("lesson_words", OWN), ("prior_sources", OF_STUDY)):
            op.execute(f"CREATE POLICY project ON {table} USING ({is_seen})")
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    for table in ("prior_sources", "lesson_words", "lessons"):
        op.drop_table(table)
    op.drop_column("studies", "knowledge_version")
