"""What is asked, what it said, and how it is told that it didn't answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from volant.errors import PermissionDenied, Unavailable

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A running service. `url` has neither user nor password in it."""

    name: str
    url: str
    scheme: str
    host: str
    port: int
    path: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    region: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """`version` is empty where the service doesn't tell it; `told` is for a person."""

    version: str
    told: str


def no_answer(target: Target, reason: str) -> Unavailable:
    """It can't be reached, or isn't what it is said to be."""
    return Unavailable(
        f"{target.url} doesn't answer as {target.name} does: {reason.rstrip('.')}.",
        "Check the URL and that it runs; --no-check registers it all the same.",
        code="extensions.no_answer",
    )


def not_let_in(target: Target, reason: str) -> PermissionDenied:
    """It answers, and wants other credentials."""
    return PermissionDenied(
        f"{target.url} is there, and doesn't let us in: {reason.rstrip('.')}.",
        "Give --user and --password-stdin, or --token-stdin, as it knows them.",
        code="extensions.not_let_in",
    )
