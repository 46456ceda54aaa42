"""Runs the migrations on the connection that `app.db.migrate` hands over."""

from alembic import context

from app.db.migrate import is_ours
from app.db.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    include_name=is_ours,
)
with context.begin_transaction():
    context.run_migrations()
