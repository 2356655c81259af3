"""The first half of a registration: what was uploaded, and where it could be served."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from volant.errors import EXTRAS, InvalidInput, MissingExtra
from volant.formats.detect import Found, detect
from volant.formats.pickles import pickles_in
from volant.formats.requirements import (
    RUNTIME,
    complete,
    environment_key,
    requirements_of,
    unmet,
    without_mlflow,
)
from volant.formats.unpack import copied, plain_copy, unpack

ENVIRONMENTS = ("auto", "own", "volant")
# What must be importable here for a kind to be served here; the last one names its extra.
MODULES = {
    "torch": ("torch",),
    "transformers": ("torch", "transformers"),
    "onnx-text": ("tokenizers",),
    "xgboost": ("xgboost",),
    "mlflow": ("pandas", "mlflow"),
}
_FOREIGN = frozenset({"tensorflow", "openvino"})  # no extra of Volant's has their libraries
_SAFE = frozenset({"torch"})  # formats whose runtime takes pickled parts as data alone


def inspect(inputs: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Unpack an upload and say what it is; nothing of it is loaded or run.

    Inputs: upload (path), or stored {folder, files, name} for files of the artifact store,
    or folder (path of a folder or a single file on this machine); env. Outputs: source (the
    folder), format, kind, file, why, facts, digest (SHA-256 over names and contents),
    pickles (SHA-256 by path), and
    environment: {kind, reasons, requirements, key, python}.

    Raises `InvalidInput` for what can't be a model, `Conflict` for altered stored files.
    """
    if "stored" in inputs:
        folder = copied(**inputs["stored"], target=workdir / "source")
    elif "folder" in inputs:
        folder = plain_copy(Path(inputs["folder"]), workdir / "source")
    else:
        folder = unpack(Path(inputs["upload"]), workdir / "source")
    found = _stored(folder) if "stored" in inputs else detect(folder)
    safe = found.file if found.format in _SAFE else None
    return {
        "source": str(folder),
        "format": found.format,
        "kind": found.kind,
        "file": found.file,
        "why": found.why,
        "facts": dict(found.facts),
        "digest": _digest(folder),
        "pickles": pickles_in(folder, safe),
        "environment": _environment(folder, found, str(inputs.get("env") or "auto")),
    }


def _stored(folder: Path) -> Found:
    """What is in a version that MLflow's client registered: a model that it logged, as a rule,
    and else what anybody uploads."""
    try:
        return detect(folder)
    except InvalidInput as error:
        if (folder / "MLmodel").is_file():
            raise
        raise InvalidInput(
            f"There is no MLmodel in the version's files. {error.what}",
            "Log a model, as mlflow.sklearn.log_model does, not a folder; then register that.",
            code=error.error_code,
        ) from None


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _environment(folder: Path, found: Found, wanted: str) -> dict[str, Any]:
    if wanted not in ENVIRONMENTS:
        raise InvalidInput(f"env {wanted!r} isn't known.", f"Use {', '.join(ENVIRONMENTS)}.")
    lines = requirements_of(folder)
    if found.kind in _FOREIGN:
        lines = without_mlflow(lines) if lines is not None else RUNTIME[found.kind]
    reasons = unmet(lines, found.kind) if lines is not None else []
    if wanted == "volant" or (wanted == "auto" and not reasons):
        for module in MODULES.get(found.kind, ()):
            if find_spec(module) is None:
                # The kind's own extra: transformers' brings torch, too.
                raise MissingExtra(module, EXTRAS[MODULES[found.kind][-1]])
        return {"kind": "volant", "reasons": reasons}
    if lines is None and not RUNTIME[found.kind]:
        raise InvalidInput(
            "The model shall have an environment of its own, but says nothing of what is in it.",
            "Put a requirements.txt beside it.",
            code="model.requirements",
        )
    whole = complete(lines or (), found.kind)
    return {
        "kind": "own",
        "reasons": reasons or ["asked for"],
        "requirements": list(whole),
        "key": environment_key(whole),
        "python": platform.python_version(),
    }
