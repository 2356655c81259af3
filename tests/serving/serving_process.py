"""A control plane's serving half, also as a process of its own for tests that kill it.

python serving_process.py HOME MODEL_DIR: registers the model unless it is there,
deploys it with the key `run-1:deploy`, prints the port and waits for end of file.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from volant.adapters.local.artifacts import LocalArtifacts
from volant.adapters.local.zygote import ZygoteLauncher
from volant.adapters.system import SystemClock
from volant.domain.event import Event
from volant.domain.loop import ReplicaSpec
from volant.domain.model import Lineage, ModelVersion, Signature, Stage
from volant.serving.controller import ServingController
from volant.serving.desk import DeploymentDesk
from volant.serving.served import Patience
from volant.store.records import Store

HEAVY = {"numpy", "onnxruntime", "sklearn", "pyarrow", "pandas", "uvloop", "httptools"}


class Platform:
    """A home with a database, a zygote and a controller that can be stopped and begun again."""

    def __init__(self, home: Path, launcher, patience: Patience) -> None:
        self.home = home
        self.launcher = launcher
        self.patience = patience
        self.tokens: list[str] | None = None
        self.operator = lambda token, deployment, loaded: "Somebody"
        (home / "logs").mkdir(exist_ok=True)
        self.store = Store(f"sqlite:///{home / 'volant.db'}")
        self.store.migrate()
        self.artifacts = LocalArtifacts(home / "artifacts")
        self.controller: ServingController | None = None

    def begin(self) -> None:
        self.controller = ServingController(
            deployments=self.store.deployments,
            revisions=self.store.revisions,
            launcher=self.launcher,
            artifacts=self.artifacts,
            models=self.store.models.get,
            clock=SystemClock(),
            logs=self.home / "logs",
            patience=self.patience,
            tokens=lambda: self.tokens,
            minutes=self.store.minutes,
            totals=self.home / "run",
            operator=self.operator,
        )
        self.controller.start()

    def end(self) -> None:
        if self.controller is not None:
            self.controller.stop()
            self.controller = None

    @property
    def desk(self) -> DeploymentDesk:
        return DeploymentDesk(
            self.store.deployments,
            self.store.revisions,
            self.store.models.get,
            SystemClock(),
            controller=self.controller,
        )

    def register(self, model: str, folder: Path, run: str, files: dict | None = None) -> int:
        """Store `folder` as the next version; `files` are told wrong hashes."""
        uri, hashes = self.artifacts.put_tree(f"models/{model}/{run}", folder)
        version = ModelVersion(
            model=model,
            version=0,
            stage=Stage.CANDIDATE,
            uri=uri,
            files=files if files is not None else hashes,
            signature=Signature((), (), "classification"),
            metrics={},
            lineage=Lineage(run, "d", 1, "h", "c", "e"),
            created_at=datetime.now(UTC),
        )
        event = Event(f"evt-{model}-{run}", "volant.model.registered", "t", "m", datetime.now(UTC))
        return self.store.models.register(version, event).version

    def port(self, name: str) -> int:
        return self.store.deployments.get(name).port

    def status(self, name: str) -> dict:
        return dict(self.desk.get(name))


if __name__ == "__main__":
    home, folder = map(Path, sys.argv[1:])
    zygote = ZygoteLauncher({"serve": ("volant.serving.replica",)})
    platform = Platform(home, zygote, Patience())
    platform.register("m", folder, "run-1")
    platform.begin()
    platform.desk.deploy("m", "m", 1, key="run-1:deploy", replicas=ReplicaSpec())
    print(platform.port("m"), *(HEAVY & sys.modules.keys()), flush=True)
    sys.stdin.read()
    platform.end()
    zygote.close()
