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

    Byte code, `.git` and `.venv` are left out. Without `salt` it is the hash that an
    applied loop shows of the same code, so a version's lineage leads back to it.
    """
    digest = hashlib.sha256(salt.encode())
    files: dict[str, Path] = {}
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if not path.is_file() or _SKIPPED.intersection(relative.parts) or path.suffix == ".pyc":
            continue
        files[relative.as_posix()] = path
    for name in sorted(files):
        content = files[name].read_bytes()
        digest.update(f"{len(name.encode())} {len(content)} {name}\n".encode())
        digest.update(content)
    return digest.hexdigest()
