"""What was settled when a job was submitted: the examples meant by a name, and what earlier searches lent.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("basis", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "basis")
