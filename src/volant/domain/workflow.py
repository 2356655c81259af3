"""Workflow: an explicit graph of steps. It knows step names, no machine learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEALED = "secret://"  # what stands for a secret begins so
MAX_ELEMENTS = 1000  # of a list that a step is done for


@dataclass(frozen=True, slots=True)
class ExtensionBinding:
    """An outside service, chosen for a step when its run started.

    `cfg` is what the extension, its service, the endpoint and the credentials configure,
    the later winning, all of it environment of the step. A secret's value isn't in it: in
    its place stands `secret://…`, which only the step's execution can turn into the value.
    """

    extension: str
    service: str
    product: str = ""
    version: str = ""
    zone: str = ""
    service_resource: str = ""
    service_category: str = ""
    url: str = ""
    cfg: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One node. Exactly one of `uses`, `call`, `run` is set; `image` alone, or with `call`
    or `run`, says where it runs: a container image, or `env://HASH` for an environment
    that a builder made.

    `inputs` values are JSON; a string may hold `{{ inputs.x }}` or
    `{{ steps.s.outputs.o }}`, and one that is nothing but such an expression
    keeps the referenced value's type. `when` is an expression; a falsy value
    skips the step. `after` are steps that it comes after without needing them: that one of
    them was skipped doesn't skip it. `foreach` is an expression whose value is a list: the
    step is done once for each element, which is `{{ item }}` in its inputs and environment,
    and each of its outputs is the list of theirs. `retries` counts attempts after the first.
    `outputs` are the names that a command writes, in order. `cache`: outputs of the same
    step on the same inputs are taken over. An input that is a codeset is the mapping of a
    `CodesetRef` with the key `path`, where its code lies while the step runs.
    """

    name: str
    uses: str | None = None
    call: str | None = None
    run: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    needs: tuple[str, ...] = ()
    when: str | None = None
    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None
    memory_bytes: int | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    image: str | None = None
    foreach: str | None = None
    cache: bool = False
    cpu: float | None = None
    outputs: tuple[str, ...] = ()
    extensions: Mapping[str, ExtensionBinding] = field(default_factory=dict[str, ExtensionBinding])
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """`outputs` are expressions over steps' outputs, by name. `version` counts the changes
    of a registered workflow from 1; 0 is one that isn't registered. `given` are outputs of
    steps that aren't in it, because they were done elsewhere."""

    name: str
    steps: tuple[StepSpec, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    description: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    version: int = 0
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
