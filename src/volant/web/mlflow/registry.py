"""Calls on registered models and their versions."""

from __future__ import annotations

from typing import Any

from volant.access.permissions import Permission
from volant.domain.registered import RegisteredModel, RegisteredVersion
from volant.errors import NotFound
from volant.web.mlflow.answers import milliseconds, pairs
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.fields import Fields, missing, next_token, wrong
from volant.web.mlflow.places import uri_of

Json = dict[str, Any]


def model_json(found: RegisteredModel, newest: list[Json] | None = None) -> Json:
    answer: Json = {
        "name": found.name,
        "creation_timestamp": milliseconds(found.created_at),
        "last_updated_timestamp": milliseconds(found.updated_at),
        "description": found.description,
        "tags": pairs(found.tags),
        "aliases": [
            {"alias": alias, "version": str(version)} for alias, version in found.aliases.items()
        ],
    }
    if newest:
        answer["latest_versions"] = newest
    return answer


def version_json(found: RegisteredVersion) -> Json:
    return {
        "name": found.model,
        "version": str(found.version),
        "creation_timestamp": milliseconds(found.created_at),
        "last_updated_timestamp": milliseconds(found.updated_at),
        "user_id": found.user,
        "current_stage": found.old_stage.value,
        "description": found.description,
        "source": uri_of(found.source),
        "run_id": found.run_id,
        "model_id": found.model_id,
        "status": "READY",
        "status_message": "",
        "tags": pairs(found.tags),
        "aliases": list(found.aliases),
    }


def _number(fields: Fields) -> int:
    text = fields.text("version")
    if not text.isdecimal() or len(text) > 18:
        raise wrong("version", text, "a version's number")
    return int(text)


_PROMPT = "mlflow.prompt.is_prompt"  # the tag by which MLflow tells prompts from models


def _create(asked: Asked) -> Json:
    fields = asked.fields
    if (dict(fields.pairs("tags")).get(_PROMPT) or "false").lower() != "false":
        raise NotFound(
            "Prompts aren't kept here.",
            "Keep them in files, and log these as artifacts.",
            code="no_endpoint",
        )
    made = asked.platform.registered.create(
        fields.text("name"),
        fields.maybe("description") or "",
        dict(fields.pairs("tags")),
        project=asked.project,
    )
    return {"registered_model": model_json(made)}


def _get(asked: Asked) -> Json:
    name = asked.fields.text("name")
    found = asked.platform.registered.get(name)
    newest = [version_json(each) for each in asked.platform.registered.latest(name)]
    return {"registered_model": model_json(found, newest)}


def _rename(asked: Asked) -> Json:
    fields = asked.fields
    found = asked.platform.registered.rename(fields.text("name"), fields.text("new_name"))
    return {"registered_model": model_json(found)}


def _update(asked: Asked) -> Json:
    fields = asked.fields
    found = asked.platform.registered.describe(fields.text("name"), fields.value("description"))
    return {"registered_model": model_json(found)}


def _delete(asked: Asked) -> Json:
    asked.platform.registered.delete(asked.fields.text("name"))
    return {}


def _search(asked: Asked) -> Json:
    fields = asked.fields
    limit, offset = fields.limit(100, 1000), fields.offset()
    registered = asked.platform.registered
    found, more = registered.search(
        fields.maybe("filter"), fields.texts("order_by"), limit, offset, project=asked.project
    )
    models = [
        model_json(each, [version_json(one) for one in registered.latest(each.name)])
        for each in found
    ]
    answer: Json = {"registered_models": models}
    if more:
        answer["next_page_token"] = next_token(offset, limit)
    return answer


def _latest(asked: Asked) -> Json:
    fields = asked.fields
    found = asked.platform.registered.latest(fields.text("name"), fields.texts("stages"))
    return {"model_versions": [version_json(each) for each in found]}


