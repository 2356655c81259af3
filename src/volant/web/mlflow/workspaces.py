"""Calls on workspaces: they are the platform's projects."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from volant.access.permissions import Permission
from volant.domain.project import DEFAULT_PROJECT, Project
from volant.errors import InvalidInput, NotFound
from volant.web.mlflow.calls import Asked, Call
from volant.web.mlflow.fields import Fields, missing

Json = dict[str, Any]

_ALL, _ONE = "/workspaces", "/workspaces/{workspace_name}"
_DEFAULT: Json = {"name": DEFAULT_PROJECT, "description": "What names no workspace."}


class DeletionMode(StrEnum):
    RESTRICT = "RESTRICT"
    CASCADE = "CASCADE"
    SET_DEFAULT = "SET_DEFAULT"


def named(path: str, names: Mapping[str, str]) -> str | None:
    """The workspace that a call on workspaces is about, whatever its header says; None for
    any other call."""
    if path == _ALL:
        return DEFAULT_PROJECT
    return names["workspace_name"] if path == _ONE else None


def _view(project: Project) -> Json:
    return {"name": project.name, "description": project.description}


def _list(asked: Asked) -> Json:
    found = {each.name: _view(each) for each in asked.platform.workbench.projects.list()}
    found.setdefault(DEFAULT_PROJECT, _DEFAULT)
    return {"workspaces": [found[name] for name in sorted(found)]}


def _get(asked: Asked) -> Json:
    try:
        return {"workspace": _view(asked.platform.workbench.projects.get(asked.project))}
    except NotFound:
        if asked.project != DEFAULT_PROJECT:
            raise
        return {"workspace": _DEFAULT}


def _create(asked: Asked) -> Json:
    fields = asked.fields
    name = fields.text("name")
    if name == DEFAULT_PROJECT:
        raise _reserved("created")
    _refuse_settings(fields)
    made = asked.platform.workbench.projects.create(
        name, fields.maybe("description") or "", by=asked.principal.name
    )
    return {"workspace": _view(made)}


def _update(asked: Asked) -> Json:
    projects, fields, by = asked.platform.workbench.projects, asked.fields, asked.principal.name
    _refuse_settings(fields)
    description = fields.maybe("description")
    if description is None:
        raise missing("description")
    if asked.project == DEFAULT_PROJECT:
        projects.ensure(DEFAULT_PROJECT, by=by)
    return {"workspace": _view(projects.describe(asked.project, description, by=by))}


def _delete(asked: Asked) -> Json:
    if asked.project == DEFAULT_PROJECT:
        raise _reserved("deleted")
    mode = asked.fields.member("mode", DeletionMode, list(DeletionMode)) or DeletionMode.RESTRICT
    if mode is DeletionMode.SET_DEFAULT:
        raise InvalidInput(
            "Invalid value 'SET_DEFAULT' for parameter 'mode' supplied: what is in a workspace"
            " stays in it.",
            "Use RESTRICT (an empty one), or CASCADE (its experiments are deleted for good).",
            code="invalid_parameter",
        )
    asked.platform.workbench.projects.delete(
        asked.project, by=asked.principal.name, tracked=mode is DeletionMode.CASCADE
    )
    return {}


def _reserved(done: str) -> InvalidInput:
    return InvalidInput(
        f"The {DEFAULT_PROJECT!r} workspace is reserved and cannot be {done}.",
        "It is always there: what names no workspace is in it.",
        code="invalid_parameter",
    )


def _refuse_settings(fields: Fields) -> None:
    """What a workspace of MLflow's own server may have, and a project hasn't. An empty text
    clears it there, and changes nothing here."""
    given = {"default_artifact_root": fields.value("default_artifact_root")}
    if fields.given("trace_archival_config"):
        archive = fields.inner("trace_archival_config")
        for name in ("location", "retention"):
            given[f"trace_archival_config.{name}"] = archive.value(name)
    for name, value in given.items():
        if value.strip():
            raise InvalidInput(
                f"Invalid value {value[:200]!r} for parameter {name!r} supplied: artifacts of"
                " all workspaces are kept in the platform's own store, and there are no traces.",
                "Leave it out.",
                code="invalid_parameter",
            )


CALLS = (
    Call("GET", _ALL, Permission.PROJECTS_READ, _list),
    Call("POST", _ALL, Permission.PROJECTS_CREATE, _create, "project/{name}", 201),
    Call("GET", _ONE, Permission.PROJECTS_READ, _get),
    Call("PATCH", _ONE, Permission.PROJECTS_CHANGE, _update, "project/{workspace_name}"),
    Call("DELETE", _ONE, Permission.PROJECTS_DELETE, _delete, "project/{workspace_name}", 204),
)
