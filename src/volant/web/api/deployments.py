"""Deployments: addresses that answer, what answers there, and who takes over."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.loop import RolloutSpec, StickyKey
from volant.web.api.guard import Caller, needs
from volant.web.api.pages import Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

_Percent = Annotated[float, Field(gt=0, lt=100)]
_Reason = Annotated[str, Field(max_length=2000, description="Why, for those who look later.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Replicas(_Body):
    """What isn't given stays as it is; a new deployment has the defaults."""

    min: int | None = Field(default=None, ge=0, le=64)
    max: int | None = Field(default=None, ge=1, le=64)
    idle_s: float | None = Field(default=None, description="Seconds, 1 to 30 days.")
    memory_bytes: int | None = Field(
        default=None, description="A replica's limit, from 64 MiB; null: none."
    )
    target: int | None = Field(
        default=None, ge=1, description="Requests in flight that one replica is meant to hold."
    )
    spares: int | None = Field(
        default=None, ge=0, le=16, description="Replicas that wait with the model loaded."
    )
    cpu: float | None = Field(
        default=None, description="Cores for each replica, 0.01 to 1024; null: no limit."
    )

    def given(self) -> dict[str, Any]:
        """Only what the request named. Null is a value where there may be no limit."""
        named = self.model_dump(exclude_unset=True)
        return {k: v for k, v in named.items() if v is not None or k in ("memory_bytes", "cpu")}


class LogBody(_Body):
    """The prediction log; what isn't given stays as it is."""

    sample: float | None = Field(default=None, gt=0, le=1, description="Fraction of requests.")
    max_bytes: int | None = Field(default=None, description="Its bound, from 1 MiB.")


class SettingsBody(_Body):
    """What isn't given stays as it is; a new deployment has the defaults."""

    log: LogBody | Literal["off"] | None = Field(
        default=None,
        description='"off", or an object with `sample` and `max_bytes`: the prediction log.',
    )
    keep: int | None = Field(
        default=None, ge=0, le=20, description="Versions that served before and still answer."
    )

    def given(self) -> dict[str, Any]:
        """Only what the request named."""
        return self.model_dump(exclude_none=True)


class Sticky(_Body):
    """Where a request's key is found: one of the two."""

    header: str | None = Field(default=None, min_length=1, max_length=100)
    parameter: str | None = Field(default=None, min_length=1, max_length=100)


class RolloutBody(_Body):
    """How a version takes over; see `deploy.rollout` of the loop file."""

    canary: list[_Percent] = Field(default_factory=list[float], max_length=20)
    bake_s: float = Field(default=120.0, ge=0, le=30 * 86400, description="Seconds a step.")
    error_rate: float = Field(default=0.05, ge=0, le=1)
    p95_ms: float | None = Field(default=None, gt=0)
    min_requests: int = Field(default=20, ge=1)
    sticky: Sticky | None = None
    shadow: float = Field(default=0, ge=0, le=100)

    def spec(self) -> RolloutSpec:
        """As the domain has it."""
        facts = self.model_dump(exclude={"canary", "sticky"})
        sticky = None
        if self.sticky is not None:
            header = self.sticky.header
            sticky = StickyKey(header and header.lower(), self.sticky.parameter)
        return RolloutSpec(canary=tuple(self.canary), sticky=sticky, **facts)


class Wanted(_Body):
    """A version to deploy."""

    model: str = Field(max_length=200)
    version: int | str | None = Field(
        default=None,
        description="A number or an alias; null: the newest that its gate didn't refuse.",
    )
    rollout: RolloutBody | Literal["now"] | None = Field(
        default=None, description='Null: as the deployment\'s own settings say; "now": at once.'
    )
    replicas: Replicas | None = None
    settings: SettingsBody | None = None
    key: str | None = Field(
        default=None, max_length=200, description="The same key again is the same revision."
    )


class Steered(_Body):
    """A verb's only words."""

    reason: _Reason = ""


class Back(Steered):
    """Where to go back to."""

    to: str | None = Field(
        default=None,
        max_length=40,
        description="A revision's number, or a version as `v3`; null: what was live before.",
    )
    key: str | None = Field(
        default=None, max_length=200, description="The same key again is the same revision."
    )


def routes(platform: Platform) -> APIRouter:
    """Everything under `/deployments`."""
    api = router("deployments")
    _reading(api, platform)
    _steering(api, platform)
    return api


