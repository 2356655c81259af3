"""The database: SQLAlchemy Core tables, migrations, one repository a noun."""

from volant.store.engine import open_engine, sqlite_url
from volant.store.records import Store

__all__ = ["Store", "open_engine", "sqlite_url"]
