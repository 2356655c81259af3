"""Manifests that come with the package, to begin with."""

from __future__ import annotations

from importlib.resources import files

from volant.errors import NotFound
from volant.workflows.expressions import nearest

_ROOM = "volant.workflows"
_FOLDER = "templates"
_SUFFIX = ".yaml"


def template_names() -> list[str]:
    """The names that `template` knows, in order."""
    folder = files(_ROOM) / _FOLDER
    found = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX))


def template(name: str) -> str:
    """A template's text. Raises `NotFound` with the nearest name."""
    known = template_names()
    if name not in known:
        raise NotFound(
            f"There is no workflow template {name[:80]!r}.",
            nearest(name, known),
            details={"template": name[:200], "known": known},
        )
    return (files(_ROOM) / _FOLDER / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
