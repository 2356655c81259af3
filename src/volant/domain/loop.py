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
class SearchRange:
    """One parameter of a search. `kind` is `uniform`, `loguniform`, `int`, `logint` (from
    `low` to `high`, both possible) or `choice` (of `choices`, JSON values)."""

    kind: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class TuneSpec:
    """A search for the parameters of a training function.

    At most `trials`, `parallel` of them at a time, none begun after `timeout_s`. A trial
    is worth `metric`: one that Volant measures on rows that it sets aside of the training
    rows (one part of them, or `folds` parts in turn), or one that the function reports,
    logs or returns, which has a `direction` then. None: the loop's metric.
    """

    space: Mapping[str, SearchRange]
    trials: int = 20
    parallel: int = 1
    sampler: str = "tpe"
    pruner: str = "median"
    timeout_s: float | None = None
    metric: str | None = None
    direction: str | None = None
    folds: int = 1


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """AutoML, or the user's callable `module:function`, or a `recipe` of
    `volant.domain.recipe`.

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
    tune: TuneSpec | None = None
    recipe: str | None = None


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
class SliceRule:
    """On no group of the column `by` with at least `min_rows` rows may the challenger's
    metric be worse than the champion's by more than `max_regression`."""

    by: str
    max_regression: float = 0.0
    min_rows: int = 30


@dataclass(frozen=True, slots=True)
class GateSpec:
    thresholds: tuple[Threshold, ...] = ()
    champion: ChampionRule | None = field(default_factory=ChampionRule)
    slices: tuple[SliceRule, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """`target`: requests in flight that one replica is meant to hold. `spares`: replicas
    that wait with the model loaded. `cpu`: cores that one replica may use."""

    min: int = 0
    max: int = 1
    idle_s: float = 60.0
    memory_bytes: int | None = None
    target: int = 16
    spares: int = 0
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class StickyKey:
    """Where a request's key is found, by which it keeps to one revision. Exactly one is
    set; `header` is in lower case."""

    header: str | None = None
    parameter: str | None = None


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """How a new version takes over from the one that serves.

    `shadow` percent of the requests are copied to it for `bake_s` seconds, then it
    answers each of the `canary` percents for `bake_s`, then all. It is given up when more
    than the fraction `error_rate` of its answers are 5xx or its 95th percentile of
    latency is above `p95_ms`, once it has answered `min_requests` in the present step.
    """

    canary: tuple[float, ...] = ()
    bake_s: float = 120.0
    error_rate: float = 0.05
    p95_ms: float | None = None
    min_requests: int = 20
    sticky: StickyKey | None = None
    shadow: float = 0.0


@dataclass(frozen=True, slots=True)
class LogSpec:
    """The prediction log: the fraction of requests that it keeps, and its bound in bytes."""

    sample: float = 1.0
    max_bytes: int = 10**9


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """`kind` is `data` or `cron`; `cron` holds the five-field expression."""

    kind: str
    cron: str | None = None


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """`rollout` None: a new version takes over at once. `keep`: how many versions that
    served before stay reachable by their number. `log` None: predictions aren't logged.
    `tests`: shell commands that must succeed before a push to a codeset applies this."""

    name: str
    data: DataSpec
    train: TrainSpec = field(default_factory=TrainSpec)
    gate: GateSpec = field(default_factory=GateSpec)
    replicas: ReplicaSpec = field(default_factory=ReplicaSpec)
    triggers: tuple[TriggerSpec, ...] = (TriggerSpec("data"),)
    description: str = ""
    rollout: RolloutSpec | None = None
    keep: int = 0
    log: LogSpec | None = field(default_factory=LogSpec)
    tests: tuple[str, ...] = ()


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
