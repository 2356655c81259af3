"""From stored events to started runs: at least once read, exactly once effective.

An event stays pending until everything it asks for has been done. All that is done
on the way is keyed by (event, trigger), so a crash at any point and a second reading
repeat nothing.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.event import CRON_FIRED, DATASET_COMMITTED, DATASET_REJECTED, Event
from volant.domain.trigger import Firing, Trigger
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    VolantError,
)
from volant.faults import crash_point
from volant.ports.clock import Clock
from volant.ports.records import DecisionRecords, EventRecords, TriggerRecords

Start = Callable[[Trigger, Event, str], object]
"""Starts the trigger's loop for the event as the run with this id. Called again with
the same id, it must change nothing. Raises a `VolantError` when it can't."""

Ignore = Callable[[Trigger, Event], str | None]
"""Why this trigger shall not start anything for this event, or None."""

MAX_ATTEMPTS = 8
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_BATCH = 100
_HOPELESS = (InvalidInput, NotFound, Conflict, PermissionDenied)  # trying again won't help

log = logging.getLogger(__name__)


def run_id_of(event_id: str, trigger_id: str) -> str:
    """The id of the run that this event starts through this trigger."""
    return f"run-{_digest(event_id, trigger_id)[:24]}"


def decision_id_of(event_id: str, trigger_id: str, outcome: str = "") -> str:
    return f"dec-{_digest(event_id, trigger_id, outcome)[:24]}"


def _digest(*parts: str) -> str:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def never(trigger: Trigger, event: Event) -> str | None:
    """The `Ignore` that ignores nothing."""
    return None


@dataclass(slots=True)
class _Trouble:
    """An event that couldn't be finished: in memory only, so a restart tries anew."""

    attempts: int = 0
    not_before: float = 0.0
    done: set[str] = field(default_factory=set[str])  # triggers that need nothing more


