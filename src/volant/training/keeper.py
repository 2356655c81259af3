"""Keeps a step's checkpoints while its process runs.

It works in the control plane, not in the step's process, so that the last state is stored
even when that process was killed. A thread looks at the checkpoint folder now and then; what
it finds changed, at rest, and open for writing by nobody, it stores. A program that asks for
a checkpoint itself (`volant.training.checkpoint()`) gets just those that it asks for: it
knows better when its files belong together.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volant.domain.job import JobResult, JobStatus
from volant.errors import VolantError
from volant.training.checkpoints import (
    Checkpoints,
    Place,
    Restored,
    Stamp,
    Unsettled,
    settled,
    stamp,
)
from volant.training.ledger import PREEMPTED, Attempt, Ledger
from volant.training.preemption import ANSWERS, WISHES, WISHES_VARIABLE

EVERY_S = 10.0
LOOK_S = 1.0
_TRIES = 20  # of a checkpoint that was asked for while a file is still being closed
_TRY_S = 0.05

log = logging.getLogger(__name__)


class Keeper:
    """Watches attempts.

    Args:
        checkpoints: Stores and restores.
        every_s: The least time between two checkpoints that nobody asked for.
        look_s: How often it looks for a change.
        price_per_hour: Of the machine, to tell what was spared; None: nothing is told.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        *,
        every_s: float = EVERY_S,
        look_s: float = LOOK_S,
        price_per_hour: float | None = None,
    ) -> None:
        self.checkpoints = checkpoints
        self.every_s = every_s
        self.look_s = min(look_s, every_s)
        self._price_per_hour = price_per_hour

    @contextmanager
    def watch(self, place: Place, attempt: int, before: Sequence[Path] = ()) -> Generator[Watch]:
        """Restore the newest sound checkpoint, then keep new ones until the block ends.

        `before`: see `Checkpoints.restore`. Raises `ResourceExhausted` on a full disk.
        """
        restored = self.checkpoints.restore(place, before)
        watch = Watch(self, place, attempt, restored)
        watch.start()
        try:
            yield watch
        finally:
            watch.stop()

    def summary(self, workdir: Path) -> dict[str, Any] | None:
        """See `Ledger.summary`."""
        return Ledger.read(workdir).summary(self._price_per_hour)


