"""Calls on runs: their life, what is logged to them, and the search over them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from volant.access.permissions import Permission
from volant.domain.tracking import DatasetInput, Metric, ModelLink, TrackingStatus
from volant.errors import InvalidInput
from volant.web.mlflow import answers
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.experiments import lifecycles
from volant.web.mlflow.fields import Fields, missing, next_token

Json = dict[str, Any]

# in the order of their numbers in the protocol
_STATUSES = [
    TrackingStatus.RUNNING,
    TrackingStatus.SCHEDULED,
    TrackingStatus.FINISHED,
    TrackingStatus.FAILED,
    TrackingStatus.KILLED,
]
_MOST_RUNS = 50_000
_MOST_POINTS = 25_000


def _run_id(fields: Fields) -> str:
    return fields.text("run_id", "run_uuid")


def _create(asked: Asked) -> Json:
    fields = asked.fields
    made = asked.platform.tracked_runs.create(
        fields.maybe("experiment_id"),
        name=fields.maybe("run_name") or "",
        user=fields.maybe("user_id") or asked.principal.name,
        started_at=fields.time("start_time") or datetime.now(UTC),
        tags=fields.pairs("tags"),
    )
    return {"run": answers.run(made)}


def _get(asked: Asked) -> Json:
    return {"run": answers.run(asked.platform.tracked_runs.get(_run_id(asked.fields)))}


def _update(asked: Asked) -> Json:
    fields = asked.fields
    changed = asked.platform.tracked_runs.update(
        _run_id(fields),
        name=fields.maybe("run_name"),
        status=fields.member("status", TrackingStatus, _STATUSES),
        ended_at=fields.time("end_time"),
    )
    return {"run_info": answers.run_info(changed)}


def _delete(asked: Asked) -> Json:
    asked.platform.tracked_runs.delete(_run_id(asked.fields))
    return {}


def _restore(asked: Asked) -> Json:
    asked.platform.tracked_runs.restore(_run_id(asked.fields))
    return {}


def _search(asked: Asked) -> Json:
    fields = asked.fields
    limit, offset = fields.limit(1000, _MOST_RUNS), fields.offset()
    found, more = asked.platform.tracked_runs.search(
        fields.texts("experiment_ids"),
        fields.maybe("filter"),
        fields.texts("order_by"),
        lifecycles(fields, "run_view_type"),
        {"limit": limit, "offset": offset},
    )
    answer: Json = {"runs": [answers.run(each) for each in found]}
    if more:
        answer["next_page_token"] = next_token(offset, limit)
    return answer


def _metric(fields: Fields) -> Metric:
    plain = fields.plain("key", "value", "timestamp", "step")
    if plain is not None:
        key, value, timestamp, step = plain
        plainly = type(value) is float and type(timestamp) is int and type(step) is int
        if plainly and type(key) is str and key and timestamp.bit_length() < 64 > step.bit_length():
            return Metric(key, value, step, timestamp)
    return Metric(
        fields.text("key"),
        fields.number("value"),
        fields.whole("step", 0),
        fields.whole("timestamp"),
        fields.maybe("model_id") or None,
        fields.maybe("dataset_name") or None,
        fields.maybe("dataset_digest") or None,
    )


def _log_metric(asked: Asked) -> Json:
    asked.platform.tracked_runs.log(_run_id(asked.fields), metrics=[_metric(asked.fields)])
    return {}


def _log_param(asked: Asked) -> Json:
    fields = asked.fields
    pair = (fields.text("key"), fields.value("value"))
    asked.platform.tracked_runs.log(_run_id(fields), params=[pair])
    return {}


def _set_tag(asked: Asked) -> Json:
    fields = asked.fields
    pair = (fields.text("key"), fields.value("value"))
    asked.platform.tracked_runs.log(_run_id(fields), tags=[pair])
    return {}


def _delete_tag(asked: Asked) -> Json:
    asked.platform.tracked_runs.delete_tag(_run_id(asked.fields), asked.fields.text("key"))
    return {}


def _log_batch(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.tracked_runs.log(
        _run_id(fields),
        [_metric(each) for each in fields.several("metrics")],
        fields.pairs("params"),
        fields.pairs("tags"),
    )
    return {}


def _log_inputs(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.tracked_runs.link(
        _run_id(fields),
        inputs=[_dataset(each) for each in fields.several("datasets")],
        read=[ModelLink(each.text("model_id")) for each in fields.several("models")],
    )
    return {}


def _dataset(fields: Fields) -> DatasetInput:
    found = fields.inner("dataset")
    return DatasetInput(
        name=found.text("name"),
        digest=found.text("digest"),
        source_type=found.text("source_type"),
        source=found.text("source"),
        schema=found.maybe("schema"),
        profile=found.maybe("profile"),
        tags=dict(fields.pairs("tags")),
    )


def _log_outputs(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.tracked_runs.link(
        _run_id(fields),
        made=[
            ModelLink(each.text("model_id"), each.whole("step", 0))
            for each in fields.several("models")
        ],
    )
    return {}


def _log_model(asked: Asked) -> Json:
    """What clients before 3.0 say of a model that they logged: kept as their tag."""
    fields = asked.fields
    described = fields.value("model_json")
    if not described:
        raise missing("model_json")
    asked.platform.tracked_runs.add_logged_model(_run_id(fields), described)
    return {}


def _history(asked: Asked) -> Json:
    fields = asked.fields
    limit = fields.whole("max_results", 0)
    if limit < 0:
        raise InvalidInput("max_results can't be negative.", "", code="invalid_parameter")
    offset = fields.offset()
    points = asked.platform.tracked_runs.history(
        _run_id(fields), fields.text("metric_key"), limit + 1 if limit else None, offset
    )
    answer: Json = {"metrics": [answers.metric(point) for point in points[: limit or None]]}
    if limit and len(points) > limit:
        answer["next_page_token"] = next_token(offset, limit)
    return answer


def _history_bulk(asked: Asked) -> Json:
    """Histories of one metric for several runs, each point with its run."""
    fields = asked.fields
    key, limit = fields.text("metric_key"), fields.limit(_MOST_POINTS, _MOST_POINTS)
    found: list[Json] = []
    for run_id in fields.texts("run_id") or fields.texts("run_ids"):
        points = asked.platform.tracked_runs.history(run_id, key, limit - len(found))
        found += [{**answers.metric(point), "run_id": run_id} for point in points]
        if len(found) >= limit:
            break
    return {"metrics": found}


def _history_interval(asked: Asked) -> Json:
    """Histories thinned to about `max_results` steps a run, first and last kept."""
    fields = asked.fields
    key, most = fields.text("metric_key"), fields.limit(320, 2500)
    low, high = fields.whole("start_step", -(2**63)), fields.whole("end_step", 2**63 - 1)
    found: list[Json] = []
    for run_id in fields.texts("run_ids") or fields.texts("run_id"):
        points = asked.platform.tracked_runs.history(run_id, key)
        inside = [point for point in points if low <= point.step <= high]
        stride = max(1, -(-len(inside) // most))
        chosen = inside[::stride] + (inside[-1:] if (len(inside) - 1) % stride else [])
        found += [{**answers.metric(point), "run_id": run_id} for point in chosen]
    return {"metrics": found}


_READ, _LOG, _DELETE = (
    Permission.TRACKING_READ,
    Permission.TRACKING_LOG,
    Permission.TRACKING_DELETE,
)

CALLS = (
    Call("POST", "/runs/create", _LOG, _create),
    Call("GET", "/runs/get", _READ, _get),
    Call("POST", "/runs/update", _LOG, _update),
    Call("POST", "/runs/delete", _DELETE, _delete, "tracked-run/{run_id}"),
    Call("POST", "/runs/restore", _DELETE, _restore, "tracked-run/{run_id}"),
    Call("POST", "/runs/search", _READ, _search),
    Call("POST", "/runs/log-metric", _LOG, _log_metric),
    Call("POST", "/runs/log-parameter", _LOG, _log_param),
    Call("POST", "/runs/set-tag", _LOG, _set_tag),
    Call("POST", "/runs/delete-tag", _LOG, _delete_tag),
    Call("POST", "/runs/log-batch", _LOG, _log_batch),
    Call("POST", "/runs/log-inputs", _LOG, _log_inputs),
    Call("POST", "/runs/outputs", _LOG, _log_outputs),
    Call("POST", "/runs/log-model", _LOG, _log_model),
    Call("GET", "/metrics/get-history", _READ, _history),
    Call("GET", "/metrics/get-history-bulk", _READ, _history_bulk),
    Call("GET", "/metrics/get-history-bulk-interval", _READ, _history_interval),
)
