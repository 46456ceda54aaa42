"""Results in the order in which they were told, so that `patience` counts those since the best one and no others.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("ix_trials_study_id_finished_revision", "trials", ["study_id", "state", "finished_revision"])


def downgrade() -> None:
    op.drop_index("ix_trials_study_id_finished_revision", table_name="trials")
