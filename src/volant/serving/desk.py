"""What people and workflows ask of deployments."""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import quote

from volant.domain.codec import to_plain
from volant.domain.decision import DecisionKind, Outcome
from volant.domain.deployment import (
    OPEN,
    ROLLING,
    WAITING,
    Deployment,
    Revision,
    RevisionStatus,
    Settings,
)
from volant.domain.event import DEPLOYMENT_REQUESTED
from volant.domain.loop import ReplicaSpec, RolloutSpec
from volant.domain.model import ModelVersion, Stage
from volant.errors import Conflict, InvalidInput, StepFailed
from volant.faults import crash_point
from volant.ports.clock import Clock
from volant.ports.records import DeploymentRecords, RevisionRecords
from volant.serving.addresses import free_port, url_of
from volant.serving.changes import changed_replicas, changed_settings
from volant.serving.stages import check_replicas, check_rollout, check_settings, stages
from volant.serving.steering import Steering
from volant.serving.told import told

_LOOK_S = 0.05
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")

Models = Callable[[str, int | str], ModelVersion]


class Controller(Protocol):
    """The parts of `ServingController` that the desk needs."""

    def wake(self) -> None: ...

    def view(self, deployment: str) -> Mapping[str, Any] | None: ...

    def wait_for_change(self, timeout_s: float) -> None: ...


