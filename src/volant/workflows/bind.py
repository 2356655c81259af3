"""What a run is given, as values of the manifest's inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, cast

from volant.domain.codeset import CodesetRef
from volant.domain.manifest import CODESET_FIELDS, Manifest, ManifestInput
from volant.errors import InvalidInput
from volant.workflows.expressions import nearest
from volant.workflows.values import number_of


def bind_inputs(
    manifest: Manifest, given: Mapping[str, Any], codeset: CodesetRef | None = None
) -> dict[str, Any]:
    """A value for each of the manifest's inputs, in its order.

    Args:
        manifest: What inputs there are, of what type, and their defaults.
        given: Values by name. Text, but a number may be one, and a codeset is a
            `CodesetRef` or its mapping.
        codeset: What the run is for; every codeset input that isn't given is it.

    Returns:
        Text by name; a number for type `number`, the mapping of a `CodesetRef` for
        `codeset`.

    Raises:
        InvalidInput: Names every input that is unknown, missing or of another type.
    """
    wrong: list[tuple[str, str]] = []
    known = [wanted.name for wanted in manifest.inputs]
    for name in given:
        if name not in known:
            wrong.append((f"has no input {name!r}", nearest(name, known)))
    found: dict[str, Any] = {}
    for wanted in manifest.inputs:
        value = given.get(wanted.name)
        if value is None:
            value = codeset if wanted.type == "codeset" else wanted.default
        if value is None:
            wrong.append(_missing(wanted))
            continue
        bound = _VALUES.get(wanted.type, _text)(value)
        if bound is None:
            shown = _shown(value)
            wrong.append((f"needs {_NOUNS[wanted.type]} for {wanted.name!r}, not {shown}", ""))
        found[wanted.name] = bound
    if wrong:
        told = "; it ".join(what for what, _ in wrong)
        raise InvalidInput(
            f"Workflow {manifest.name!r} {told}.",
            " ".join(dict.fromkeys(fix for _, fix in wrong if fix)) or "Give another value.",
            code="workflow.inputs",
            details={"workflow": manifest.name, "inputs": known, "given": sorted(given)},
        )
    return found


def _missing(wanted: ManifestInput) -> tuple[str, str]:
    if wanted.type == "codeset":
        what = f"needs a codeset for its input {wanted.name!r}"
        return what, "Run it on one, or assign it to one: volant workflow run NAME PROJECT/CODESET."
    return f"needs its input {wanted.name!r}", f"Give it: --input {wanted.name}=VALUE."


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return json.dumps(value)
    return value if isinstance(value, str) else None


def _name(value: Any) -> str | None:
    """Of a model or a dataset; its version may stand behind a colon."""
    return value if isinstance(value, str) and value and not value.isspace() else None


def _number(value: Any) -> int | float | None:
    if isinstance(value, str):
        return number_of(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def _reference(value: Any) -> dict[str, str] | None:
    if isinstance(value, CodesetRef):
        return asdict(value)
    if not isinstance(value, Mapping):
        return None
    given = cast("Mapping[str, Any]", value)
    found = {key: given.get(key) for key in CODESET_FIELDS}
    return (
        cast("dict[str, str]", found) if all(isinstance(v, str) for v in found.values()) else None
    )


_VALUES: Mapping[str, Callable[[Any], Any]] = {
    "number": _number,
    "codeset": _reference,
    "model": _name,
    "dataset": _name,
}
_NOUNS = {
    "string": "text",
    "number": "a number",
    "codeset": "a codeset",
    "model": "a model's name",
    "dataset": "a dataset's name",
}


def _shown(value: Any) -> str:
    return repr(value)[:80]
