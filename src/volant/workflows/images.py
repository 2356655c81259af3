"""Container images that mean a built-in step, and what an image's name may look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from volant.workflows.expressions import nearest

ENVIRONMENT = "env://"  # and a hash: an environment that a builder made


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """`uses` is the built-in step, `inputs` what the image's name says beyond that."""

    uses: str
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])


def _serves(flavor: str) -> BuiltIn:
    return BuiltIn("predictor", {"flavor": flavor})


BUILT_IN: Mapping[str, BuiltIn] = {
    "mlflow-builder": BuiltIn("builder"),
    "kserve-predictor": _serves("kserve"),
    "kfserving-predictor": _serves("kfserving"),
    "seldon-core-predictor": _serves("seldon"),
    "seldon-triton-predictor": _serves("seldon-triton"),
    "ovms-converter": BuiltIn("converter", {"flavor": "ovms"}),
    "ovms-predictor": _serves("ovms"),
}
_TRITON = "seldon-triton"

# Docker's grammar: [host[:port]/]path[:tag][@digest]
# (https://pkg.go.dev/github.com/distribution/reference)
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?:@[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,})?"
)
_LONGEST = 512  # characters; before the pattern looks at it


def built_in(image: str) -> BuiltIn | None:
    """The built-in step that an image means, whatever its registry, tag and digest."""
    name = _path(image).rsplit("/", 1)[-1]
    if name.startswith(_TRITON):
        return BUILT_IN["seldon-triton-predictor"]
    return BUILT_IN.get(name)


def why_not(image: str) -> tuple[str, str] | None:
    """What is wrong with an image's name, and what to do; None when nothing is."""
    if image.startswith(ENVIRONMENT):
        return None
    if len(image) > _LONGEST or not _IMAGE.fullmatch(image):
        return (
            f"{image[:80]!r} is no name of an image.",
            "Write registry/repository:tag, in lower case and without spaces.",
        )
    parts = _path(image).split("/")
    if parts[-2:-1] == ["fuseml"] and built_in(image) is None:
        return (
            f"No step is known by the image {parts[-1][:80]!r} of FuseML's.",
            nearest(parts[-1], list(BUILT_IN)),
        )
    return None


def _path(image: str) -> str:
    """Without digest and tag; a registry's port stands before a slash, a tag doesn't."""
    path = image.split("@", 1)[0]
    head, colon, tag = path.rpartition(":")
    return head if colon and "/" not in tag else path