class Dispatcher:
    """Takes pending events, oldest first, and starts what their triggers ask for.

    Args:
        events: The outbox.
        triggers: Who listens.
        decisions: Where a start that failed for good is told.
        start: Starts a run; see `Start`.
        clock: For the times of decisions.
        ignore: See `Ignore`.
        effects: What else an event of a type asks for: done at least once, and again after
            an error, so doing it twice must change nothing.
        poll_s: Seconds between looks at the outbox when nobody calls `wake`.
        monotonic: Seconds for the waits between attempts.
    """

    def __init__(
        self,
        *,
        events: EventRecords,
        triggers: TriggerRecords,
        decisions: DecisionRecords,
        start: Start,
        clock: Clock,
        ignore: Ignore = never,
        effects: Mapping[str, Callable[[Event], None]] | None = None,
        poll_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._triggers = triggers
        self._decisions = decisions
        self._start_run = start
        self._clock = clock
        self._ignore = ignore
        self._effects = dict(effects or {})
        self._poll_s = poll_s
        self._monotonic = monotonic
        self._troubles: dict[str, _Trouble] = {}
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin dispatching on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the outbox now. Cheap; from any thread."""
        self._woken.set()

    def close(self) -> None:
        """Finish the event in hand, then stop."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.clear()  # before looking: an event that comes meanwhile wakes again
            try:
                dispatched = self.dispatch_pending()
            except VolantError as error:
                log.warning("The outbox can't be read now: %s", error)
                dispatched = 0
            except Exception:
                log.exception("Dispatching events failed; it goes on.")
                dispatched = 0
            if dispatched == 0 or (dispatched < _BATCH and not self._troubles):
                self._woken.wait(self._poll_s)

    def dispatch_pending(self) -> int:
        """Handle the events that are pending now; returns how many were finished."""
        finished = 0
        for event in self._events.pending(_BATCH + len(self._troubles)):
            if self._stopped.is_set():
                break
            trouble = self._troubles.get(event.id)
            if trouble is not None and trouble.not_before > self._monotonic():
                continue
            if self._dispatch(event):
                self._events.mark_dispatched(event.id)
                self._troubles.pop(event.id, None)
                finished += 1
        return finished

    def _dispatch(self, event: Event) -> bool:
        """Do all that `event` asks for; False when some of it must be tried again."""
        trouble = self._troubles.get(event.id)
        done = trouble.done if trouble else set[str]()
        if event.type in self._effects and not self._had_effect(event):
            return False
        failures: list[tuple[Trigger, Exception]] = []
        for trigger in self._listeners(event):
            if trigger.id in done:
                continue
            try:
                self._fire(trigger, event)
            except Exception as error:  # whatever it was, other loops and events go on
                failures.append((trigger, error))
            else:
                done.add(trigger.id)
        if not failures:
            return True
        return self._failed(event, failures, done)

    def _had_effect(self, event: Event) -> bool:
        """False when it shall be tried again: what an event asks for is never given up."""
        try:
            self._effects[event.type](event)
        except Exception as error:
            trouble = self._troubles.setdefault(event.id, _Trouble())
            trouble.attempts += 1
            log.warning("Event %s (%s) failed: %s", event.id, event.type, error)
            wait = min(_FIRST_WAIT_S * 2 ** (trouble.attempts - 1), _LONGEST_WAIT_S)
            trouble.not_before = self._monotonic() + wait
            return False
        return True

    def _listeners(self, event: Event) -> Sequence[Trigger]:
        if event.type in {DATASET_COMMITTED, DATASET_REJECTED}:
            return self._triggers.for_dataset(_dataset_of(event))
        if event.type == CRON_FIRED:
            wanted = event.data.get("trigger")
            loop = str(event.data.get("loop", ""))
            return [t for t in self._triggers.list(loop) if t.id == wanted]
        return ()

    def _fire(self, trigger: Trigger, event: Event) -> None:
        run_id = run_id_of(event.id, trigger.id)
        if self._decide(trigger, event, run_id) is not Outcome.FIRED:
            return
        crash_point("events.fired")
        self._start_run(trigger, event, run_id)
        crash_point("events.started")

    def _decide(self, trigger: Trigger, event: Event, run_id: str) -> Outcome:
        """Record what becomes of this meeting, once: a verdict that is stored stands,
        even if it would be another one now. One that says `fired` doesn't tell whether
        the run was started, so it is started again, which changes nothing."""
        reason = self._why_ignored(trigger, event)
        if reason is not None:
            stored = self._record(trigger, event, None, Outcome.IGNORED, reason)
        else:
            stored = self._record(trigger, event, run_id, Outcome.FIRED, _reason(trigger, event))
        if stored:
            return Outcome.IGNORED if reason is not None else Outcome.FIRED
        return self._decisions.get(decision_id_of(event.id, trigger.id)).outcome

    def _why_ignored(self, trigger: Trigger, event: Event) -> str | None:
        if event.type == DATASET_REJECTED:
            why = str(event.data.get("reason") or "no row was good").rstrip(".")
            return f"The push to {_dataset_of(event)} was rejected: {why}."
        if event.type == DATASET_COMMITTED and event.data.get("rows_added") == 0:
            return f"The push to {_dataset_of(event)} added no rows."
        return self._ignore(trigger, event)

    def _record(
        self, trigger: Trigger, event: Event, run_id: str | None, outcome: Outcome, reason: str
    ) -> bool:
        now = self._clock.now()
        firing = Firing(event.id, trigger.id, run_id, reason, now)
        decision = Decision(
            id=decision_id_of(event.id, trigger.id),
            kind=DecisionKind.TRIGGER,
            subject=f"loop/{trigger.loop}",
            outcome=outcome,
            reason=reason,
            time=now,
            loop=trigger.loop,
            run_id=run_id,
            event_id=event.id,
            details={"trigger": trigger.id, "kind": trigger.kind, "event_type": event.type},
        )
        return self._triggers.fire(firing, decision)

    def _failed(
        self, event: Event, failures: list[tuple[Trigger, Exception]], done: set[str]
    ) -> bool:
        trouble = self._troubles.setdefault(event.id, _Trouble())
        trouble.done = done
        trouble.attempts += 1
        for trigger, error in failures:
            last = isinstance(error, _HOPELESS) or trouble.attempts >= MAX_ATTEMPTS
            log.warning(
                "Event %s could not start loop %s (attempt %d): %s",
                event.id,
                trigger.loop,
                trouble.attempts,
                error,
                exc_info=None if isinstance(error, VolantError) else error,
            )
            if last:
                self._give_up(trigger, event, error, trouble.attempts)
                done.add(trigger.id)
        if all(trigger.id in done for trigger, _ in failures):
            return True
        wait = min(_FIRST_WAIT_S * 2 ** (trouble.attempts - 1), _LONGEST_WAIT_S)
        trouble.not_before = self._monotonic() + wait
        return False

    def _give_up(self, trigger: Trigger, event: Event, error: Exception, attempts: int) -> None:
        told = error.to_dict() if isinstance(error, VolantError) else {"what": _of(error)}
        tries = "once" if attempts == 1 else f"{attempts} times"
        self._decisions.record(
            Decision(
                id=decision_id_of(event.id, trigger.id, "failed"),
                kind=DecisionKind.TRIGGER,
                subject=f"loop/{trigger.loop}",
                outcome=Outcome.FAILED,
                reason=f"The run could not be started, tried {tries}: {told['what']}",
                time=self._clock.now(),
                loop=trigger.loop,
                run_id=run_id_of(event.id, trigger.id),
                event_id=event.id,
                details={"trigger": trigger.id, "attempts": attempts, "error": told},
            )
        )


def _of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _dataset_of(event: Event) -> str:
    return str(event.data.get("dataset") or event.subject.removeprefix("dataset/"))


def _reason(trigger: Trigger, event: Event) -> str:
    if event.type == CRON_FIRED:
        return f"The schedule {trigger.cron!r} was due at {event.data.get('due', event.time)}."
    version, rows = event.data.get("version"), event.data.get("rows_added")
    added = f" with {rows} new rows" if rows is not None else ""
    numbered = f" version {version}" if version is not None else " a new version"
    return f"The dataset {_dataset_of(event)} got{numbered}{added}."
