"""A folder that another Volant made: what of it would run code here, and what it needs."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from volant.errors import EXTRAS, InvalidInput, MissingExtra
from volant.formats.inspect import MODULES
from volant.formats.pickles import pickles_in
from volant.formats.prove import PROFILES, profile_of
from volant.formats.requirements import complete, environment_key, normal

_MOST_BYTES = 16 << 20


def received(folder: Path, environment: Mapping[str, Any]) -> dict[str, Any]:
    """kind, code (SHA-256 by path of what runs code when the model is loaded), environment
    and profile of the folder. Nothing of it is loaded. `environment` is what its maker
    says: its requirements are read as an upload's are.

    Raises `InvalidInput` for a folder without a readable `volant.json`, `MissingExtra`
    where its library isn't installed.
    """
    kind, file = _described(folder)
    found = _environment(kind, environment)
    return {
        "kind": kind,
        "code": _code(folder, kind, file),
        "environment": found,
        "profile": profile_of(kind, found),
    }


def _described(folder: Path) -> tuple[str, str]:
    path = folder / "volant.json"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        body = json.loads(path.read_text(encoding="utf-8"))
        kind = str(body["runtime"]["kind"])
        native = body.get("native") or {}
        file = str((native if kind == "native" else body["runtime"]).get("file", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(
            f"The model's volant.json can't be read: {type(error).__name__}.",
            "Export the model again.",
            code="model.export_broken",
        ) from None
    if kind not in PROFILES:
        raise InvalidInput(
            f"This Volant has no runtime {kind[:40]!r}.",
            f"Update Volant; this one knows {', '.join(PROFILES)}.",
            code="model.runtime_unknown",
        )
    return kind, file


def _code(folder: Path, kind: str, file: str) -> dict[str, str]:
    """Pickles, whatever they are called, and the modules that such a runtime imports."""
    found = pickles_in(folder, file if kind == "torch" else None)
    if kind == "native":
        found |= _hashes(folder, [folder / file])
    if kind in ("native", "code", "mlflow"):
        found |= _hashes(folder, sorted(folder.rglob("*.py")))
    if kind == "mlflow":  # it names a module that is imported
        found |= _hashes(folder, sorted(folder.rglob("MLmodel")))
    return found


def _hashes(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        if path.is_file():
            with path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def _environment(kind: str, told: Mapping[str, Any]) -> dict[str, Any]:
    if told.get("kind") != "own":
        for module in MODULES.get(kind, ()):
            if find_spec(module) is None:
                raise MissingExtra(module, EXTRAS[MODULES[kind][-1]])
        return {"kind": "volant", "reasons": []}
    lines = told.get("requirements")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InvalidInput(
            "The model's requirements can't be read.",
            "Export the model again.",
            code="model.export_broken",
        )
    whole = complete(normal(lines, "its manifest"), kind)
    return {
        "kind": "own",
        "reasons": [str(reason)[:200] for reason in told.get("reasons") or ["asked for"]],
        "requirements": list(whole),
        "key": environment_key(whole),
        "python": platform.python_version(),
    }
