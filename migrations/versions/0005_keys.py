"""Keys that say what they are for, run out, are revoked, and show when they were used last; keys of the instance.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TIMES = ("expires_at", "last_used_at", "revoked_at")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("name", sa.String(128), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("is_instance", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in TIMES:
        op.add_column("api_keys", sa.Column(name, sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    # The version below knows neither expiry nor revocation: such keys stay, so that it is not open, and fit nobody.
    keys = sa.table("api_keys", sa.column("secret_hash"), sa.column("revoked_at"), sa.column("expires_at"))
    ended = sa.or_(keys.c.revoked_at.is_not(None), keys.c.expires_at.is_not(None))
    op.execute(keys.update().where(ended).values(secret_hash=sa.literal(b"", sa.LargeBinary())))
    for name in ("name", "is_instance", *TIMES):
        op.drop_column("api_keys", name)
