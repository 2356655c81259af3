"""A replica's own counters: the one writer of its row in the deployment's map."""

from __future__ import annotations

import contextlib
import mmap
import os
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from volant.serving.counter_map import (
    BATCHES,
    BYTES_IN,
    BYTES_OUT,
    COPIED,
    COPY_ERRORS,
    COPY_REFUSED,
    COPY_US,
    ERRORS,
    HEADER,
    LATENCY,
    LATENCY_US,
    LOST,
    PID,
    PREDICT,
    PREDICT_US,
    REFUSED,
    REPLICAS_AT,
    ROUTE_WORDS,
    ROUTES,
    ROUTES_AT,
    ROW,
    ROWS,
    SIZE,
    TAKEN,
    WAITING,
    WAITING_END,
    blank,
    opened,
    told,
)
from volant.serving.latency import BOUNDS_US
from volant.serving.snapshot import Snapshot


class Counters:
    """One replica's row: the writer's end. Every method is a few stores to memory."""

    __slots__ = ("_free", "_map", "_routes", "_words", "shared")

    def __init__(self, memory: mmap.mmap, row: int, *, shared: bool) -> None:
        self._map = memory
        at = 8 * (HEADER + row * ROW)
        self._words = memoryview(memory)[at : at + 8 * ROW].cast("Q")
        self._routes: dict[int, int] = {}
        self._free = list(range(WAITING, WAITING_END))
        self.shared = shared

    @classmethod
    def private(cls) -> Counters:
        """Counters that nobody else sees: for a replica that was given none."""
        own = cls(blank(mmap.mmap(-1, SIZE)), REPLICAS_AT, shared=False)
        own._words[TAKEN], own._words[PID] = 1, os.getpid()
        return own

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Counters:
        """Those of a replica's order (`{"path", "slot"}`), or private ones when there
        are none, or they can't be opened, or are of another layout."""
        if given:
            with contextlib.suppress(OSError, ValueError):
                memory = opened(str(given["path"]))
                own = cls(memory, REPLICAS_AT + int(given["slot"]), shared=True)
                own._words[PID] = os.getpid()
                return own
        return cls.private()

    def waits(self, started: float) -> int:
        """A request came at `started` (`perf_counter`) and waits for its answer. Returns its
        place, for `done`; 0 when too many wait to remember this one."""
        if not self._free:
            return 0
        place = self._free.pop()
        self._words[place] = int(started * 1e6)
        return place

    def done(self, place: int) -> None:
        """The request of that place waits no more."""
        if place:
            self._words[place] = 0
            self._free.append(place)

    def lost(self) -> None:
        """A request ended without an answer, and by no fault of its client."""
        self._words[LOST] += 1

    def answered(self, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """One request got its answer `seconds` after it was here as a whole. A client's
        fault (4xx) is counted, but its time says nothing of the model's."""
        words = self._words
        if 400 <= status < 500:
            words[REFUSED] += 1
        else:
            spent = int(seconds * 1e6)
            words[LATENCY + bisect_left(BOUNDS_US, spent)] += 1
            words[LATENCY_US] += spent
            if status >= 500:
                words[ERRORS] += 1
        words[BYTES_IN] += bytes_in
        words[BYTES_OUT] += bytes_out

    def copied(self, status: int, seconds: float) -> None:
        """As `answered`, for a copy of a request that another revision answered: it is
        nobody's request, but tells how this revision would do."""
        words = self._words
        if 400 <= status < 500:
            words[COPY_REFUSED] += 1
            return
        spent = int(seconds * 1e6)
        words[COPIED + bisect_left(BOUNDS_US, spent)] += 1
        words[COPY_US] += spent
        if status >= 500:
            words[COPY_ERRORS] += 1

    def predicted(self, requests: int, rows: int, seconds: float) -> None:
        """One batch was predicted; each of its requests took `seconds` of the model."""
        words = self._words
        spent = int(seconds * 1e6)
        words[BATCHES] += 1
        words[ROWS] += rows
        words[PREDICT + bisect_left(BOUNDS_US, spent)] += requests
        words[PREDICT_US] += spent * requests

    def set(self, gauge: int, value: int) -> None:
        """`IN_FLIGHT`, `QUEUE_ROWS`, `CONNECTIONS` or `MEMORY` (bytes) is `value` now."""
        self._words[gauge] = value

    def add(self, counter: int, amount: int = 1) -> None:
        self._words[counter] += amount

    def forwarded(self, revision: int) -> None:
        """Another revision answered a request that came here. It counts the request
        itself, with its latency."""
        self._route(revision, 1)

    def unreached(self, revision: int) -> None:
        """A revision should have answered and could not be reached: its error."""
        self._route(revision, 2)

    def shadowed(self, revision: int, *, differs: bool) -> None:
        """A shadow's answer was compared."""
        self._route(revision, 3)
        if differs:
            self._route(revision, 4)

    def dropped(self, revision: int) -> None:
        """A shadow's copy wasn't sent: it is too slow for all of them."""
        self._route(revision, 5)

    def _route(self, revision: int, place: int) -> None:
        at = self._routes.get(revision)
        if at is None:
            # One replica sends to a handful of revisions in its life; those beyond the
            # table share its last entry, under the last one's name.
            at = ROUTES_AT + min(len(self._routes), ROUTES - 1) * ROUTE_WORDS
            self._routes[revision] = at
            self._words[at] = revision
        self._words[at + place] += 1

    def snapshots(self) -> tuple[Mapping[str, int], list[Snapshot]]:
        """The whole deployment's, as `Board.read` tells them; of a private row, its own."""
        return told(self._map)

    def close(self) -> None:
        self._words.release()
        with contextlib.suppress(BufferError):
            self._map.close()
