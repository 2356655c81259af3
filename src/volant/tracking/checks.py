"""What names, keys and values may be: MLflow's rules and limits, so that whatever its
clients accept is accepted here and nothing else is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from volant.domain.project import DEFAULT_PROJECT
from volant.domain.tracking import WORKSPACES, Metric
from volant.errors import InvalidInput

MAX_PARAM = 6000  # characters; what is longer is cut, as MLflow's server does it
MAX_TAG = 8000
MAX_SENT = 500_000  # a value that is longer than this is no text that somebody reads
MAX_EXPERIMENT_TAG = 20_000
MAX_KEY = 250
MAX_EXPERIMENT_NAME = 500
MAX_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
MAX_TOGETHER = 1000

_NAME = re.compile(r"[/\w.\- :]+")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_LONG = 2**63


def invalid(parameter: str, value: object, why: str, fix: str = "") -> InvalidInput:
    """The error for one parameter, in the words that MLflow's users know."""
    shown = str(value)
    shown = shown if len(shown) <= 120 else f"{shown[:120]}…"
    return InvalidInput(
        f"Invalid value {shown!r} for parameter {parameter!r} supplied: {why}",
        fix,
        code="invalid_parameter",
        details={"parameter": parameter},
    )


def key(value: str, what: str, where: str = "key") -> str:
    """A name of a metric, param or tag that can also be a path."""
    if not value:
        raise invalid(where, value, f"a {what} needs a name.", "Give it a name.")
    if len(value) > MAX_KEY:
        raise invalid(
            where,
            value,
            f"'{where}' exceeds the maximum length of {MAX_KEY} characters (it has {len(value)}).",
            "Use a shorter name.",
        )
    if _NAME.fullmatch(value) is None:
        raise invalid(
            where,
            value,
            f"a {what}'s name may only contain alphanumerics, underscores (_), dashes (-), "
            "periods (.), spaces ( ), colon(:) and slashes (/).",
            "Rename it.",
        )
    if climbs(value):
        raise invalid(where, value, f"a {what}'s name must be a plain path.", "Rename it.")
    return value


def climbs(path: str) -> bool:
    """Whether a path isn't its own plain form: absolute, doubled, or out of its folder."""
    normal = posixpath.normpath(path)
    return normal != path or normal == "." or normal.startswith(("..", "/"))


def run_id(value: str) -> str:
    """An id that could be a run's."""
    if _RUN_ID.fullmatch(value) is None:
        raise invalid("run_id", value, "it is no run's id.", "`mlflow.search_runs()` lists them.")
    return value


def experiment_name(value: str) -> str:
    if not value or not value.strip():
        raise invalid("name", value, "an experiment needs a name.", "Give it a name.")
    if len(value) > MAX_EXPERIMENT_NAME:
        raise invalid(
            "name",
            value,
            f"'name' exceeds the maximum length of {MAX_EXPERIMENT_NAME} characters.",
            "Use a shorter name.",
        )
    return value


def artifact_location(value: str, project: str = DEFAULT_PROJECT) -> str:
    """Only this platform's own store: a server must not be sent elsewhere by a client. What
    a project has is kept in its own folder there, which no other one may choose."""
    if value and project != DEFAULT_PROJECT:
        raise invalid(
            "artifact_location",
            value,
            "artifact_location cannot be specified in a workspace: its artifacts are together.",
            "Leave it out.",
        )
    if value and not value.startswith("mlflow-artifacts:"):
        raise invalid(
            "artifact_location",
            value,
            "artifacts are kept in the platform's own store.",
            "Leave it out.",
        )
    if "#" in value or "?" in value or ".." in unquote(value).split("/"):
        raise invalid("artifact_location", value, "it isn't a plain path.", "Leave it out.")
    place = unquote(value).removeprefix("mlflow-artifacts:").lstrip("/")
    if place.split("/")[0] == WORKSPACES:
        raise invalid(
            "artifact_location", value, "workspaces have their own there.", "Leave it out."
        )
    return value


