"""Versions on their way out, as one file each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from volant.domain.model import ModelVersion
from volant.errors import Conflict
from volant.ports.registered import RegisteredVersions
from volant.registry.archive import Manifest, manifest_of, size_of, write
from volant.registry.desk import ModelDesk

Pickles = Callable[[Path, str | None], Mapping[str, str]]
_ODD = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Export:
    """`size` in bytes; `blocks` may be read once."""

    filename: str
    size: int
    blocks: Iterator[bytes]


class ExportDesk:
    """Args:
    models: The registry.
    versions: Where a version's tags and description are.
    pickles: (folder, file whose pickled parts are read as data) → SHA-256 by path.
    """

    def __init__(self, models: ModelDesk, versions: RegisteredVersions, pickles: Pickles) -> None:
        self._models = models
        self._versions = versions
        self._pickles = pickles

    def open(self, name: str, version: int | str, *, without_pickles: bool = False) -> Export:
        """The version's file, its files verified now and again while they are read.

        Args:
            without_pickles: Leave out the pickles that it isn't served by: who imports it
                then needs to trust nobody.

        Raises `NotFound`; `Conflict` for a version that is only registered, altered, or
        served by a pickle that shall be left out.
        """
        found = self._models.verify(name, version)
        folder = self._models.folder(found)
        told = self._versions.get(found.model, found.version)
        manifest = manifest_of(found, folder, told.tags, told.description)
        if without_pickles:
            manifest = self._without(manifest, found, folder)
        filename = f"{_ODD.sub('-', found.model)}-{found.version}.volant"
        return Export(filename, size_of(manifest), write(manifest, folder))

    def _without(self, manifest: Manifest, version: ModelVersion, folder: Path) -> Manifest:
        kind = version.runtime.get("kind")
        file = str(version.runtime.get("file") or "")
        pickles = self._pickles(folder, file if kind == "torch" else None)
        if kind in ("native", "mlflow", "tensorflow", "code") and pickles:
            raise Conflict(
                f"{version.model} version {version.version} is served by its own library and "
                f"needs {', '.join(list(pickles)[:3])}.",
                "Export it whole; an admin imports it with --trust-pickle.",
                code="model.needs_pickle",
            )
        kept = {name: facts for name, facts in manifest.files.items() if name not in pickles}
        # The gate must know that the pipeline isn't there to be measured.
        runtime = {"format": "volant", **manifest.runtime}
        return replace(manifest, files=kept, runtime=runtime)
