"""What people and workflows ask of deployments."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from volant.domain.deployment import Deployment, Revision, RevisionStatus
from volant.domain.loop import ReplicaSpec
from volant.errors import Conflict, InvalidInput, StepFailed, Unavailable
from volant.faults import crash_point
from volant.ports.clock import Clock
from volant.ports.records import DeploymentRecords, RevisionRecords
from volant.serving.rollout import Models

# Below the range from which Linux takes the ports of outgoing connections (32768 and
# up), so that a stored port isn't lost to one of those while Volant is down.
FIRST_PORT, PORTS = 20000, 10000
_LOOK_S = 0.05
_DONE = (RevisionStatus.LIVE, RevisionStatus.RETIRED, RevisionStatus.FAILED)


class Controller(Protocol):
    """The parts of `ServingController` that the desk needs."""

    def wake(self) -> None: ...

    def view(self, deployment: str) -> Mapping[str, Any] | None: ...

    def wait_for_change(self, timeout_s: float) -> None: ...


class DeploymentDesk:
    """Args:
    models: (model, version) → its `ModelVersion`; raises `NotFound`.
    controller: None in a process that doesn't serve; waiting then means polling.
    host: The address that new deployments listen on.
    """

    def __init__(
        self,
        deployments: DeploymentRecords,
        revisions: RevisionRecords,
        models: Models,
        clock: Clock,
        *,
        controller: Controller | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._deployments = deployments
        self._revisions = revisions
        self._models = models
        self._clock = clock
        self._controller = controller
        self._host = host

    def ensure(self, name: str, model: str, replicas: ReplicaSpec) -> Deployment:
        """The deployment, made with a free port if it is new, else with these
        `replicas`. Raises `Conflict` when it serves another model, `InvalidInput` for
        impossible replica counts."""
        if not 0 <= replicas.min <= replicas.max or replicas.max < 1:
            raise InvalidInput(
                f"replicas: min {replicas.min} and max {replicas.max} don't go together.",
                "Give 0 ≤ min ≤ max and max ≥ 1.",
            )
        others = self._deployments.list()
        known = next((d for d in others if d.name == name), None)
        if known is not None and known.model != model:
            raise Conflict(
                f"Deployment {name!r} serves the model {known.model!r}, not {model!r}.",
                "Deploy under another name, or delete this deployment first.",
            )
        port = known.port if known else free_port(self._host, {d.port for d in others})
        stored = self._deployments.ensure(
            Deployment(name, model, self._host, port, replicas, self._clock.now())
        )
        self._wake()
        return stored

    def deploy(
        self,
        name: str,
        model: str,
        version: int,
        *,
        key: str,
        replicas: ReplicaSpec | None = None,
        timeout_s: float = 120.0,
    ) -> Revision:
        """Bring `version` live and return its revision; the same `key` again returns
        the same one, and a version that is live already is left alone.

        Works from any process on the same records. Raises `StepFailed` when the model
        doesn't load or isn't live in time (the champion then serves on), `Conflict` as
        `ensure` does, `NotFound` for an unknown version.
        """
        wanted = self._models(model, version)
        if replicas is not None or not self._exists(name):
            self.ensure(name, model, replicas or ReplicaSpec())
        deployment = self._deployments.get(name)
        if deployment.model != model:
            raise Conflict(
                f"Deployment {name!r} serves the model {deployment.model!r}, not {model!r}.",
                "Deploy under another name, or delete this deployment first.",
            )
        if deployment.live_version == version and deployment.live_revision is not None:
            return self._revisions.get(name, deployment.live_revision)
        revision = self._revisions.request(
            Revision(
                deployment=name,
                number=0,
                model_version=version,
                model_uri=wanted.uri,
                key=key,
                status=RevisionStatus.PENDING,
                created_at=self._clock.now(),
            )
        )
        crash_point("deploy.requested")
        return self._outcome(revision, timeout_s)

    def _outcome(self, revision: Revision, timeout_s: float) -> Revision:
        deadline = time.monotonic() + timeout_s
        self._wake()
        while revision.status not in _DONE:
            if time.monotonic() >= deadline:
                raise StepFailed(
                    f"Revision {revision.number} of {revision.deployment!r} wasn't live within "
                    f"{timeout_s:g} s; it is still {revision.status.value}.",
                    "See whether the server runs (`volant status`), then try again: the same "
                    "revision is waited for.",
                    code="deploy_timeout",
                    details=_facts(revision),
                )
            self._pause()
            revision = self._revisions.get(revision.deployment, revision.number)
        if revision.status is RevisionStatus.FAILED:
            raise StepFailed(
                revision.reason or f"Revision {revision.number} failed.",
                f"See logs/{revision.deployment}.log; what was live before serves on.",
                code="deploy_failed",
                details=_facts(revision),
            )
        return revision

    def list(self) -> Sequence[dict[str, Any]]:
        """All deployments, as `get` shows them but without their revisions."""
        return [self._view(d) for d in self._deployments.list()]

    def get(self, name: str) -> dict[str, Any]:
        """name, model, url, infer_url, host, port, status (idle, serving, starting,
        failing, unknown), reason, live_revision, live_version, limits, requests,
        errors, replicas, and the newest 20 revisions. Raises `NotFound`."""
        deployment = self._deployments.get(name)
        revisions, _ = self._revisions.page(name, 20)
        return {**self._view(deployment), "revisions": [_plain(asdict(r)) for r in revisions]}

    def delete(self, name: str) -> None:
        """Drain its replicas and close its socket; requests under way are answered.
        Raises `NotFound`."""
        self._deployments.get(name)
        self._deployments.delete(name)
        self._wake()

    def _view(self, deployment: Deployment) -> dict[str, Any]:
        seen = self._controller.view(deployment.name) if self._controller else None
        host = f"[{deployment.host}]" if ":" in deployment.host else deployment.host
        url = f"http://{host}:{deployment.port}"
        return {
            "name": deployment.name,
            "model": deployment.model,
            "url": url,
            "infer_url": f"{url}/v2/models/{deployment.model}/infer",
            "host": deployment.host,
            "port": deployment.port,
            "live_revision": deployment.live_revision,
            "live_version": deployment.live_version,
            "limits": asdict(deployment.replicas),
            "created_at": deployment.created_at.isoformat(),
            **(seen or {"status": "unknown", "reason": None, "requests": 0, "replicas": []}),
        }

    def _exists(self, name: str) -> bool:
        return any(d.name == name for d in self._deployments.list())

    def _wake(self) -> None:
        if self._controller is not None:
            self._controller.wake()

    def _pause(self) -> None:
        if self._controller is not None:
            self._controller.wait_for_change(_LOOK_S)
        else:
            time.sleep(_LOOK_S)


def free_port(host: str, taken: set[int]) -> int:
    """A port on `host` that nobody listens on and that isn't in `taken`. The search
    starts anywhere: a platform that is down for a moment shall not lose its port to a
    deployment of the same name elsewhere. Raises `Unavailable` when there is none."""
    start = secrets.randbelow(PORTS)
    for i in range(PORTS):
        port = FIRST_PORT + (start + i) % PORTS
        if port not in taken and _is_free(host, port):
            return port
    raise Unavailable(
        f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} on {host} is free.",
        "End what listens there, or let Volant listen on another address.",
    )


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _facts(revision: Revision) -> dict[str, Any]:
    return {"deployment": revision.deployment, "revision": revision.number, "key": revision.key}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        return value.isoformat() if hasattr(value, "isoformat") else value

    return {key: one(value) for key, value in row.items()}
