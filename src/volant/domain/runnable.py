"""Runnable: a step with typed inputs and outputs, described once, used in many workflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

KINDS = ("custom", "builder", "trainer", "predictor")
TYPES = ("string", "number", "model", "dataset", "codeset", "runnable", "opaque")


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output. What is `optional` has `default` where a step doesn't give it,
    and nothing at all where that is None. `path` is the file in which the command
    expects the value, or leaves it; None: in the environment, or in the results folder."""

    name: str
    type: str = "string"
    description: str = ""
    optional: bool = False
    default: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Implementation:
    """What runs: `entrypoint` with `args` in a container of `image`, or without one as a
    process here. `entrypoint` None is the image's command `run`. The three texts may hold
    `{{ inputs.NAME }}` and `{{ outputs.NAME }}`, which is a path."""

    image: str | None = None
    entrypoint: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class RunnableSpec:
    """A runnable as its file says. `kind` is one of `KINDS`; the order of `outputs` is that
    of the file."""

    id: str
    container: Implementation
    name: str = ""
    description: str = ""
    kind: str = "custom"
    author: str = ""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def input(self, name: str) -> Port | None:
        return next((port for port in self.inputs if port.name == name), None)

    def output(self, name: str) -> Port | None:
        return next((port for port in self.outputs if port.name == name), None)


@dataclass(frozen=True, slots=True)
class Runnable:
    """`generation` counts its changes from 1; a run keeps what it started with."""

    spec: RunnableSpec
    created_at: datetime
    updated_at: datetime
    generation: int = 1
