"""A second wall between projects on PostgreSQL: row-level security, forced on the tables' owner too.

A transaction sees the rows of the project in its setting `metatune.project`, all of them where it says `every`, and
none where it says nothing (see app/db/session.py). What belongs to a study is seen with its study. Projects and keys
stay outside: they are asked who calls before there is a project to set. SQLite has no such thing.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

OWN = ("studies", "idempotency_keys")
OF_STUDIES = ("study_tags", "space_versions", "trials", "reports", "rung_values", "events", "study_log")


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in OWN:
        _wall(table, "current_setting('metatune.project', true) IN (project_id::text, 'every')")
    for table in OF_STUDIES:
        _wall(table, f"EXISTS (SELECT FROM studies WHERE studies.id = {table}.study_id)")


def _wall(table: str, is_seen: str) -> None:
    op.execute(f"CREATE POLICY project ON {table} USING ({is_seen})")
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in (*OF_STUDIES, *OWN):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY")
        op.execute(f"DROP POLICY project ON {table}")
