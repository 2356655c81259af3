"""MLflow's door over real rooms and a real store, asked in process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from starlette.applications import Starlette

from volant.access.desk import AccessDesk
from volant.adapters.local.artifacts import LocalArtifacts
from volant.adapters.local.files import LocalFiles
from volant.adapters.system import SortableIds, SystemClock
from volant.app.sources import Sources
from volant.domain.principal import Role
from volant.projects.desk import ProjectDesk
from volant.registry.registered import RegisteredDesk
from volant.store import Store, sqlite_url
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.logged import LoggedModelDesk
from volant.tracking.owners import OwnerDesk
from volant.tracking.runs import TrackedRunDesk
from volant.web.mlflow.door import PREFIXES, routes

API = PREFIXES[0]
FILES = "/api/2.0/mlflow-artifacts/artifacts"


class InProcess:
    """Calls the application in process, each time in a loop of its own."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)


class Door:
    """A client with a token of each role, and what it talks to."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.home = home
        self.store = Store(url or sqlite_url(home / "volant.db"))
        self.store.migrate()
        store, clock = self.store, SystemClock()
        access = AccessDesk(tokens=store.tokens, audit=store.audit, clock=clock, ids=SortableIds())
        artifacts = LocalArtifacts(home / "artifacts")
        files = LocalFiles(home / "tracked")
        platform: Any = SimpleNamespace(
            access=access,
            experiments=ExperimentDesk(store.experiments),
            tracked_runs=TrackedRunDesk(store.tracked_runs, store.run_data, store.experiments),
            logged_models=LoggedModelDesk(store.logged_models, store.experiments, clock),
            registered=RegisteredDesk(
                models=store.registered_models,
                versions=store.registered_versions,
                artifacts=artifacts,
                folder=Sources(store, files, artifacts),
                clock=clock,
            ),
            artifact_files=files,
            artifact_parts=LocalFiles(home / "parts", transient=True),
            registry_files=LocalFiles(home / "artifacts"),
            workbench=SimpleNamespace(
                projects=ProjectDesk(store.projects, clock, SortableIds()),
                owners=OwnerDesk(store.owners),
            ),
        )
        self.platform = platform
        self.tokens = {role: access.issue(role.name.lower(), role)[1] for role in Role}
        self.client = InProcess(Starlette(routes=list(routes(platform))))

    def ask(
        self,
        method: str,
        path: str,
        role: Role = Role.OPERATOR,
        workspace: str | None = None,
        **options: Any,
    ) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"}
        if workspace is not None:
            headers["X-MLFLOW-WORKSPACE"] = workspace
        return self.client.request(method, path, headers=headers, **options)

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON of a call that must succeed."""
        key = "params" if method == "GET" else "json"
        answer = self.ask(method, API + path, **{key: body or {}}, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, str]:
        key = "params" if method == "GET" else "json"
        answer = self.ask(method, API + path, **{key: body or {}}, **options)
        assert answer.json()["message"]
        return answer.status_code, answer.json()["error_code"]

    def run(self) -> dict[str, Any]:
        return self("POST", "/runs/create", {"experiment_id": "0"})["run"]["info"]
