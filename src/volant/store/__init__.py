"""The database: SQLAlchemy Core tables, migrations, one repository a noun."""

from volant.store.engine import dbos_engine, open_engine, sqlite_url
from volant.store.records import Store

__all__ = ["Store", "dbos_engine", "open_engine", "sqlite_url"]
