"""Model, its versions, and the stages they pass through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    REGISTERED = "registered"  # known by its files; nobody has proven that it can serve
    CANDIDATE = "candidate"  # passed its gate, not live yet
    REFUSED = "refused"  # failed its gate
    CHAMPION = "champion"  # serves
    RETIRED = "retired"  # served once


STAGE_TRANSITIONS: dict[Stage, frozenset[Stage]] = {
    Stage.REGISTERED: frozenset({Stage.CANDIDATE}),
    Stage.CANDIDATE: frozenset({Stage.CHAMPION, Stage.RETIRED}),
    Stage.REFUSED: frozenset({Stage.CHAMPION}),  # only by a person's hand
    Stage.CHAMPION: frozenset({Stage.RETIRED}),
    Stage.RETIRED: frozenset({Stage.CHAMPION}),  # rollback
}


@dataclass(frozen=True, slots=True)
class Field:
    """One input or output column: `type` is a `ColumnType`'s value."""

    name: str
    type: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One N-D input or output: `datatype` in the words of the Open Inference Protocol; -1
    in `shape` stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensors:
    """`inputs` is empty where the model takes columns and only its answers are tensors."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs in the order the model wants them; `classes` for a classifier. A model that
    takes or answers N-D tensors has them in `tensors`, and no such `Field`s."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    task: str
    classes: tuple[str | int | float | bool, ...] | None = None
    tensors: Tensors | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    run_id: str
    dataset: str
    dataset_version: int
    holdout_sha256: str
    code_hash: str
    environment_hash: str
    tracking_run: str | None = None
    parent_version: int | None = None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """`uri` is a folder of the artifact store; `files` maps each file in it to
    its SHA-256; `metrics` are the holdout's."""

    model: str
    version: int
    stage: Stage
    uri: str
    files: Mapping[str, str]
    signature: Signature
    metrics: Mapping[str, float]
    lineage: Lineage
    created_at: datetime
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    aliases: tuple[str, ...] = ()
    runtime: Mapping[str, Any] = field(default_factory=dict[str, Any])  # onnx or native, max |Δ|
