"""Trials numbered by their last change, so that an ask reads only what changed since the process last looked.

Until now every modelled ask read every trial of the study. Those that are there already have not changed since: no
process remembers any of them.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("studies", sa.Column("n_changes", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("trials", sa.Column("last_change", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.create_index("ix_trials_study_id_last_change", "trials", ["study_id", "last_change"])


def downgrade() -> None:
    op.drop_index("ix_trials_study_id_last_change", table_name="trials")
    op.drop_column("trials", "last_change")
    op.drop_column("studies", "n_changes")
