"""What made a model: hashes of the code and of the installed packages."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import volant

_SKIPPED = frozenset({"__pycache__", ".git", ".venv"})


@cache
def installed() -> dict[str, str]:
    """Version by normalised name of every installed distribution."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:
            # The first one on the path is the one that gets imported.
            found.setdefault(name.lower().replace("_", "-"), distribution.version)
    return found


@cache
def environment_hash() -> str:
    """SHA-256 of the sorted `name==version` lines of what is installed."""
    lines = sorted(f"{name}=={version}" for name, version in installed().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def own_code_hash() -> str:
    """SHA-256 of Volant's version and of the sources in this folder."""
    return folder_hash(Path(__file__).parent, salt=volant.__version__)


def folder_hash(folder: Path, salt: str = "") -> str:
    """SHA-256 over the relative path and content of each file in `folder`.

    Byte code, `.git` and `.venv` are left out.
    """
    digest = hashlib.sha256(salt.encode())
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or _SKIPPED.intersection(relative.parts) or path.suffix == ".pyc":
            continue
        name = relative.as_posix().encode()
        content = path.read_bytes()
        digest.update(len(name).to_bytes(8, "little") + name)
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