class DeploymentDesk:
    """Args:
    models: (model, version or alias) → its `ModelVersion`; raises `NotFound`.
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
        self._steering = Steering(deployments, revisions, clock, self._wake)

    # deploying

    def ensure(
        self, name: str, model: str, replicas: ReplicaSpec, settings: Settings | None = None
    ) -> Deployment:
        """The deployment, made with a free port if it is new, else with these `replicas`
        and, if they are given, these `settings`. Raises `Conflict` when it serves another
        model, `InvalidInput` for what can't be."""
        check_replicas(replicas)
        if settings is not None:
            check_settings(settings)
        others = self._deployments.list()
        known = next((d for d in others if d.name == name), None)
        if known is None and _NAME.fullmatch(name) is None:
            raise InvalidInput(
                f"{name[:80]!r} can't be a deployment's name.",
                "Use 1 to 63 lower-case letters, digits, - and _, a letter or digit first and"
                " last; volant deploy MODEL --name NAME gives it another name than its model's.",
                code="bad_name",
            )
        if known is not None:
            _check_model(known, model)
        port = known.port if known else free_port(self._host, {d.port for d in others})
        stored = self._deployments.ensure(
            Deployment(
                name,
                model,
                self._host,
                port,
                replicas,
                self._clock.now(),
                settings=settings or (known.settings if known else Settings()),
            )
        )
        self._wake()
        return stored

    def request(
        self,
        name: str,
        model: str,
        version: int | str | None,
        *,
        key: str | None = None,
        replicas: ReplicaSpec | None = None,
        changes: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        rollout: RolloutSpec | Literal["now"] | None = None,
        by: str | None = None,
    ) -> Revision:
        """Ask for `version` and return its revision at once; `deploy` waits for it.

        A version that is live, or on its way to be, is left alone: its revision is
        returned. So is the one that `key` asked for before.

        Args:
            name: The deployment, made if it is new.
            model: Whose version.
            version: A number or an alias; None: the newest that its gate didn't refuse.
            key: Makes asking twice the same revision; None: asked once.
            replicas: For the deployment, from now on: also when the version fails, for
                it is started within them.
            changes: Of its replicas, by field, instead of all of them.
            settings: Of its settings; see `changed_settings`.
            rollout: How it takes over; None: as the deployment's settings say.
            by: The person who asks, if it is one: then a decision tells it.
        """
        wanted = self._wanted(model, version)
        if isinstance(rollout, RolloutSpec):
            check_rollout(rollout)
        known = next((d for d in self._deployments.list() if d.name == name), None)
        spec = replicas or (known.replicas if known else ReplicaSpec())
        spec = changed_replicas(spec, changes) if changes else spec
        chosen = known.settings if known else Settings()
        chosen = changed_settings(chosen, settings) if settings else chosen
        if known is None or replicas is not None:
            self.ensure(name, model, spec, chosen if settings else None)
        else:
            _check_model(known, model)
            if changes and spec != known.replicas:
                self._steering.scale(name, changes, by or "Somebody")
            if settings and chosen != known.settings:
                self._steering.set(name, settings, by or "Somebody")
        deployment = self._deployments.get(name)
        _check_model(deployment, model)
        revision = Revision(
            deployment=name,
            number=0,
            model_version=wanted.version,
            model_uri=wanted.uri,
            key=key or f"asked-{secrets.token_hex(8)}",
            status=RevisionStatus.PENDING,
            created_at=self._clock.now(),
            rollout=_chosen(rollout, deployment.settings.rollout),
            asked_by=by,
        )
        decision = event = None
        if by is not None:
            reason = f"{by} asked for version {wanted.version} of {model}."
            decision, event = told(
                deployment,
                revision,
                Outcome.ACCEPTED,
                DEPLOYMENT_REQUESTED,
                reason=reason,
                now=revision.created_at,
                kind=DecisionKind.DEPLOY,
                by=by,
            )
        stored = self._revisions.request(revision, event, decision)
        crash_point("deploy.requested")
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
        rollout: RolloutSpec | Literal["now"] | None = None,
        timeout_s: float = 120.0,
    ) -> Revision:
        """Ask for `version` as `request` does, and return its revision once it has
        traffic: live, or the first step of its rollout. What comes after isn't waited for.

        Works from any process on the same records. Raises `StepFailed` when the model
        doesn't load or isn't there in time (the champion then serves on), `Conflict` as
        `ensure` does or when a newer revision took its place before it had traffic,
        `NotFound` for an unknown version.
        """
        revision = self.request(name, model, version, key=key, replicas=replicas, rollout=rollout)
        return self._outcome(revision, timeout_s)

    def _wanted(self, model: str, version: int | str | None) -> ModelVersion:
        if version is not None:
            return servable(self._models(model, version))
        newest = servable(self._models(model, "latest"))
        if newest.stage is Stage.REFUSED:
            raise Conflict(
                f"The newest version of {model}, {newest.version}, was refused by its gate.",
                f"Name the version to deploy; `volant models show {model}` lists them.",
                code="version_refused",
                details={"model": model, "version": newest.version},
            )
        return newest

    def _outcome(self, revision: Revision, timeout_s: float) -> Revision:
        deadline = time.monotonic() + timeout_s
        while revision.status in WAITING:
            if time.monotonic() >= deadline:
                raise StepFailed(
                    f"Revision {revision.number} of {revision.deployment!r} had no traffic within "
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
        if revision.status is RevisionStatus.ABORTED and revision.step is None:
            raise Conflict(
                revision.reason or f"Revision {revision.number} was aborted.",
                "Deploy it again if it is still wanted.",
                code="deploy_aborted",
                details=_facts(revision),
            )
        return revision

    # steering: see `volant.serving.steering`

    def promote(self, name: str, *, by: str, reason: str = "") -> Revision:
        """All traffic to the revision that is rolled out now."""
        return self._steering.promote(name, by, reason)

    def abort(self, name: str, *, by: str, reason: str = "") -> Revision:
        """Give up the newest revision that isn't live yet."""
        return self._steering.abort(name, by, reason)

    def rollback(
        self, name: str, *, by: str, to: str | None = None, reason: str = "", key: str | None = None
    ) -> Revision:
        """Back to what was live before, at once."""
        return self._steering.rollback(name, by, to=to, reason=reason, key=key)

    def scale(self, name: str, changes: Mapping[str, Any], *, by: str) -> dict[str, Any]:
        """Other replica counts; what isn't among `changes` stays."""
        self._steering.scale(name, changes, by)
        return self.get(name)

    def set(self, name: str, changes: Mapping[str, Any], *, by: str) -> dict[str, Any]:
        """Other settings; what isn't among `changes` stays."""
        self._steering.set(name, changes, by)
        return self.get(name)

    def load(self, name: str, *, loaded: bool, by: str) -> dict[str, Any]:
        """Load the model, or unload it until it is loaded again. Raises `NotFound`."""
        self._steering.load(name, by, loaded)
        return self.get(name)

    def delete(self, name: str, *, by: str | None = None) -> None:
        """Drain its replicas and close its socket; requests under way are answered.
        Raises `NotFound`."""
        self._steering.delete(name, by)

    # looking

    def list(self) -> Sequence[dict[str, Any]]:
        """All deployments, as `get` shows them but without their revisions."""
        active: dict[str, Revision] = {
            r.deployment: r for r in self._revisions.active() if r.status in OPEN
        }
        return [self._view(d, active.get(d.name)) for d in self._deployments.list()]

    def get(self, name: str) -> dict[str, Any]:
        """name, model, url, infer_url, host, port, status (idle, serving, starting,
        failing, unloaded, unknown), reason, live_revision, live_version, limits, settings, rolling,
        requests, errors, replicas, and the newest 20 revisions. Raises `NotFound`."""
        deployment = self._deployments.get(name)
        revisions, _ = self.revisions(name, 20)
        newest = next(
            (r for r in self._revisions.active() if r.deployment == name and r.status in OPEN), None
        )
        return {**self._view(deployment, newest), "revisions": revisions}

    def revision(self, name: str, number: int) -> dict[str, Any]:
        """One revision, as `revisions` shows it. Raises `NotFound`."""
        self._deployments.get(name)
        return self._row(self._revisions.get(name, number))

    def revisions(
        self, name: str, limit: int, before: str | None = None
    ) -> tuple[Sequence[dict[str, Any]], str | None]:
        """Newest first; `numbers` is what each has counted since it was started here."""
        self._deployments.get(name)
        found, following = self._revisions.page(name, limit, before)
        return [self._row(each) for each in found], following

    def _row(self, revision: Revision) -> dict[str, Any]:
        seen = self._controller.view(revision.deployment) if self._controller else None
        numbers = (seen or {}).get("revisions", {}).get(revision.number)
        return {**to_plain(revision), "numbers": numbers}

    def _view(self, deployment: Deployment, newest: Revision | None) -> dict[str, Any]:
        seen = dict((self._controller.view(deployment.name) if self._controller else None) or {})
        seen.pop("revisions", None)
        url = url_of(deployment.host, deployment.port)
        return {
            "name": deployment.name,
            "model": deployment.model,
            "url": url,
            "infer_url": f"{url}/v2/models/{quote(deployment.model, safe='')}/infer",
            "host": deployment.host,
            "port": deployment.port,
            "live_revision": deployment.live_revision,
            "live_version": deployment.live_version,
            "limits": to_plain(deployment.replicas),
            "settings": to_plain(deployment.settings),
            "rolling": None if newest is None else _rolling(newest),
            "created_at": deployment.created_at.isoformat(),
            **(seen or {"status": "unknown", "reason": None, "requests": 0, "replicas": []}),
        }

    def _wake(self) -> None:
        if self._controller is not None:
            self._controller.wake()

    def _pause(self) -> None:
        if self._controller is not None:
            self._controller.wait_for_change(_LOOK_S)
        else:
            time.sleep(_LOOK_S)


def servable(version: ModelVersion) -> ModelVersion:
    """The version itself; raises `Conflict` for one that nobody has proven to answer."""
    if version.stage is Stage.REGISTERED:
        raise Conflict(
            f"{version.model} version {version.version} is only registered: nobody has proven "
            "that it can serve.",
            f"Prepare it first: volant models prepare {shlex.quote(version.model)} "
            f"{version.version}",
            code="model.not_prepared",
            details={"model": version.model, "version": version.version},
        )
    return version


def _chosen(
    asked: RolloutSpec | Literal["now"] | None, stored: RolloutSpec | None
) -> RolloutSpec | None:
    if asked == "now":
        return None
    return asked if isinstance(asked, RolloutSpec) else stored


def _check_model(deployment: Deployment, model: str) -> None:
    if deployment.model != model:
        raise Conflict(
            f"Deployment {deployment.name!r} serves the model {deployment.model!r}, not {model!r}.",
            "Deploy under another name, or delete this deployment first.",
        )


def _rolling(revision: Revision) -> dict[str, Any]:
    """How far a revision is that isn't live yet."""
    spec = revision.rollout
    return {
        "revision": revision.number,
        "version": revision.model_version,
        "status": revision.status.value,
        "percent": revision.percent,
        "step": revision.step,
        "steps": [
            {"mode": stage.status.value, "percent": stage.percent}
            for stage in (stages(spec) if spec else ())
        ],
        "since": revision.since.isoformat() if revision.since else None,
        "bake_s": spec.bake_s if spec and revision.status in ROLLING else None,
    }


def _facts(revision: Revision) -> dict[str, Any]:
    return {"deployment": revision.deployment, "revision": revision.number, "key": revision.key}