class Watch:
    """One attempt under watch. `environment` is for its process."""

    def __init__(self, keeper: Keeper, place: Place, attempt: int, restored: Restored) -> None:
        self._keeper = keeper
        self._place = place
        self._attempt = attempt
        self._spared_s = restored.checkpoint.work_s if restored.checkpoint else 0.0
        self._began = time.monotonic()
        self._last = self._began
        self._asked = False  # the program says itself when
        self._stored: Stamp = stamp(place.folder)
        self._seen: Stamp = self._stored
        self._resting = False  # nobody was writing when it was seen
        self._whole: Stamp = self._stored  # as it was when nobody was writing
        self._begin(restored)
        self._wishes = self._open_wishes()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="volant-checkpoints", daemon=True)
        self.environment: Mapping[str, str] = {
            WISHES_VARIABLE: str(place.control / WISHES),
        }

    def _begin(self, restored: Restored) -> None:
        found = restored.checkpoint
        for number in restored.damaged:
            self._note(f"Checkpoint {number} is damaged; the one before is taken.")
        if found is not None:
            self._note(
                f"Resumed from checkpoint {found.number}: {found.work_s:.1f} s of work needn't"
                " be repeated."
            )
        attempt = Attempt(
            self._attempt,
            time.time(),
            resumed_from=found.number if found else None,
            spared_s=self._spared_s,
        )
        workdir = self._place.workdir
        Ledger.read(workdir).begun(attempt).write(workdir)

    def _open_wishes(self) -> int:
        shutil.rmtree(self._place.control / ANSWERS, ignore_errors=True)
        (self._place.control / ANSWERS).mkdir(parents=True)
        path = self._place.control / WISHES
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # Open for both, so that it never comes to an end when a writer leaves.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; may be called again."""
        if self._thread.is_alive():
            os.eventfd_write(self._end, 1)
            self._thread.join()
        for descriptor in (self._wishes, self._end):
            if descriptor >= 0:
                os.close(descriptor)
        self._wishes = self._end = -1
        (self._place.control / WISHES).unlink(missing_ok=True)

    def ended(self, result: JobResult) -> Mapping[str, Any]:
        """The process has ended: store its last state if it is whole, and write down how it
        ended. Returns {progress: a checkpoint was stored in this attempt, survived: the
        `Ledger.summary` or None}."""
        self.stop()
        if result.status is not JobStatus.SUCCEEDED and not self._asked:
            now = stamp(self._place.folder)
            closed = result.exit_code is not None and result.exit_code >= 0
            if now != self._stored and (closed or now == self._whole):
                self._take()
        how = PREEMPTED if result.status is JobStatus.LOST else result.status.value
        took_s = time.monotonic() - self._began
        ledger = Ledger.read(self._place.workdir).with_last(ended=how, took_s=took_s)
        ledger.write(self._place.workdir)
        return {
            "progress": ledger.attempts[-1].saved is not None,
            "survived": self._keeper.summary(self._place.workdir),
        }

    # the thread

    def _run(self) -> None:
        wait = select.poll()
        wait.register(self._end, select.POLLIN)
        wait.register(self._wishes, select.POLLIN)
        while True:
            ready = {fd for fd, _ in wait.poll(self._keeper.look_s * 1000)}
            try:
                if self._wishes in ready:
                    self._grant()
                if self._end in ready:
                    return
                if not ready:
                    self._look()
            except Exception:  # a defect, or a disk that went away: training goes on
                log.exception("checkpoints of %s", self._place.workdir)

    def _grant(self) -> None:
        for token in os.read(self._wishes, 4096).decode("ascii", "replace").split():
            if not token.isalnum():
                continue
            self._asked = True
            answer: dict[str, Any] = {}
            for _ in range(_TRIES):
                answer = self._take()
                if not answer.get("again"):
                    break
                time.sleep(_TRY_S)
            path = self._place.control / ANSWERS / token
            draft = path.with_suffix(".tmp")
            draft.write_text(json.dumps(answer))
            draft.rename(path)

    def _look(self) -> None:
        if self._asked:
            return
        now = stamp(self._place.folder)
        before, self._seen = self._seen, now
        rested, self._resting = self._resting, False
        if now == self._stored or not now:
            return
        with contextlib.suppress(FileNotFoundError):
            self._resting = settled(self._place.folder) and stamp(self._place.folder) == now
        # Twice: a writer that was just killed has closed its files too, half-written, and
        # its end is told before the second look.
        if before == now and rested and self._resting:
            self._whole = now
        due = time.monotonic() - self._last >= self._keeper.every_s
        if due and now == self._whole:
            self._take()

    def _take(self) -> dict[str, Any]:
        """Store the folder. {number} when it is, {error} when it can't be, and {again}
        beside it when that may be different in a moment."""
        now = stamp(self._place.folder)
        work_s = self._spared_s + time.monotonic() - self._began
        try:
            made = self._keeper.checkpoints.take(self._place, self._attempt, work_s, time.time())
        except Unsettled as problem:
            return {"error": f"The checkpoint isn't at rest: {problem}", "again": True}
        except VolantError as error:
            self._note(f"No checkpoint could be stored: {error}")
            return {"error": str(error)}
        self._stored, self._last = now, time.monotonic()
        if made is None:
            return {"error": "There is no file in the checkpoint folder."}
        self._note(f"Checkpoint {made.number} is stored: {made.bytes} bytes.")
        return {"number": made.number}

    def _note(self, text: str) -> None:
        """A line in the step's log."""
        row = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "stream": "volant",
            "text": text,
        }
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        with contextlib.suppress(OSError):
            path = self._place.workdir / "log.jsonl"
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
