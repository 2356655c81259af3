"""Where on this machine the files of a model's source are, whatever scheme names it."""

from __future__ import annotations

from pathlib import Path

from volant.errors import InvalidInput
from volant.ports.artifacts import Artifacts
from volant.ports.files import Files
from volant.registry.registered import loadable
from volant.store import Store

_REGISTRY = "volant/"  # the proxy's name for what the registry holds


class Sources:
    """Resolves `mlflow-artifacts:`, `runs:`, `models:` and `artifacts:` URIs. Any other
    store is refused: the server must not fetch what a client names."""

    def __init__(self, store: Store, files: Files, artifacts: Artifacts) -> None:
        self._store = store
        self._files = files
        self._artifacts = artifacts

    def __call__(self, source: str) -> Path:
        """The folder. Raises `NotFound` for an unknown run, model or artifact, and
        `InvalidInput` for another scheme or a path that climbs."""
        scheme, _, rest = source.partition(":")
        path = rest.lstrip("/")
        if scheme == "artifacts":
            return self._artifacts.local_path(source)
        if scheme == "mlflow-artifacts":
            if path.startswith(_REGISTRY):
                return self._artifacts.local_path("artifacts:/" + path.removeprefix(_REGISTRY))
            return self._files.folder(path)
        if scheme == "runs":
            run, _, below = path.partition("/")
            return self(f"{self._store.tracked_runs.get(run).artifact_uri}/{below}")
        if scheme == "models":
            return self._of_model(path)
        raise InvalidInput(
            f"Invalid model version source: {source[:300]!r}.",
            "Give the artifacts of a run or of a logged model of this server.",
            code="invalid_parameter",
        )

    def _of_model(self, path: str) -> Path:
        name, _, version = path.partition("/")
        if not version:
            return self(self._store.logged_models.get(name).artifact_uri)
        if not version.isdecimal():
            raise InvalidInput(
                f"Invalid model version source: 'models:/{path[:300]}'.",
                "Give models:/NAME/VERSION or models:/MODEL_ID.",
                code="invalid_parameter",
            )
        uri = self._store.registered_versions.get(name, int(version)).uri
        return self(loadable(uri, self._artifacts.local_path(uri)))
