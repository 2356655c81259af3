"""Calls on experiments."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from volant.access.permissions import Permission
from volant.domain.tracking import Lifecycle
from volant.web.mlflow import answers
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.fields import Fields, next_token

Json = dict[str, Any]


class View(StrEnum):
    ACTIVE = "ACTIVE_ONLY"
    DELETED = "DELETED_ONLY"
    ALL = "ALL"


_LIFECYCLES = {
    View.ACTIVE: (Lifecycle.ACTIVE,),
    View.DELETED: (Lifecycle.DELETED,),
    View.ALL: (Lifecycle.ACTIVE, Lifecycle.DELETED),
}


def lifecycles(fields: Fields, name: str) -> tuple[Lifecycle, ...]:
    """What a view type lets see; active ones when none is given."""
    return _LIFECYCLES[fields.member(name, View, list(View)) or View.ACTIVE]


def _create(asked: Asked) -> Json:
    fields = asked.fields
    made = asked.platform.experiments.create(
        fields.text("name"),
        fields.maybe("artifact_location") or "",
        dict(fields.pairs("tags")),
        project=asked.project,
    )
    return {"experiment_id": made.id}


def _get(asked: Asked) -> Json:
    found = asked.platform.experiments.get(asked.fields.text("experiment_id"))
    return {"experiment": answers.experiment(found)}


def _by_name(asked: Asked) -> Json:
    name = asked.fields.text("experiment_name")
    found = asked.platform.experiments.by_name(name, asked.project)
    return {"experiment": answers.experiment(found)}


def _search(asked: Asked) -> Json:
    fields = asked.fields
    limit, offset = fields.limit(1000, 50_000), fields.offset()
    found, more = asked.platform.experiments.search(
        fields.maybe("filter"),
        fields.texts("order_by"),
        lifecycles(fields, "view_type"),
        limit,
        offset,
        project=asked.project,
    )
    answer: Json = {"experiments": [answers.experiment(each) for each in found]}
    if more:
        answer["next_page_token"] = next_token(offset, limit)
    return answer


def _update(asked: Asked) -> Json:
    asked.platform.experiments.rename(
        asked.fields.text("experiment_id"), asked.fields.maybe("new_name")
    )
    return {}


def _delete(asked: Asked) -> Json:
    asked.platform.experiments.delete(asked.fields.text("experiment_id"))
    return {}


def _restore(asked: Asked) -> Json:
    asked.platform.experiments.restore(asked.fields.text("experiment_id"))
    return {}


def _set_tag(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.experiments.set_tag(
        fields.text("experiment_id"), fields.text("key"), fields.value("value")
    )
    return {}


def _delete_tag(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.experiments.delete_tag(fields.text("experiment_id"), fields.text("key"))
    return {}


_READ, _LOG, _DELETE = (
    Permission.TRACKING_READ,
    Permission.TRACKING_LOG,
    Permission.TRACKING_DELETE,
)
_AT = "experiment/{experiment_id}"

CALLS = (
    Call("POST", "/experiments/create", _LOG, _create, "experiment/{name}"),
    Call("GET", "/experiments/get", _READ, _get),
    Call("GET", "/experiments/get-by-name", _READ, _by_name),
    Call("POST", "/experiments/search", _READ, _search),
    Call("GET", "/experiments/search", _READ, _search),
    Call("POST", "/experiments/update", _LOG, _update, _AT),
    Call("POST", "/experiments/delete", _DELETE, _delete, _AT),
    Call("POST", "/experiments/restore", _DELETE, _restore, _AT),
    Call("POST", "/experiments/set-experiment-tag", _LOG, _set_tag),
    Call("POST", "/experiments/delete-experiment-tag", _LOG, _delete_tag),
)