def _set_tag(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.registered.set_tag(
        fields.text("name"), fields.text("key"), fields.value("value")
    )
    return {}


def _delete_tag(asked: Asked) -> Json:
    asked.platform.registered.delete_tag(asked.fields.text("name"), asked.fields.text("key"))
    return {}


def _set_alias(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.registered.set_alias(fields.text("name"), fields.text("alias"), _number(fields))
    return {}


def _delete_alias(asked: Asked) -> Json:
    asked.platform.registered.delete_alias(asked.fields.text("name"), asked.fields.text("alias"))
    return {}


def _by_alias(asked: Asked) -> Json:
    fields = asked.fields
    found = asked.platform.registered.version_by_alias(fields.text("name"), fields.text("alias"))
    return {"model_version": version_json(found)}


def _create_version(asked: Asked) -> Json:
    fields = asked.fields
    source = fields.text("source")
    model_id = fields.maybe("model_id") or _logged_model(source)
    run_id = fields.maybe("run_id")
    if model_id and not run_id:
        run_id = asked.platform.logged_models.get(model_id).run_id
    made = asked.platform.registered.create_version(
        fields.text("name"),
        source,
        run_id=run_id or "",
        model_id=model_id,
        description=fields.maybe("description") or "",
        user=asked.principal.name,
        tags=dict(fields.pairs("tags")),
    )
    return {"model_version": version_json(made)}


def _logged_model(source: str) -> str:
    """The logged model in `models:/m-…`, if that is what the source is."""
    name = source.removeprefix("models:/")
    return name if name != source and name.startswith("m-") and "/" not in name else ""


def _get_version(asked: Asked) -> Json:
    found = asked.platform.registered.version(asked.fields.text("name"), _number(asked.fields))
    return {"model_version": version_json(found)}


def _update_version(asked: Asked) -> Json:
    fields = asked.fields
    found = asked.platform.registered.describe_version(
        fields.text("name"), _number(fields), fields.value("description")
    )
    return {"model_version": version_json(found)}


def _transition(asked: Asked) -> Json:
    fields = asked.fields
    if not fields.given("archive_existing_versions"):
        raise missing("archive_existing_versions")
    found = asked.platform.registered.transition(
        fields.text("name"),
        _number(fields),
        fields.text("stage"),
        fields.value("archive_existing_versions") == "true",
    )
    return {"model_version": version_json(found)}


def _delete_version(asked: Asked) -> Json:
    asked.platform.registered.delete_version(asked.fields.text("name"), _number(asked.fields))
    return {}


def _search_versions(asked: Asked) -> Json:
    fields = asked.fields
    limit, offset = fields.limit(10_000, 200_000), fields.offset()
    found, more = asked.platform.registered.search_versions(
        fields.maybe("filter"), fields.texts("order_by"), limit, offset, project=asked.project
    )
    answer: Json = {"model_versions": [version_json(each) for each in found]}
    if more:
        answer["next_page_token"] = next_token(offset, limit)
    return answer


def _download_uri(asked: Asked) -> Json:
    registered = asked.platform.registered
    found = registered.download_uri(asked.fields.text("name"), _number(asked.fields))
    return {"artifact_uri": uri_of(found)}


def _set_version_tag(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.registered.set_version_tag(
        fields.text("name"), _number(fields), fields.text("key"), fields.value("value")
    )
    return {}


def _delete_version_tag(asked: Asked) -> Json:
    fields = asked.fields
    asked.platform.registered.delete_version_tag(
        fields.text("name"), _number(fields), fields.text("key")
    )
    return {}


_READ, _WRITE, _DELETE = (
    Permission.MODELS_READ,
    Permission.MODELS_REGISTER,
    Permission.MODELS_DELETE,
)
_MODEL, _VERSION = "model/{name}", "model/{name}/{version}"

CALLS = (
    Call("POST", "/registered-models/create", _WRITE, _create, _MODEL),
    Call("GET", "/registered-models/get", _READ, _get),
    Call("POST", "/registered-models/rename", _DELETE, _rename, _MODEL),
    Call("PATCH", "/registered-models/update", _WRITE, _update, _MODEL),
    Call("DELETE", "/registered-models/delete", _DELETE, _delete, _MODEL),
    Call("GET", "/registered-models/search", _READ, _search),
    Call("GET", "/registered-models/get-latest-versions", _READ, _latest),
    Call("POST", "/registered-models/get-latest-versions", _READ, _latest),
    Call("POST", "/registered-models/set-tag", _WRITE, _set_tag, _MODEL),
    Call("DELETE", "/registered-models/delete-tag", _WRITE, _delete_tag, _MODEL),
    Call("POST", "/registered-models/alias", _WRITE, _set_alias, "model/{name}@{alias}"),
    Call("DELETE", "/registered-models/alias", _WRITE, _delete_alias, "model/{name}@{alias}"),
    Call("GET", "/registered-models/alias", _READ, _by_alias),
    Call("POST", "/model-versions/create", _WRITE, _create_version, _MODEL),
    Call("GET", "/model-versions/get", _READ, _get_version),
    Call("PATCH", "/model-versions/update", _WRITE, _update_version, _VERSION),
    Call("POST", "/model-versions/transition-stage", _WRITE, _transition, _VERSION),
    Call("DELETE", "/model-versions/delete", _DELETE, _delete_version, _VERSION),
    Call("GET", "/model-versions/search", _READ, _search_versions),
    Call("GET", "/model-versions/get-download-uri", _READ, _download_uri),
    Call("POST", "/model-versions/set-tag", _WRITE, _set_version_tag, _VERSION),
    Call("DELETE", "/model-versions/delete-tag", _WRITE, _delete_version_tag, _VERSION),
)
