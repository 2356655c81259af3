"""Records as the JSON that MLflow's clients read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from volant.domain.tracking import (
    DatasetInput,
    Experiment,
    LoggedModel,
    Metric,
    ModelLink,
    TrackedRun,
)
from volant.web.mlflow.places import uri_of

Json = dict[str, Any]


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def number(value: float) -> float | str:
    """JSON has no NaN and no infinities: protobuf's JSON writes them as texts."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def pairs(items: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in items.items()]


def experiment(found: Experiment) -> Json:
    return {
        "experiment_id": found.id,
        "name": found.name,
        "artifact_location": found.artifact_location,
        "lifecycle_stage": found.lifecycle.value,
        "last_update_time": milliseconds(found.updated_at),
        "creation_time": milliseconds(found.created_at),
        "tags": pairs(found.tags),
    }


def metric(point: Metric) -> Json:
    found: Json = {
        "key": point.key,
        "value": number(point.value),
        "timestamp": point.timestamp,
        "step": point.step,
    }
    for name in ("model_id", "dataset_name", "dataset_digest"):
        if getattr(point, name) is not None:
            found[name] = getattr(point, name)
    return found


def run_info(run: TrackedRun) -> Json:
    found: Json = {
        "run_uuid": run.id,
        "run_id": run.id,
        "run_name": run.name,
        "experiment_id": run.experiment_id,
        "user_id": run.user,
        "status": run.status.value,
        "start_time": milliseconds(run.started_at),
        "artifact_uri": uri_of(run.artifact_uri),
        "lifecycle_stage": run.lifecycle.value,
    }
    if run.ended_at is not None:
        found["end_time"] = milliseconds(run.ended_at)
    return found


def run(found: TrackedRun) -> Json:
    answer: Json = {
        "info": run_info(found),
        "data": {
            "metrics": [metric(point) for point in found.latest],
            "params": pairs(found.params),
            "tags": pairs(found.tags),
        },
        "inputs": {
            "dataset_inputs": [_dataset_input(each) for each in found.inputs],
            "model_inputs": [{"model_id": link.model_id} for link in found.models_read],
        },
    }
    if found.models_made:
        answer["outputs"] = {"model_outputs": _links(found.models_made)}
    return answer


def _links(links: Iterable[ModelLink]) -> list[Json]:
    return [{"model_id": link.model_id, "step": link.step} for link in links]


def _dataset_input(found: DatasetInput) -> Json:
    dataset: Json = {
        "name": found.name,
        "digest": found.digest,
        "source_type": found.source_type,
        "source": found.source,
    }
    if found.schema is not None:
        dataset["schema"] = found.schema
    if found.profile is not None:
        dataset["profile"] = found.profile
    return {"tags": pairs(found.tags), "dataset": dataset}


def logged_model(found: LoggedModel) -> Json:
    return {
        "info": {
            "model_id": found.id,
            "experiment_id": found.experiment_id,
            "name": found.name,
            "creation_timestamp_ms": milliseconds(found.created_at),
            "last_updated_timestamp_ms": milliseconds(found.updated_at),
            "artifact_uri": uri_of(found.artifact_uri),
            "status": found.status.value,
            "model_type": found.model_type,
            "source_run_id": found.run_id or "",
            "status_message": found.status_message,
            "tags": pairs(found.tags),
        },
        "data": {
            "params": pairs(found.params),
            "metrics": [
                {**metric(point), "model_id": found.id, "run_id": found.run_id or ""}
                for point in found.metrics
            ],
        },
    }
