"""What may name a project, a codeset, and a version of one."""

from __future__ import annotations

import re

from volant.errors import InvalidInput

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_ABROAD = r"[^\x00-\xa0\u2028\u2029\ud800-\udfff]"  # any script's letters, with their marks
_VERSION = re.compile(rf"(?:[A-Za-z0-9_]|{_ABROAD})(?:[A-Za-z0-9._/+@#=,-]|{_ABROAD}){{0,249}}")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # SHA-1, or SHA-256 where git uses that


def check_names(project: str, name: str) -> None:
    """Raises `InvalidInput` unless both can be names: they are also folders and parts of
    addresses."""
    for what, given in (("project", project), ("codeset", name)):
        if NAME.fullmatch(given) is None:
            raise InvalidInput(
                f"The {what}'s name {given[:80]!r} can't be a name.",
                "Use 1 to 63 lower-case letters, digits, - and _, a letter or digit first and"
                " last.",
                code="bad_name",
            )


def check_labels(labels: tuple[str, ...]) -> None:
    """Raises `InvalidInput` for a label that can't be one."""
    for label in labels:
        if _LABEL.fullmatch(label) is None:
            raise InvalidInput(
                f"{label[:80]!r} can't be a label.",
                "Use 1 to 63 letters, digits and . _ / -, a letter or digit first and last.",
                code="bad_label",
            )


def check_version(version: str) -> None:
    """Raises `InvalidInput` unless `version` can be a branch, a tag or a commit's hash. It
    keeps git's own language of revisions, and its options, out."""
    if _VERSION.fullmatch(version) is None or ".." in version or version.endswith((".", "/")):
        raise InvalidInput(
            f"{version[:80]!r} can't be a version of a codeset.",
            "Give a commit's hash, in short or in full, a branch or a tag.",
            code="bad_version",
        )


def safe_path(path: str) -> str:
    """`path` inside a codeset, normal: no leading ./, empty for the root. Raises
    `InvalidInput` for one that leaves it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    odd = any(ord(each) < 32 for each in path)
    if path.startswith("/") or ".." in parts or odd or len(path.encode()) > 4000:
        raise InvalidInput(
            f"{path[:200]!r} is no path inside a codeset.",
            "Give one relative to the codeset's root, without `..`.",
            code="bad_path",
        )
    return "/".join(parts)
