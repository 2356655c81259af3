"""`REGISTRY/REPO:TAG` and `REGISTRY/REPO@DIGEST`, by the grammar of the distribution spec."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from volant.errors import InvalidInput

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_LONGEST = 255  # of registry and repository together, as most registries allow


@dataclass(frozen=True, slots=True)
class Reference:
    """One name in a registry. `tag` or `digest` is set, or neither for the repository."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        at = f"@{self.digest}" if self.digest else f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{at}"

    @property
    def target(self) -> str:
        """What a manifest is asked for by."""
        return self.digest or self.tag or "latest"

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine, where plain HTTP is usual."""
        name = self.registry
        name = name.rpartition(":")[0] if _has_port(name) else name
        if name.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False

    def at(self, target: str) -> Reference:
        """The same repository with another tag or digest."""
        if _DIGEST.fullmatch(target):
            return Reference(self.registry, self.repository, None, target)
        return Reference(self.registry, self.repository, target, None)


def parse_reference(text: str) -> Reference:
    """Read `text`; no registry is taken for granted. Raises `InvalidInput`."""
    if "://" in text:
        raise _wrong(text, "has a scheme", f"Leave it out: {text.partition('://')[2]}")
    name, at, digest = text.partition("@")
    if at and _DIGEST.fullmatch(digest) is None:
        raise _wrong(text, f"has the digest {digest!r}", "A digest is sha256: and 64 hex digits.")
    registry, name = _split(text, name)
    repository, tag = name, None
    if ":" in name.rpartition("/")[2]:
        repository, _, tag = name.rpartition(":")
        if _TAG.fullmatch(tag) is None:
            raise _wrong(
                text,
                f"has the tag {tag!r}",
                "A tag is up to 128 letters, digits, _, . and -, and begins with none of . and -.",
            )
    if _REPOSITORY.fullmatch(repository) is None or len(registry) + len(repository) > _LONGEST:
        raise _wrong(
            text,
            f"has the repository {repository!r}",
            "A repository is of lower-case letters and digits, with ., _, - and / between them.",
        )
    if tag is None and not at:
        raise _wrong(text, "has no tag", f"Add one: {text}:1")
    return Reference(registry, repository, None if at else tag, digest or None)


def _split(text: str, name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first.lower() == "localhost"):
        raise _wrong(text, "names no registry", _FORM)
    if _REGISTRY.fullmatch(first) is None or not rest:
        raise _wrong(text, f"has the registry {first!r}", _FORM)
    return first, rest


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


_FORM = "Write REGISTRY/REPO:TAG, such as registry.example.com/models/rent:3."


def _wrong(text: str, what: str, fix: str) -> InvalidInput:
    return InvalidInput(f"{text[:200]!r} {what}.", fix, code="oci.reference")
