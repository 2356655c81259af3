"""Settings, read once from the environment (`VOLANT_*`)."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where this platform lives and how big it may be."""

    model_config = SettingsConfigDict(env_prefix="VOLANT_", extra="ignore")

    home: Path = Path.home() / ".volant"
    host: str = "127.0.0.1"
    port: int = 8400
    database_url: str | None = None  # postgresql+psycopg://…; None: SQLite under home
    insecure: bool = False
    workers: int = 2  # steps that run side by side
    zygote_idle_s: float = 60.0
    tables: str = "delta"
    artifacts: str = "local"
    compute: str = "local"
    engine: str = "dbos"
    replicas: str = "local"
