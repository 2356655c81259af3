"""Loop: the one file a user writes, as frozen facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from volant.domain.contract import Contract


@dataclass(frozen=True, slots=True)
class DataSpec:
    dataset: str
    target: str
    contract: Contract | None = None
    holdout: float = 0.2


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """Either AutoML (`call` is None) or the user's callable `module:function`.

    `metric` is a name of `volant.domain.metric`; None lets the task choose.
    `budget_s` is wall time for the whole fit, the final one included.
    """

    metric: str | None = None
    budget_s: float = 30.0
    task: str | None = None
    seed: int = 0
    call: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    memory_bytes: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    metric: str
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class ChampionRule:
    """The challenger's gain over the champion must, with this one-sided
    confidence, be at least `better_by` (negative: a tolerated loss)."""

    better_by: float = 0.0
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class GateSpec:
    thresholds: tuple[Threshold, ...] = ()
    champion: ChampionRule | None = field(default_factory=ChampionRule)


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    min: int = 0
    max: int = 1
    idle_s: float = 60.0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """`kind` is `data` or `cron`; `cron` holds the five-field expression."""

    kind: str
    cron: str | None = None


@dataclass(frozen=True, slots=True)
class LoopSpec:
    name: str
    data: DataSpec
    train: TrainSpec = field(default_factory=TrainSpec)
    gate: GateSpec = field(default_factory=GateSpec)
    replicas: ReplicaSpec = field(default_factory=ReplicaSpec)
    triggers: tuple[TriggerSpec, ...] = (TriggerSpec("data"),)
    description: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """An applied loop: `generation` counts its changes; `source` is the file's
    text; `code_dir` is where the user's own code was copied, if there is any."""

    name: str
    generation: int
    source: str
    spec: LoopSpec
    created_at: datetime
    updated_at: datetime
    code_dir: str | None = None
    code_hash: str | None = None
