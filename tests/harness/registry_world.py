"""The registry's two desks and what serves its models, over one store."""

from __future__ import annotations

import contextlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volant.adapters.local.artifacts import LocalArtifacts
from volant.domain.event import MODEL_DELETED
from volant.domain.model import Field, Lineage, ModelVersion, Signature, Stage
from volant.errors import Conflict
from volant.registry.desk import ModelDesk
from volant.registry.registered import RegisteredDesk
from volant.store import Store
from volant.testing import samples

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SIGNATURE = Signature((Field("x", "number"),), (Field("prediction", "number"),), "regression")


class Clock:
    def now(self) -> datetime:
        return NOW


class World:
    """Versions are made as runs and MLflow's clients make them; `activate` is what the
    serving controller does."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store = store
        self.root = root
        self.artifacts = LocalArtifacts(root / "artifacts")
        self.models = ModelDesk(models=store.models, artifacts=self.artifacts, clock=Clock())
        self.registered = RegisteredDesk(
            models=store.registered_models,
            versions=store.registered_versions,
            artifacts=self.artifacts,
            folder=lambda _source: self.folder("logged"),
            clock=Clock(),
            in_use=lambda name, version: self.busy.get((name, version)),
        )
        self.busy: dict[tuple[str, int | None], str] = {}

    def folder(self, content: str) -> Path:
        folder = self.root / "sources" / content
        if not folder.is_dir():
            (folder / "data").mkdir(parents=True)
            (folder / "MLmodel").write_text("flavors: {}\n")
            (folder / "data" / "weights.bin").write_text(content)
            (folder / "input_example.json").write_text('{"columns": ["x"], "data": [[1.0]]}')
        return folder

    def register(self, name: str, *, passed: bool = True, **more: Any) -> ModelVersion:
        run = more.pop("run", None) or f"run-{secrets.token_hex(6)}"
        parent = more.pop("parent", None)
        told: dict[str, Any] = {
            "signature": SIGNATURE,
            "metrics": {"rmse": 0.5},
            "params": {"depth": 3},
            "runtime": {"kind": "onnx"},
        }
        lineage = Lineage(run, "wine", 3, "h" * 64, "c" * 64, "e" * 64, None, parent_version=parent)
        folder = more.pop("folder", None) or self.folder(run)
        return self.models.register(
            folder, name, passed=passed, lineage=lineage, **{**told, **more}
        )

    def only_registered(self, name: str) -> ModelVersion:
        with contextlib.suppress(Conflict):
            self.registered.create(name)
        return self.models.get(name, self.registered.create_version(name, "runs:/x").version)

    def prepare(self, version: ModelVersion) -> ModelVersion:
        return self.models.prepare(
            version,
            self.folder(f"prepared-{version.lineage.run_id}"),
            digest="d" * 64,
            signature=SIGNATURE,
            runtime={"kind": "onnx"},
            metrics={},
            code_hash="c",
            environment_hash="e",
        )

    def deployment(self, name: str) -> None:
        self.store.deployments.ensure(samples.deployment(name))

    def request(self, name: str, version: int, **more: Any) -> Any:
        return self.store.revisions.request(samples.revision(name, version, **more))

    def activate(self, name: str, version: int, **more: Any) -> Any:
        revision = self.request(name, version, **more)
        if revision.status.value == "pending":
            assert self.store.revisions.move(revision, "ready")
        revision = self.store.revisions.get(name, revision.number)
        self.store.revisions.activate(revision, samples.event(), samples.decision())
        return self.store.revisions.get(name, revision.number)

    def delete(self, name: str, version: int) -> None:
        """As the platform does: the record, then what the event asks for."""
        self.registered.delete_version(name, version)
        for event in self.store.events.pending(10_000):
            if event.type == MODEL_DELETED:
                self.models.discard(event.data["uris"])

    def at(self, name: str, stage: Stage) -> ModelVersion:
        """A version of that stage that nothing serves; the model has no deployment after."""
        if stage is Stage.REGISTERED:
            return self.only_registered(name)
        version = self.register(name, passed=stage is not Stage.REFUSED).version
        if stage in (Stage.CHAMPION, Stage.RETIRED):
            self.deployment(name)
            self.activate(name, version)
            if stage is Stage.RETIRED:
                self.activate(name, self.register(name).version)
            self.store.deployments.delete(name)
        return self.models.get(name, version)
