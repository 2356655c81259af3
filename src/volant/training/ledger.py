"""What is known of a step's attempts and checkpoints: one small file of its work folder,
replaced in one step at every change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from volant.training.files import write_over

_FOLDER = ".checkpoints"
_FILE = "ledger.json"

PREEMPTED = "preempted"
VANISHED = "vanished"  # the platform ended with it, so nobody saw how
LOST = frozenset({PREEMPTED, VANISHED})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`files` holds the SHA-256 of each file by relative path, `links` relative links.
    `work_s`: seconds of work that whoever goes on from it needn't repeat."""

    number: int
    uri: str
    files: Mapping[str, str]
    links: Mapping[str, str]
    bytes: int
    attempt: int
    work_s: float
    saved_at: float  # Unix time


@dataclass(frozen=True, slots=True)
class Attempt:
    """One life of the step's process. `ended`: how, in one word; None while it lives.
    `resumed_from` and `saved` are numbers of checkpoints, `spared_s` the work in the first."""

    attempt: int
    started_at: float  # Unix time
    took_s: float = 0.0
    ended: str | None = None
    resumed_from: int | None = None
    spared_s: float = 0.0
    saved: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """`next_number` never falls, so that no checkpoint gets the number of another."""

    checkpoints: tuple[Checkpoint, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    next_number: int = 1

    @classmethod
    def read(cls, workdir: Path) -> Ledger:
        """An empty one where there is none, or none that can be read: then no checkpoint
        is known to be whole."""
        try:
            body: dict[str, Any] = json.loads((folder_of(workdir) / _FILE).read_text("utf-8"))
            return cls(
                tuple(Checkpoint(**each) for each in body["checkpoints"]),
                tuple(Attempt(**each) for each in body["attempts"]),
                int(body["next_number"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, workdir: Path) -> None:
        """Replace the file. Raises `ResourceExhausted` on a full disk."""
        text = json.dumps(asdict(self))
        path = folder_of(workdir) / _FILE
        write_over(path, lambda draft: draft.write_text(text, encoding="utf-8"))

    def begun(self, attempt: Attempt) -> Ledger:
        """With one more attempt; an earlier one whose end nobody saw has vanished."""
        before = tuple(
            each if each.ended else replace(each, ended=VANISHED) for each in self.attempts
        )
        return replace(self, attempts=(*before, attempt))

    def with_last(self, **changes: Any) -> Ledger:
        """The newest attempt changed."""
        if not self.attempts:
            return self
        *before, last = self.attempts
        return replace(self, attempts=(*before, replace(last, **changes)))

    def lasted_until(self, at: float) -> float:
        """Seconds from the newest attempt's start to the Unix time `at`."""
        return max(0.0, at - self.attempts[-1].started_at) if self.attempts else 0.0

    def summary(self, price_per_hour: float | None = None) -> dict[str, Any] | None:
        """The attempts, for people; None when the first one did it all.

        `spared_s` is the work in the checkpoint that the newest attempt went on from: what
        it would have done again, had it begun anew. Those before it add nothing: that work
        holds what their checkpoints held, and a checkpoint that two went on from is one
        piece of work. `spared_cost` is that times the price.
        """
        if len(self.attempts) < 2:
            return None
        spared_s = self.attempts[-1].spared_s
        found: dict[str, Any] = {
            "attempts": [_told(each) for each in self.attempts],
            "preemptions": sum(each.ended in LOST for each in self.attempts),
            "spared_s": round(spared_s, 3),
        }
        if price_per_hour is not None:
            found["price_per_hour"] = price_per_hour
            found["spared_cost"] = round(spared_s / 3600 * price_per_hour, 6)
        return found


def _told(attempt: Attempt) -> dict[str, Any]:
    told = asdict(attempt)
    told["took_s"], told["spared_s"] = round(attempt.took_s, 3), round(attempt.spared_s, 3)
    return told


def folder_of(workdir: Path) -> Path:
    """Where a step's work folder holds what is known of its checkpoints."""
    return workdir / _FOLDER
