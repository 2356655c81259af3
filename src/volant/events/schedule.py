"""Cron triggers: five fields, in UTC, at most one firing for any number of missed ticks."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from volant.domain.event import CRON_FIRED, Event
from volant.domain.trigger import Trigger
from volant.errors import InvalidInput, VolantError
from volant.ports.clock import Clock

_SOURCE = "volant/schedule"
_LONGEST_SLEEP_S = 5.0  # so that a changed clock or a new trigger is seen soon

log = logging.getLogger(__name__)


def next_at(cron: str, after: datetime) -> datetime:
    """The first time after `after` (timezone-aware) that `cron` names, in UTC.

    All schedules are in UTC: a local hour may come twice or not at all on the days
    when clocks change. Raises `InvalidInput` for an expression that can't be read or
    never comes due.
    """
    from croniter import CroniterError, croniter

    try:
        found = croniter(cron, after.astimezone(UTC)).get_next(datetime)
    except (CroniterError, ValueError) as error:
        raise InvalidInput(
            f"{cron!r} is no schedule: {error}.",
            'Write five fields: "minute hour day month weekday", like "0 2 * * *".',
        ) from None
    return found.astimezone(UTC)


def event_id_of(trigger_id: str, due: datetime) -> str:
    """One trigger at one due time is one event, whoever sees it first."""
    text = f"{trigger_id} {due.astimezone(UTC).isoformat()}"
    return f"evt-cron-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


class DueTriggers(Protocol):
    """What a schedule needs of the stored triggers; see `TriggerRecords`."""

    def due(self, now: datetime) -> Sequence[Trigger]: ...

    def advance(
        self, trigger_id: str, expected: datetime, next_at: datetime, event: Event
    ) -> bool: ...


class Schedule:
    """Turns cron triggers that have come due into events.

    Args:
        triggers: The stored triggers with their next times.
        clock: The present.
        wake: Called after an event was stored, so that it is dispatched at once.
        noun: What the triggers are of; an event names it so.
    """

    def __init__(
        self,
        *,
        triggers: DueTriggers,
        clock: Clock,
        wake: Callable[[], None],
        noun: str = "loop",
    ) -> None:
        self._noun = noun
        self._triggers = triggers
        self._clock = clock
        self._wake = wake
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Finish the tick in hand, then stop."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.tick()
            except VolantError as error:
                log.warning("The schedule can't be read now: %s", error)
            except Exception:
                log.exception("The schedule failed; it goes on.")
            self._stopped.wait(self._sleep_s())

    def _sleep_s(self) -> float:
        """Up to the next full minute, when the next trigger can come due."""
        now = self._clock.now()
        left = 60.0 - now.second - now.microsecond / 1e6
        return min(left, _LONGEST_SLEEP_S)

    def tick(self) -> int:
        """Fire every trigger that is due, once each; returns how many fired here."""
        now = self._clock.now()
        fired = 0
        for trigger in self._triggers.due(now):
            try:
                fired += self._fire(trigger, now)
            except VolantError as error:
                whose = f"{self._noun} {trigger.loop}"
                log.warning("The schedule of %s did not fire: %s", whose, error)
        if fired:
            self._wake()
        return fired

    def _fire(self, trigger: Trigger, now: datetime) -> bool:
        due = trigger.next_at
        if due is None or trigger.cron is None:
            return False
        event = Event(
            id=event_id_of(trigger.id, due),
            type=CRON_FIRED,
            source=_SOURCE,
            subject=f"{self._noun}/{trigger.loop}",
            time=now,
            data={
                "trigger": trigger.id,
                self._noun: trigger.loop,
                "cron": trigger.cron,
                "due": due.astimezone(UTC).isoformat(),
            },
        )
        # Counted from now, not from `due`: a week of missed nights is one firing.
        return self._triggers.advance(trigger.id, due, next_at(trigger.cron, now), event)
