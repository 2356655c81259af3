"""What the records want of one deployment: the fleet's orders, as frozen facts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from volant.domain.loop import LogSpec, ReplicaSpec, StickyKey
from volant.serving.replica_handle import ServedVersion
from volant.serving.scale import DOWN_AFTER_S

Mode = Literal["canary", "shadow", "held"]


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A draining replica gets SIGTERM after `drain_s` and SIGKILL `grace_s`
    later; `idle_s` is how long it waits for the next request of a kept connection. A
    replica goes only when demand has been lower for `down_s`."""

    ready_s: float = 60.0
    idle_s: float = 10.0
    drain_s: float = 30.0
    grace_s: float = 10.0
    down_s: float = DOWN_AFTER_S


@dataclass(frozen=True, slots=True)
class Other:
    """A revision that has traffic beside the live one.

    `canary` answers `percent` of the requests that name no version, `shadow` gets a
    copy of that many, and `held` (percent 0) only those that name its version. All
    three answer requests that name their version.
    """

    version: ServedVersion
    percent: float
    mode: Mode


def unloaded(version: ServedVersion) -> ServedVersion:
    """What answers in its place while it isn't loaded: no more than the HTTP part."""
    return replace(version, loaded=False, profile="serve")


@dataclass(frozen=True, slots=True)
class Desired:
    """What the records say of one deployment. `problem` says why its live revision
    can't be started at all."""

    name: str
    host: str
    port: int
    replicas: ReplicaSpec
    live: ServedVersion | None
    problem: str | None = None
    others: tuple[Other, ...] = ()
    sticky: StickyKey | None = None
    log: LogSpec | None = None  # None: predictions aren't logged


def at_rest(desired: Desired) -> Desired:
    """The deployment while its model is unloaded: no revision has replicas that predict,
    and one that says so is there when somebody asks."""
    return replace(
        desired,
        replicas=replace(desired.replicas, min=0, max=1, spares=0),
        live=None if desired.live is None else unloaded(desired.live),
        others=(),
    )
