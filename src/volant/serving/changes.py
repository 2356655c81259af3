"""What people change of a deployment by name: the fields of its replicas and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, cast

from volant.domain.deployment import Settings
from volant.domain.loop import LogSpec, ReplicaSpec
from volant.errors import InvalidInput
from volant.serving.stages import check_replicas, check_settings

_Facts = Mapping[str, Any]

_REPLICAS = tuple(field.name for field in fields(ReplicaSpec))
_SETTINGS = ("log", "keep")


def changed_replicas(replicas: ReplicaSpec, changes: Mapping[str, Any]) -> ReplicaSpec:
    """`replicas` with `changes` by field. Raises `InvalidInput` for what can't be."""
    _check_known(changes, _REPLICAS)
    found = replace(replicas, **changes)
    check_replicas(found)
    return found


def changed_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with `changes`: `keep`, and `log`, which is `"off"` or what shall be
    different about it (`sample`, `max_bytes`); an empty mapping turns it on. Raises
    `InvalidInput` for what can't be."""
    _check_known(changes, _SETTINGS)
    log, keep = changes.get("log"), changes.get("keep")
    if log == "off":
        settings = replace(settings, log=None)
    elif log is not None:
        settings = replace(settings, log=replace(settings.log or LogSpec(), **log))
    if keep is not None:
        settings = replace(settings, keep=keep)
    check_settings(settings)
    return settings


def in_words(changes: Mapping[str, Any]) -> str:
    """As a decision tells them: `min 1, memory_bytes none, log sample 0.1`."""
    parts: list[str] = []
    for key, value in changes.items():
        if isinstance(value, Mapping):
            inner = [f"{key} {name} {one}" for name, one in cast("_Facts", value).items()]
            parts += inner or [f"{key} on"]
        else:
            parts.append(f"{key} {'none' if value is None else value}")
    return ", ".join(parts)


def _check_known(changes: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if not changes or not changes.keys() <= set(known):
        raise InvalidInput("Nothing to change was given.", f"Give one of {', '.join(known)}.")