def text(value: str, what: str, name: str, most: int = MAX_SENT) -> str:
    """The value whole; refused where it is longer than `most` characters."""
    if len(value) > most:
        raise invalid(
            "value",
            value[:40],
            f"the {what} {name[:MAX_KEY]!r} exceeds the maximum length of {most} characters "
            f"(it has {len(value)}).",
            f"Store it as an artifact, or cut it to {most} characters.",
        )
    return value


def cut(value: str, what: str, name: str, most: int) -> str:
    """The value's first `most` characters; refused above `MAX_SENT`."""
    return text(value, what, name)[:most]


def metrics(points: Sequence[Metric]) -> Sequence[Metric]:
    """A thousand points have a few names: each is looked at once."""
    known: set[str] = set()
    for i, point in enumerate(points):
        if point.key not in known:
            key(point.key, "metric", f"metrics[{i}].name" if len(points) > 1 else "key")
            known.add(point.key)
        if point.timestamp < 0:
            raise invalid(
                "timestamp",
                point.timestamp,
                f"metric {point.key!r} (value={point.value}). Timestamp must be a nonnegative long"
                " (64-bit integer).",
                "Give milliseconds since 1970.",
            )
        long = not -_LONG <= point.step < _LONG
        if long or point.timestamp >= _LONG:
            name, number = ("step", point.step) if long else ("timestamp", point.timestamp)
            raise invalid(name, number, "it has more than 64 bits.", "Use a smaller number.")
    return points


def params(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for i, (name, value) in enumerate(items):
        key(name, "param", f"params[{i}].key" if len(items) > 1 else "key")
        _once(found, name, cut(value, "param", name, MAX_PARAM))
    return found


def _once(found: dict[str, str], name: str, value: str) -> None:
    if found.setdefault(name, value) != value:
        raise InvalidInput(
            f"Duplicate parameter keys have been submitted: [{name!r}].",
            "Send each param once.",
            code="invalid_parameter",
        )


def tags(items: Mapping[str, str]) -> dict[str, str]:
    return {key(name, "tag"): cut(value, "tag", name, MAX_TAG) for name, value in items.items()}


def experiment_tags(items: Mapping[str, str]) -> dict[str, str]:
    """An experiment's are refused where they are too long, and not cut."""
    most = MAX_EXPERIMENT_TAG
    return {key(name, "tag"): text(value, "tag", name, most) for name, value in items.items()}


def own_params(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Those of a logged model, which may have any name and are kept whole."""
    found: dict[str, str] = {}
    for name, value in items:
        _once(found, _own_key(name, "param"), text(value, "param", name))
    return found


def own_tags(items: Mapping[str, str]) -> dict[str, str]:
    """Those that a run is made with, or that a logged model has: they may have any name and
    are kept whole."""
    return {_own_key(name, "tag"): text(value, "tag", name) for name, value in items.items()}


def _own_key(value: str, what: str) -> str:
    if not value or len(value) > MAX_KEY or "\0" in value:
        raise invalid("key", value, f"a {what}'s name has 1 to {MAX_KEY} characters.", "Rename it.")
    return value


def batch(metrics: int, params: int, tags: int) -> None:
    """How much one call may log."""
    for what, count in (("metrics", metrics), ("params", params), ("tags", tags)):
        if count > MAX_BATCH[what]:
            raise InvalidInput(
                f"A batch logging request can contain at most {MAX_BATCH[what]} {what}."
                f" Got {count} {what}.",
                f"Please split up {what} across multiple requests and try again.",
                code="invalid_parameter",
            )
    if metrics + params + tags > MAX_TOGETHER:
        raise InvalidInput(
            f"A batch logging request can contain at most {MAX_TOGETHER} metrics, params and "
            f"tags. Got {metrics + params + tags}.",
            "Please split them up across multiple requests and try again.",
            code="invalid_parameter",
        )
