"""The two workflows that DBOS knows: a run, and a step of a run.

DBOS finds workflow functions by name in a registry of the process, so these are module
functions that hand over to the engine that is open in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any, Protocol, TypeVar

from dbos import DBOS

from volant.adapters.dbos_engine.database import Halt
from volant.errors import Conflict

T = TypeVar("T")

RUN = "volant.run"
STEP = "volant.step"


class Host(Protocol):
    """What the open engine does for a workflow that DBOS started."""

    def walk(self, run_id: str, from_step: str | None) -> dict[str, Any]: ...

    def work(self, run_id: str, step: str, task: Mapping[str, Any]) -> dict[str, Any]: ...


class Fresh(dict[str, Any]):
    """A step's task as this process hands it to the step's thread. After a crash it comes
    from the database, a plain dict: then there may be records of what was done of it."""


_host: list[Host] = []


def occupy(host: Host) -> None:
    """Make `host` the process's engine. Raises `Conflict` when there is one."""
    if _host:
        raise Conflict(
            "An engine is open in this process already.",
            "Close it first: DBOS allows one engine a process.",
        )
    _host.append(host)


def vacate(host: Host) -> None:
    """The engine is closed; another may take its place."""
    if host in _host:
        _host.remove(host)


def _open_host() -> Host:
    if not _host:
        raise Halt
    return _host[0]


@DBOS.workflow(name=RUN)
def run_workflow(run_id: str, steps: Sequence[str], from_step: str | None) -> dict[str, Any]:
    """A run. `steps`, all its steps' names, is there for whoever reads its state."""
    return _open_host().walk(run_id, from_step)


@DBOS.workflow(name=STEP)
def step_workflow(run_id: str, step: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """One step of a run."""
    return _open_host().work(run_id, step, task)


def outside(call: Callable[..., T], *args: Any) -> T:
    """Call DBOS as if from outside of any workflow, leaving no trace in its history.

    A run's workflow has no history on purpose: what it does next follows from the state
    of its steps alone, so after a crash it is simply walked again. The order in which
    concurrent steps end can't make a replay differ.
    """
    return Context().run(call, *args)
