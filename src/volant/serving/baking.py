"""Where the present step of each rollout began, in time and in its revision's counts.

Kept over an orderly end, as the counts themselves are. After a crash both are gone, and
the step begins anew.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from volant.domain.deployment import Revision
from volant.durable import write_whole
from volant.serving.snapshot import Snapshot

Key = tuple[str, int]  # deployment, revision


@dataclass(frozen=True, slots=True)
class Step:
    """`since` is what the records say of it; `began` is later if it had to begin anew."""

    since: datetime | None
    began: datetime
    before: Snapshot


class Baking:
    """One thread uses it.

    Args:
        kept: The file between an orderly end and the next start; None: there is none.
    """

    def __init__(self, kept: Path | None = None) -> None:
        self._kept = kept
        self._steps: dict[Key, Step] = {}
        self._taken_up: dict[Key, dict[str, Any]] = {}
        if kept is not None:
            # What can't be read, or is of another version of ours, begins anew.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads(kept.read_text())
                self._taken_up = {(one["deployment"], one["revision"]): one for one in found}
            with contextlib.suppress(OSError):
                kept.unlink()  # a crash from here on must not find it

    def begin(self, key: Key, now: datetime, counted: Snapshot) -> None:
        """A step begins now, with so much counted."""
        self._steps[key] = Step(now, now, counted)

    def of(self, revision: Revision, now: datetime, counted: Snapshot) -> Step:
        """The revision's present step; it begins now if nothing is known of it."""
        key = (revision.deployment, revision.number)
        known = self._steps.get(key)
        if known is None or known.since != revision.since:
            known = _again(self._taken_up.pop(key, None), revision, now, counted)
            self._steps[key] = known = known or Step(revision.since, now, counted)
        return known

    def forget(self, key: Key) -> None:
        self._steps.pop(key, None)

    def keep_only(self, going: Iterable[Key]) -> None:
        """Forget the others: somebody else ended their steps."""
        if self._steps:
            self._steps = {key: self._steps[key] for key in going if key in self._steps}

    def keep(self, now: datetime, measure: Callable[[str, int], Snapshot]) -> None:
        """Store what the next start needs. `measure` tells what a revision has counted."""
        if self._kept is None or not self._steps:
            return
        found = [
            {
                "deployment": deployment,
                "revision": number,
                "since": step.since.isoformat() if step.since else None,
                "baked_s": (now - step.began).total_seconds(),
                "before": asdict(step.before),
                "answered": measure(deployment, number).answered,
            }
            for (deployment, number), step in self._steps.items()
        ]
        with contextlib.suppress(OSError):  # then the steps begin anew
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._kept, json.dumps(found), lasting=False)


def _again(
    kept: dict[str, Any] | None, revision: Revision, now: datetime, counted: Snapshot
) -> Step | None:
    """The step as it was kept; None if it is another one, or if its counts are lost."""
    if kept is None or revision.since is None or kept.get("since") != revision.since.isoformat():
        return None
    try:
        plain: Mapping[str, Any] = kept["before"]
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        before = Snapshot(**fields)
        if counted.answered < int(kept["answered"]):
            return None
        began = now - timedelta(seconds=float(kept["baked_s"]))
    except (KeyError, TypeError, ValueError):
        return None
    return Step(revision.since, began, before)