def _reading(api: APIRouter, platform: Platform) -> None:
    deployments = platform.deployments
    reads = [needs("deployments.read")]

    @api.get("/deployments", dependencies=reads, summary="All deployments")
    def deployments_list() -> Page[dict[str, Any]]:
        return whole([dict(each) for each in deployments.list()])

    @api.get("/deployments/{name}", dependencies=reads, summary="One deployment")
    def deployments_get(name: str) -> dict[str, Any]:
        """Its address, what is live and what is on its way to be, its newest revisions, and
        the replicas that run now."""
        return dict(deployments.get(name))

    @api.get(
        "/deployments/{name}/revisions", dependencies=reads, summary="A deployment's revisions"
    )
    def deployments_revisions(
        name: str, limit: Limit = 50, before: Before = None
    ) -> Page[dict[str, Any]]:
        """Newest first, each with how it ended and what it counted."""
        found, following = deployments.revisions(name, limit, before)
        return page(([dict(each) for each in found], following))

    @api.get("/deployments/{name}/revisions/{number}", dependencies=reads, summary="One revision")
    def deployments_revision(name: str, number: int) -> dict[str, Any]:
        return dict(deployments.revision(name, number))

    @api.get(
        "/deployments/{name}/decisions",
        dependencies=[needs("decisions.read")],
        summary="What was decided for a deployment, and why",
    )
    def deployments_decisions(name: str, limit: Limit = 50, before: Before = None) -> Page[Any]:
        """Those of a loop of the same name among them; also when the deployment is gone."""
        return page(platform.decisions.page(limit, before, loop=name))


def _steering(api: APIRouter, platform: Platform) -> None:
    deployments = platform.deployments

    @api.post(
        "/deployments/{name}/revisions",
        dependencies=[needs("deployments.deploy", audit="deployment/{name}")],
        status_code=202,
        summary="Deploy a version",
    )
    def deployments_deploy(name: str, body: Wanted, caller: Caller) -> dict[str, Any]:
        """The deployment is made if it is new. Answers at once with the revision; look at it
        again to see how far it is. A version that is live, or on its way to be, is left
        alone: its revision is the answer."""
        rollout = body.rollout.spec() if isinstance(body.rollout, RolloutBody) else body.rollout
        revision = deployments.request(
            name,
            body.model,
            body.version,
            key=body.key,
            rollout=rollout,
            by=caller.name,
            changes=body.replicas.given() if body.replicas else None,
            settings=body.settings.given() if body.settings else None,
        )
        return dict(deployments.revision(name, revision.number))

    @api.post(
        "/deployments/{name}/promote",
        dependencies=[needs("deployments.promote", audit="deployment/{name}")],
        summary="Give the canary all the traffic",
    )
    def deployments_promote(name: str, body: Steered, caller: Caller) -> dict[str, Any]:
        revision = deployments.promote(name, by=caller.name, reason=body.reason)
        return dict(deployments.revision(name, revision.number))

    @api.post(
        "/deployments/{name}/abort",
        dependencies=[needs("deployments.abort", audit="deployment/{name}")],
        summary="Give up what isn't live yet",
    )
    def deployments_abort(name: str, body: Steered, caller: Caller) -> dict[str, Any]:
        """The newest revision that is waiting, a shadow or a canary."""
        revision = deployments.abort(name, by=caller.name, reason=body.reason)
        return dict(deployments.revision(name, revision.number))

    @api.post(
        "/deployments/{name}/rollback",
        dependencies=[needs("deployments.rollback", audit="deployment/{name}")],
        status_code=202,
        summary="Go back to what was live before",
    )
    def deployments_rollback(name: str, body: Back, caller: Caller) -> dict[str, Any]:
        """A new revision with the earlier version, live as soon as it has loaded. While a
        canary or shadow goes and no `to` is given, that one is aborted instead."""
        revision = deployments.rollback(
            name, by=caller.name, to=body.to, reason=body.reason, key=body.key
        )
        return dict(deployments.revision(name, revision.number))

    @api.patch(
        "/deployments/{name}/replicas",
        dependencies=[needs("deployments.scale", audit="deployment/{name}")],
        summary="Scale a deployment",
    )
    def deployments_scale(name: str, body: Replicas, caller: Caller) -> dict[str, Any]:
        """Until a loop of this name deploys again: its file says how many then."""
        return dict(deployments.scale(name, body.given(), by=caller.name))

    @api.patch(
        "/deployments/{name}/settings",
        dependencies=[needs("deployments.scale", audit="deployment/{name}")],
        summary="Change what a deployment logs and keeps",
    )
    def deployments_set(name: str, body: SettingsBody, caller: Caller) -> dict[str, Any]:
        """Until a loop of this name deploys again: its file says so then."""
        return dict(deployments.set(name, body.given(), by=caller.name))

    @api.post(
        "/deployments/{name}/load",
        dependencies=[needs("deployments.load", audit="deployment/{name}")],
        summary="Load a deployment's model again",
    )
    def deployments_load(name: str, caller: Caller) -> dict[str, Any]:
        """Its replicas start; nothing changes when it is loaded."""
        return dict(deployments.load(name, loaded=True, by=caller.name))

    @api.post(
        "/deployments/{name}/unload",
        dependencies=[needs("deployments.load", audit="deployment/{name}")],
        summary="Unload a deployment's model",
    )
    def deployments_unload(name: str, caller: Caller) -> dict[str, Any]:
        """Requests under way are answered, later ones refused until it is loaded again."""
        return dict(deployments.load(name, loaded=False, by=caller.name))

    @api.delete(
        "/deployments/{name}",
        dependencies=[needs("deployments.delete", audit="deployment/{name}")],
        status_code=204,
        summary="End a deployment",
    )
    def deployments_delete(name: str, caller: Caller) -> None:
        """Requests under way are answered. The model's versions stay."""
        deployments.delete(name, by=caller.name)
