"""Calls on logged models."""

from __future__ import annotations

from typing import Any

from volant.access.permissions import Permission
from volant.domain.query import MeasuredOn, Order, named_order
from volant.domain.tracking import LoggedModelStatus
from volant.tracking.vocabularies import LOGGED_MODELS
from volant.web.mlflow import answers
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.fields import Fields, missing, next_token, wrong

Json = dict[str, Any]

# in the order of their numbers in the protocol
_STATUSES = [LoggedModelStatus.PENDING, LoggedModelStatus.READY, LoggedModelStatus.FAILED]


def _create(asked: Asked) -> Json:
    fields = asked.fields
    made = asked.platform.logged_models.create(
        fields.maybe("experiment_id"),
        name=fields.maybe("name") or "",
        run_id=fields.maybe("source_run_id"),
        model_type=fields.maybe("model_type") or "",
        params=fields.pairs("params"),
        tags=fields.pairs("tags"),
    )
    return {"model": answers.logged_model(made)}


def _get(asked: Asked) -> Json:
    found = asked.platform.logged_models.get(asked.fields.text("model_id"))
    return {"model": answers.logged_model(found)}


def _finalize(asked: Asked) -> Json:
    fields = asked.fields
    status = fields.member("status", LoggedModelStatus, _STATUSES)
    if status is None:
        raise missing("status")
    changed = asked.platform.logged_models.finalize(fields.text("model_id"), status)
    return {"model": answers.logged_model(changed)}


def _delete(asked: Asked) -> Json:
    asked.platform.logged_models.delete(asked.fields.text("model_id"))
    return {}


def _search(asked: Asked) -> Json:
    fields = asked.fields
    limit, offset = fields.limit(50, 1000), fields.offset()
    found, more = asked.platform.logged_models.search(
        fields.texts("experiment_ids"),
        fields.maybe("filter"),
        [_order(each) for each in _few(fields, "order_by")],
        limit,
        offset,
        datasets=_datasets(fields),
    )
    answer: Json = {"models": [answers.logged_model(each) for each in found]}
    if more:
        answer["next_page_token"] = next_token(offset, limit)
    return answer


_MOST = 100  # orders, and datasets, of one search


def _few(fields: Fields, name: str) -> list[Fields]:
    found = list(fields.several(name))
    if len(found) > _MOST:
        raise wrong(name, len(found), f"a list of at most {_MOST}")
    return found


def _order(fields: Fields) -> Order:
    """Ascending, unless it says otherwise."""
    on = MeasuredOn(fields.maybe("dataset_name") or None, fields.maybe("dataset_digest") or None)
    descending = fields.value("ascending").lower() == "false"
    return named_order(fields.text("field_name"), LOGGED_MODELS, descending=descending, on=on)


def _datasets(fields: Fields) -> list[MeasuredOn]:
    return [
        MeasuredOn(each.text("dataset_name"), each.maybe("dataset_digest") or None)
        for each in _few(fields, "datasets")
    ]


def _set_tags(asked: Asked) -> Json:
    changed = asked.platform.logged_models.set_tags(
        asked.fields.text("model_id"), dict(asked.fields.pairs("tags"))
    )
    return {"model": answers.logged_model(changed)}


def _delete_tag(asked: Asked) -> Json:
    asked.platform.logged_models.delete_tag(
        asked.fields.text("model_id"), asked.fields.text("tag_key")
    )
    return {}


def _log_params(asked: Asked) -> Json:
    asked.platform.logged_models.add_params(
        asked.fields.text("model_id"), asked.fields.pairs("params")
    )
    return {}


_READ, _LOG, _DELETE = (
    Permission.TRACKING_READ,
    Permission.TRACKING_LOG,
    Permission.TRACKING_DELETE,
)
_ONE = "/logged-models/{model_id}"

CALLS = (
    Call("POST", "/logged-models", _LOG, _create),
    Call("POST", "/logged-models/search", _READ, _search),
    Call("GET", _ONE, _READ, _get),
    Call("PATCH", _ONE, _LOG, _finalize),
    Call("DELETE", _ONE, _DELETE, _delete, "logged-model/{model_id}"),
    Call("PATCH", f"{_ONE}/tags", _LOG, _set_tags),
    Call("DELETE", f"{_ONE}/tags/{{tag_key:path}}", _LOG, _delete_tag),
    Call("POST", f"{_ONE}/params", _LOG, _log_params),
)
