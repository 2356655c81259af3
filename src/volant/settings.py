"""Settings, read once from the environment (`VOLANT_*`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SecretStr

PREFIX = "VOLANT_"


class Settings(BaseModel):
    """Where this platform lives and how big it may be. What isn't given is taken from the
    environment. Raises pydantic's `ValidationError`."""

    def __init__(self, **given: Any) -> None:
        named = {key.upper(): value for key, value in os.environ.items()}
        found = {
            field: named[variable]
            for field in type(self).model_fields
            if (variable := PREFIX + field.upper()) in named
        }
        super().__init__(**(found | given))

    home: Path = Path.home() / ".volant"
    host: str = "127.0.0.1"
    port: int = Field(default=8400, ge=0, le=65535)
    database_url: str | None = None  # postgresql+psycopg://…; None: SQLite under home
    insecure: bool = False
    secret_key: SecretStr | None = None  # seals credentials; None: a file under home
    secret_key_old: SecretStr | None = None  # the one before, until `extension rekey` has run
    workers: int = Field(default=2, ge=1, le=256)  # steps that run side by side
    zygote_idle_s: float = Field(default=60.0, gt=0)
    compact_s: float = Field(default=60.0, gt=0)  # how often logged predictions become a version
    checkpoint_every_s: float = Field(default=10.0, gt=0)  # the least time between two
    preempt_grace_s: float = Field(default=120.0, ge=0)  # SIGTERM to SIGKILL
    price_per_hour: float | None = Field(default=None, ge=0)  # of this machine
    spot_every_s: float | None = Field(default=None, gt=0)  # simulate preemptions, mean time
    spot_seed: int = 0
    keep_versions: int | None = Field(default=None, ge=2)  # of each model; None: all
    codeset_bytes: int = Field(default=2_000_000_000, gt=0)  # of each repository, on the disk
    tables: str = "delta"
    artifacts: str = "local"
    compute: str = "local"
    container_engine: str | None = None  # for steps with an image; None: podman, else docker
    engine: str = "dbos"
    replicas: str = "local"
