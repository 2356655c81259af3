"""Which runs may go: old ones that nothing needs any more.

What goes with a run: its row, its work folder with the logs, and what the engine keeps of
it. The row goes in one transaction with an event; whoever handles the event removes the
rest, again after a crash, so nothing is left over and nothing is half gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from volant.domain.event import RUNS_DELETED, Event
from volant.domain.run import TERMINAL, Run, RunState
from volant.errors import InvalidInput
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.ports.records import RunRecords
from volant.workflows.desk import RunDesk

_PAGE = 200


@dataclass(frozen=True, slots=True)
class KeptRun:
    """One run and why it stays; `reason` is None for one that goes, and `done` once it is
    gone."""

    run: str
    of: str
    status: str
    created_at: datetime
    reason: str | None
    done: bool = False


class RunRetention:
    """Args:
    runs: The stored runs.
    desk: Their states and folders.
    """

    def __init__(
        self,
        runs: RunRecords,
        desk: RunDesk,
        *,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._runs = runs
        self._desk = desk
        self._clock = clock
        self._ids = ids

    def prune(
        self,
        *,
        keep: int | None = None,
        older_than_s: float | None = None,
        apply: bool = False,
    ) -> list[KeptRun]:
        """What goes and what stays, newest first; with `apply` it is done.

        Args:
            keep: How many of the newest runs of each workflow stay.
            older_than_s: Only runs that are older than this, in seconds, go.

        Raises `InvalidInput` when neither is given, or one of them is out of range.
        """
        _check(keep, older_than_s)
        found = list(self._all())
        reasons = self._reasons(found, keep, older_than_s)
        told = [
            KeptRun(
                run.id,
                run.loop or run.workflow.name,
                state.status.value,
                run.created_at,
                reasons.get(run.id),
            )
            for run, state in found
        ]
        return self._applied(told) if apply else told

    def _all(self) -> Iterator[tuple[Run, RunState]]:
        cursor: str | None = None
        while True:
            page, cursor = self._desk.page(_PAGE, cursor)
            yield from page
            if cursor is None:
                return

    def _reasons(
        self,
        found: Sequence[tuple[Run, RunState]],
        keep: int | None,
        older_than_s: float | None,
    ) -> dict[str, str]:
        now = self._clock.now()
        makers = self._runs.makers([run.id for run, _ in found])
        reasons: dict[str, str] = {}
        seen: dict[str, int] = {}
        for run, state in found:
            of = run.loop or run.workflow.name
            seen[of] = seen.get(of, 0) + 1
            if state.status not in TERMINAL:
                reasons[run.id] = f"it is {state.status.value}"
            elif keep is not None and seen[of] <= keep:
                reasons[run.id] = "it is among the newest"
            elif older_than_s is not None and now - run.created_at < timedelta(
                seconds=older_than_s
            ):
                reasons[run.id] = "it isn't that old"
            elif run.id in makers:
                reasons[run.id] = f"it made {makers[run.id]}"
        _keep_sources(found, reasons)
        return reasons

    def _applied(self, planned: Sequence[KeptRun]) -> list[KeptRun]:
        """One transaction for each page of runs, the oldest first."""
        going = [one.run for one in reversed(planned) if one.reason is None]
        gone: set[str] = set()
        for start in range(0, len(going), _PAGE):
            gone |= set(self._delete(going[start : start + _PAGE]))
        return [
            replace(one, done=True)
            if one.run in gone
            else one
            if one.reason is not None
            else replace(one, reason="it came into use")
            for one in planned
        ]

    def _delete(self, run_ids: Sequence[str]) -> Sequence[str]:
        event = Event(
            id=self._ids.new("evt"),
            type=RUNS_DELETED,
            source="volant/workflows",
            subject="runs",
            time=self._clock.now(),
        )
        gone = self._runs.delete(run_ids, event)
        crash_point("runs.deleted")
        return gone

    def forget(self, event: Event) -> None:
        """Remove what is left of runs whose rows are gone; again, it does nothing."""
        run_ids = [str(each) for each in event.data["runs"]]
        for run_id in run_ids:
            shutil.rmtree(self._desk.folder(run_id), ignore_errors=True)
        crash_point("runs.emptied")
        self._desk.forget(run_ids)


def _check(keep: int | None, older_than_s: float | None) -> None:
    if keep is None and older_than_s is None:
        raise InvalidInput(
            "Nothing says which runs may go.",
            "Give how many of each workflow stay (--keep 20), an age (--older-than 30d), or both.",
        )
    if keep is not None and keep < 1:
        raise InvalidInput(f"keep {keep} can't be.", "Keep at least the newest run of each.")
    if older_than_s is not None and older_than_s < 0:
        raise InvalidInput("An age can't be negative.", "Give one like 30d.")


def _keep_sources(found: Sequence[tuple[Run, RunState]], reasons: dict[str, str]) -> None:
    """A run whose outputs a kept one took over stays with it."""
    by_id = {run.id: (run, state) for run, state in found}
    waiting = list(reasons)
    while waiting:
        user, state = by_id[waiting.pop()]
        sources = {user.retry_of, *(step.cached for step in state.steps)} & by_id.keys()
        for source in sources:
            if source is not None and source not in reasons:
                reasons[source] = f"run {user.id} took over what it did"
                waiting.append(source)
