"""What Alembic runs: the migrations, on the connection that `volant.store.migrate` gives.

The caller owns the transaction, so that a migration is stored whole or not at all and
two processes never migrate at once.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from volant.store.schema import for_ddl

connection: sa.Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=for_ddl(connection.dialect.name),
    render_as_batch=True,
)
context.run_migrations()
