"""DBOS' queue workers, woken at once by what this process enqueues.

A queue worker of DBOS sleeps between polls on its stop event. We run the same worker
with a stop event of ours whose sleep ends early when woken: a run starts within
milliseconds, and polling can be as slow as idling should be cheap.
"""

from __future__ import annotations

import threading
from copy import copy
from typing import cast

from dbos import DBOS
from dbos._queue import Queue, queue_worker_thread


class Alarm(threading.Event):
    """A stop event whose `wait` also ends, with False, when `wake` is called."""

    def __init__(self) -> None:
        super().__init__()
        self._woken = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until stopped, woken, or `timeout` seconds have gone; True when stopped."""
        self._woken.wait(timeout)
        self._woken.clear()
        return self.is_set()

    def set(self) -> None:
        """Stop for good."""
        super().set()
        self._woken.set()

    def wake(self) -> None:
        """End the present or the next sleep."""
        self._woken.set()


def internal_queue(dbos: DBOS) -> Queue:
    """The queue that DBOS puts recovered and resumed workflows on. DBOS polls it once a
    second; a worker of ours beside DBOS' own looks at it when woken only."""
    queue = copy(dbos._registry.get_internal_queue())  # pyright: ignore[reportPrivateUsage]
    queue._polling_interval_sec = 3600.0  # pyright: ignore[reportPrivateUsage]
    return queue


class QueueWorker:
    """One thread that starts what is enqueued on one queue."""

    def __init__(self, dbos: DBOS, queue: Queue) -> None:
        self._alarm = Alarm()
        self._thread = threading.Thread(
            target=queue_worker_thread,
            args=(cast("threading.Event", self._alarm), dbos, queue),
            name=f"volant-queue-{queue.name}",
            daemon=True,
        )

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now."""
        self._alarm.wake()

    def stop(self) -> None:
        """Claim nothing any more; returns when the thread has ended."""
        self._alarm.set()
        self._thread.join(10)
