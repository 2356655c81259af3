"""Outputs of steps, kept for the next step that would do the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from volant.domain.run import StepRequest


@dataclass(frozen=True, slots=True)
class CachedStep:
    """What a step of a run gave. `key` is the SHA-256 of all that its outputs follow from."""

    key: str
    outputs: Mapping[str, Any]
    run_id: str
    step: str
    created_at: datetime
    last_used_at: datetime


class StepCache(Protocol):
    """Stored outputs by key."""

    def get(self, key: str, now: datetime) -> CachedStep | None:
        """The outputs under `key`. That is a use of them; its time is stored roughly."""
        ...

    def put(self, step: CachedStep) -> bool:
        """Store; whether it was the first under its key. The first one stays."""
        ...

    def drop(self, key: str, run_id: str | None = None) -> bool:
        """Forget a key, if its outputs are of `run_id`; whether there was one."""
        ...

    def prune(self, unused_since: datetime, keep: int) -> int:
        """Forget what wasn't used since then, and all but the `keep` used last; how many."""
        ...


class Reuse(Protocol):
    """What an engine asks before it performs a step with `cache`, and tells after."""

    def key(self, request: StepRequest) -> str | None:
        """What the step's outputs follow from, as a SHA-256; None when that can't be told."""
        ...

    def find(self, key: str, request: StepRequest) -> CachedStep | None:
        """Outputs that may be taken over now."""
        ...

    def keep(
        self, key: str, request: StepRequest, outputs: Mapping[str, Any], *, anew: bool
    ) -> None:
        """Store outputs that were committed; `anew`, in place of those that are there."""
        ...
