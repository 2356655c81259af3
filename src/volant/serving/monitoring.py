"""What people ask of a deployment's numbers: now, its history, its log, its metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from volant.domain.minute import DeploymentMinute, joined
from volant.errors import InvalidInput
from volant.ports.records import DeploymentRecords, MinuteRecords
from volant.serving import log_files
from volant.serving.boards import Boards
from volant.serving.metrics import Counted
from volant.serving.observer import KEPT, Observer

MOST_POINTS = 1500
_POINTS = 240  # when no step is asked for


class Counters(Protocol):
    """The parts of `ServingController` that hold the numbers."""

    @property
    def boards(self) -> Boards: ...

    @property
    def observer(self) -> Observer: ...


class MonitoringDesk:
    """Args:
    logs: The folder of `<deployment>.log`.
    """

    def __init__(
        self,
        deployments: DeploymentRecords,
        minutes: MinuteRecords,
        counters: Counters,
        *,
        logs: Path,
        now: Callable[[], datetime],
    ) -> None:
        self._deployments = deployments
        self._minutes = minutes
        self._counters = counters
        self._logs = logs
        self._now = now

    # history

    def history(
        self, name: str, since: datetime | None = None, step_s: int | None = None
    ) -> dict[str, Any]:
        """deployment, since, until, step_s, and `points`: one for each step in which
        something happened, oldest first, with the fields of `DeploymentMinute` and
        `rps`, the step's average. The last one is still under way. An hour if `since`
        is None.

        Raises `NotFound`, and `InvalidInput` for a time or a step that can't be.
        """
        self._deployments.get(name)
        until = self._now()
        start = max(_moment(since, until), until - KEPT).replace(second=0, microsecond=0)
        minutes = max(1, math.ceil((until - start) / timedelta(minutes=1)))
        step = _step(step_s, minutes)
        points: list[DeploymentMinute] = []
        present = self._counters.observer.present(name)
        stored = self._minutes.between(name, start, until)
        for minute in [*stored, *([present] if present is not None else [])]:
            at = start + (minute.minute - start) // step * step
            if points and points[-1].minute == at:
                points[-1] = joined(points[-1], minute)
            else:
                points.append(replace(minute, minute=at))
        seconds = step.total_seconds()
        return {
            "deployment": name,
            "since": start.isoformat(),
            "until": until.isoformat(),
            "step_s": int(seconds),
            "points": [_point(each, seconds) for each in points],
        }

    # log

    def log(self, name: str, limit: int, after: str | None = None) -> dict[str, Any]:
        """`lines`, and the place `after` them: the newest ones without a place, else the
        next ones. Raises `NotFound`."""
        self._deployments.get(name)
        path = self._logs / f"{name}.log"
        if after is None:
            lines, place = log_files.tail(path, limit)
        else:
            lines, place = log_files.after(path, after, limit)
        return {"lines": lines, "after": place}

    # metrics

    def counted(self) -> Sequence[Counted]:
        """All deployments' numbers, for `metrics.tell`."""
        boards = self._counters.boards
        found: list[Counted] = []
        for deployment in self._deployments.list():
            own, revisions = boards.read(deployment.name)
            found.append(Counted(deployment.name, deployment.model, own, revisions))
        return found


def overlaid(
    view: Mapping[str, Any], name: str, boards: Boards, observer: Observer
) -> dict[str, Any]:
    """What the fleet shows of a deployment, and what was counted: `recent` (the last
    minute), `cold_starts`, exact totals, and each replica's share."""
    own, revisions = boards.read(name)
    counted = boards.replicas(name)
    cpu = observer.cpu_percent(name)
    return {
        **view,
        "requests": sum(each.requests for each in revisions),
        "errors": sum(each.errors for each in revisions),
        "refused": sum(each.refused for each in revisions),
        "recent": observer.recent(name),
        "cold_starts": {
            "count": own.get("cold_starts", 0),
            "last_ms": round(own["last_cold_us"] / 1000, 1) if own.get("cold_starts") else None,
        },
        "losses": own.get("losses", 0),
        "replicas": [
            {**row, **_share(counted.get(row["pid"])), "cpu_percent": cpu.get(row["pid"], 0.0)}
            for row in view["replicas"]
        ],
    }


def _share(counted: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if counted is None:
        return {"errors": 0, "cpu_s": 0.0}
    keys = ("requests", "errors", "in_flight", "queue_rows", "cpu_s")
    found = {key: counted[key] for key in keys}
    if counted["memory_bytes"]:
        found["memory_bytes"] = counted["memory_bytes"]
    return found


def _moment(since: datetime | None, until: datetime) -> datetime:
    if since is None:
        return until - timedelta(hours=1)
    moment = since if since.tzinfo else since.replace(tzinfo=UTC)
    if moment >= until:
        raise InvalidInput(f"{since.isoformat()} isn't past yet.", "Give an earlier `since`.")
    return moment


def _step(step_s: int | None, minutes: int) -> timedelta:
    if step_s is None:
        return timedelta(minutes=math.ceil(minutes / _POINTS))
    if step_s < 60 or step_s % 60:
        raise InvalidInput(
            f"A step of {step_s} s isn't whole minutes.", "Give a multiple of 60 seconds."
        )
    if minutes * 60 / step_s > MOST_POINTS:
        raise InvalidInput(
            f"{minutes} minutes in steps of {step_s} s are more than {MOST_POINTS} points.",
            "Give a longer step, or a later `since`.",
        )
    return timedelta(seconds=step_s)


def _point(minute: DeploymentMinute, seconds: float) -> dict[str, Any]:
    fields = asdict(minute)
    del fields["deployment"]
    fields["minute"] = minute.minute.isoformat()
    return {**fields, "rps": round(minute.requests / seconds, 3)}
