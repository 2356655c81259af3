"""What the controller tells a replica: the JSON `spec` of its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.serving.limits import BatchLimits
from volant.serving.prediction_log import LogOrder

LEAVE_S = 35.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """One replica's work. `files` maps each registered file of the model's folder to
    its SHA-256; `token_sha256` is None when anyone may ask."""

    deployment: str
    revision: int
    model: str
    version: str
    model_dir: Path
    files: Mapping[str, str]
    token_sha256: frozenset[str] | None
    batch: BatchLimits
    traffic: Mapping[str, Any] | None = None  # other revisions; see `traffic.Traffic`
    counters: Mapping[str, Any] | None = None  # its row of the deployment's; see `Counters.of`
    log_file: Path | None = None  # where its standard error leads
    log: LogOrder | None = None  # None: predictions aren't logged
    leave_s: float = LEAVE_S  # it ends so long after it was told to leave, at the latest
    loaded: bool = True  # False: say that the model isn't, and take the request to load it

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Assignment:
        """Read the order's `spec`."""
        tokens = spec.get("token_sha256")
        default = BatchLimits()
        return cls(
            deployment=str(spec["deployment"]),
            revision=int(spec["revision"]),
            model=str(spec.get("model") or spec["deployment"]),
            version=str(spec["version"]),
            model_dir=Path(spec["model_dir"]),
            files=dict(spec["files"]),
            token_sha256=None if tokens is None else frozenset(tokens),
            batch=BatchLimits(
                queue_rows=int(spec.get("max_queue_rows") or default.queue_rows),
                batch_rows=int(spec.get("max_batch_rows") or default.batch_rows),
            ),
            counters=spec.get("counters"),
            log_file=Path(spec["log_file"]) if spec.get("log_file") else None,
            traffic=spec.get("traffic"),
            log=LogOrder.from_spec(spec.get("log")),
            leave_s=float(spec.get("leave_s") or LEAVE_S),
            loaded=bool(spec.get("loaded", True)),
        )
