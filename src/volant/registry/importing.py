"""Versions that another Volant exported, on their way into this registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.domain.codec import from_plain
from volant.domain.model import ModelVersion, Signature, Stage
from volant.errors import InvalidInput
from volant.faults import crash_point
from volant.ports.registered import RegisteredVersions
from volant.registry.archive import Manifest, imported, lineage_of
from volant.registry.desk import ModelDesk
from volant.registry.provenance import made_here, versions_of
from volant.registry.registration import (
    Registration,
    RegistrationDesk,
    Run,
    Tell,
    Uploads,
    check_model_name,
    uploaded,
)

_READ_S, _TRY_S = 1800.0, 600.0


class ImportDesk:
    """Verifies an exported file, tries its model, and stores it as a version.

    Args:
        models: The registry.
        versions: Where a version's tags and description are.
        registrations: Its thread pool, its list of what is under way, its environments.
        uploads: Where uploads wait.
        run: (action, inputs, profile, workdir, timeout_s) → outputs of a step process.
    """

    def __init__(
        self,
        *,
        models: ModelDesk,
        versions: RegisteredVersions,
        registrations: RegistrationDesk,
        uploads: Uploads,
        run: Run,
    ) -> None:
        self._models = models
        self._versions = versions
        self._registrations = registrations
        self._uploads = uploads
        self._run = run

    def start(self, name: str, upload: str, trusted_by: str | None = None) -> Registration:
        """Begin; returns at once. The registrations' `get` tells what became of it. The
        same content again is the same version (`known`).

        Args:
            name: The model that it becomes a version of.
            upload: What the registrations' `upload` answered.
            trusted_by: The admin who vouches for the code in it.

        Raises `InvalidInput` for a bad name, `NotFound` for an unknown upload.
        """
        check_model_name(name)
        path = uploaded(self._uploads, upload)

        def make(workdir: Path, stage: Tell) -> tuple[ModelVersion, bool]:
            try:
                return self._imported(name, path, trusted_by, workdir, stage)
            finally:
                shutil.rmtree(path.parent, ignore_errors=True)

        return self._registrations.begin(name, make)

    # in a thread of the pool

    def _imported(
        self, name: str, path: Path, trusted_by: str | None, workdir: Path, stage: Tell
    ) -> tuple[ModelVersion, bool]:
        stage("verifying")
        found = self._run("receive_model", {"upload": str(path)}, "command", workdir, _READ_S)
        manifest = from_plain(Manifest, found["manifest"])
        crash_point("import.verified")
        known = self._known(name, manifest)
        if known is not None:
            self._describe(known, manifest)
            return known, True
        vouched = self._admitted(found["code"], trusted_by)
        self._registrations.install(found["environment"], workdir, stage)
        stage("proving")
        told = {
            "folder": found["folder"],
            "files": {file: facts.sha256 for file, facts in manifest.files.items()},
        }
        answered = self._run("try_model", told, found["profile"], workdir, _TRY_S)
        _check_signature(manifest.signature, answered["inputs"])
        stage("storing")
        here = {"profile": found["profile"], "environment": dict(found["environment"]), **vouched}
        lineage = lineage_of(manifest)
        version = self._models.register(
            Path(found["folder"]),
            name,
            passed=manifest.stage is not Stage.REFUSED,
            signature=manifest.signature,
            metrics=manifest.metrics,
            lineage=lineage,
            params=manifest.params,
            runtime=imported(manifest, here),
        )
        self._describe(version, manifest)
        return version, False

    def _known(self, name: str, manifest: Manifest) -> ModelVersion | None:
        """The version of that content: imported before, or the one that was exported."""
        identity = manifest.identity()
        files = {file: facts.sha256 for file, facts in manifest.files.items()}
        for version in versions_of(self._models, name):
            run_id = version.lineage.run_id
            same = run_id == manifest.lineage.run_id and dict(version.files) == files
            if run_id == identity or same:
                return version
        return None

    def _admitted(self, code: Mapping[str, str], trusted_by: str | None) -> dict[str, Any]:
        foreign = {file: sha for file, sha in code.items() if not made_here(self._models, sha)}
        if not foreign:
            return {}
        if trusted_by is not None:
            return {"trusted_pickle": {"by": trusted_by, "files": foreign}}
        names = ", ".join(list(foreign)[:5])
        raise InvalidInput(
            f"The file holds code that would run here: {names}. Loading a pickle runs whatever "
            "is in it.",
            "Export it without its pickles, where it is served by another file (volant models "
            "export --without-pickles). An admin who knows where it comes from may import it "
            "with --trust-pickle.",
            code="model.pickle",
            details={"pickles": foreign},
        )

    def _describe(self, version: ModelVersion, manifest: Manifest) -> None:
        """Its tags and description, where it has none of its own; what dies before this is
        made good by the same import."""
        has = self._versions.get(version.model, version.version)
        tags = {key: value for key, value in manifest.tags.items() if key not in has.tags}
        description = manifest.description if not has.description else None
        if tags or description:
            self._versions.change(
                version.model, version.version, tags=tags, description=description or None
            )


def _check_signature(signature: Signature, inputs: list[str]) -> None:
    tensors = signature.tensors.inputs if signature.tensors else ()
    told = [each.name for each in tensors or signature.inputs]
    if told != inputs:
        raise InvalidInput(
            "The manifest's signature isn't the model's own.",
            "Export the model again.",
            code="model.export_broken",
        )
