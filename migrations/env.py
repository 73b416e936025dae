"""How Alembic runs: on the open engine that `curator.database` hands over, one transaction a migration."""

import sqlalchemy as sa
from alembic import context

from curator.models import Base

engine = context.config.attributes["engine"]
with engine.connect().execution_options(write=True) as connection:
    if connection.dialect.name == "postgresql":
        # Two processes that start at once take turns; SQLite's write lock does the same.
        connection.execute(sa.text("SELECT pg_advisory_lock(20261121)"))
        connection.commit()
    context.configure(connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
