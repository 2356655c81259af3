"""What MLflow's registry tells of models and versions beside what the platform needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from volant.domain.project import DEFAULT_PROJECT


class OldStage(StrEnum):
    """MLflow's stages before aliases; old clients still ask for them. They are labels:
    what serves is told by `Stage`."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """`aliases` point at version numbers. A name is one model's in all projects."""

    name: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    aliases: Mapping[str, int] = field(default_factory=dict[str, int])
    project: str = DEFAULT_PROJECT


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """`uri` is where its files are; `source` is where they were copied from. `run_id` is
    the tracked run that made it, `model_id` the logged model."""

    model: str
    version: int
    created_at: datetime
    updated_at: datetime
    uri: str
    old_stage: OldStage = OldStage.NONE
    description: str = ""
    user: str = ""
    source: str = ""
    run_id: str = ""
    model_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    aliases: tuple[str, ...] = ()
