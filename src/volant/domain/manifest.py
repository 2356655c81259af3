"""Manifest: a workflow as somebody wrote it. FuseML 0.3's schema, and keys of ours.

Every value in it is text as it was written (`false` is "false", `1.10` is "1.10"), and may
hold expressions. Nothing here is resolved; see `workflows/compile.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

INPUT_TYPES = ("string", "codeset", "number", "model", "dataset")
OUTPUT_TYPES = INPUT_TYPES
CODESET_FIELDS = ("name", "project", "version", "url")
CODESET_PATH = "/project"  # where a codeset lies for a step that doesn't say


@dataclass(frozen=True, slots=True)
class ManifestInput:
    """What a run is given. Without a `default` it must be given."""

    name: str
    type: str = "string"
    description: str = ""
    default: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestOutput:
    """What a run gives. Without a `value` it is the step output of the same name."""

    name: str
    type: str = "string"
    description: str = ""
    value: str | None = None


@dataclass(frozen=True, slots=True)
class CodesetInput:
    """`name` is an expression that gives a codeset, or the name of a codeset input."""

    name: str
    path: str = CODESET_PATH


@dataclass(frozen=True, slots=True)
class StepInput:
    """Either a value or a codeset."""

    name: str
    value: str | None = None
    codeset: CodesetInput | None = None


@dataclass(frozen=True, slots=True)
class OutputImage:
    """A container image that a step builds, in FuseML's words."""

    name: str
    dockerfile: str = ""


@dataclass(frozen=True, slots=True)
class StepOutput:
    name: str
    image: OutputImage | None = None


@dataclass(frozen=True, slots=True)
class ExtensionRequirement:
    """Which outside service a step needs; what is empty doesn't matter. `version` is a
    version or a constraint on it (`>=1.19`, `~1.10.0`)."""

    name: str
    extension_id: str = ""
    service_id: str = ""
    product: str = ""
    version: str = ""
    zone: str = ""
    service_resource: str = ""
    service_category: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """Kubernetes quantities by resource (`cpu: 500m`, `memory: 2Gi`)."""

    requests: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ManifestStep:
    """One step. `needs` is None when the manifest doesn't say, which isn't the same as
    needing nothing; see `workflows/order.py`. `cache` is None when it doesn't say."""

    name: str
    image: str | None = None
    uses: str | None = None
    call: str | None = None
    run: str | None = None
    inputs: tuple[StepInput, ...] = ()
    outputs: tuple[StepOutput, ...] = ()
    extensions: tuple[ExtensionRequirement, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    resources: Resources = field(default_factory=Resources)
    needs: tuple[str, ...] | None = None
    when: str | None = None
    foreach: str | None = None
    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None
    cache: bool | None = None


@dataclass(frozen=True, slots=True)
class ManifestTrigger:
    """What starts the workflow by itself. `kind` is `push` (`value` is a branch, or empty
    for the codeset's own), `cron` (a schedule in UTC) or `dataset` (a dataset's name)."""

    kind: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`triggers` is None when the manifest has no `on:`: then a push to an assigned codeset
    starts it, as in FuseML."""

    name: str
    steps: tuple[ManifestStep, ...]
    description: str = ""
    inputs: tuple[ManifestInput, ...] = ()
    outputs: tuple[ManifestOutput, ...] = ()
    triggers: tuple[ManifestTrigger, ...] | None = None
