"""The owner's end of a deployment's counters: rows for replicas, totals for revisions."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.durable import whole
from volant.serving.counter_map import (
    BYTES_IN,
    BYTES_OUT,
    COLD_STARTS,
    COPIED,
    COPIED_END,
    COPY_ERRORS,
    COPY_REFUSED,
    COPY_US,
    CPU_US,
    ERRORS,
    FIRST,
    GENERATION,
    HEADER,
    IN_FLIGHT,
    LAST,
    LATENCY,
    LOSSES,
    LOST,
    MEMORY,
    OWN,
    PID,
    PREDICT,
    QUEUE_ROWS,
    REFUSED,
    REPLICAS,
    REPLICAS_AT,
    REPLICAS_END,
    REVISION,
    ROUTE_WORDS,
    ROUTED,
    ROUTES_AT,
    ROW,
    SIZE,
    TAKEN,
    TOTALS,
    TOTALS_END,
    VERSION,
    blank,
    copied,
    is_ours,
    row_at,
    told,
)
from volant.serving.snapshot import Snapshot

# What grows in a replica's row whenever it answers.
_PULSE = (BYTES_IN, BYTES_OUT, COPY_US, COPY_REFUSED, LOST)


@dataclass(frozen=True, slots=True)
class Place:
    """A replica's row: what it is told, and what the board needs to free it."""

    path: str
    slot: int

    def message(self) -> dict[str, Any]:
        return {"path": self.path, "slot": self.slot}


class Board:
    """The owner's end of one deployment's map. Only one thread may write through it
    (`assign`, `release`, `add`, …); any thread may `read`.

    Args:
        kept: Where the totals of an orderly end are; the file is taken, and is there
            again after `keep`. What isn't of this layout is left out.
    """

    def __init__(self, kept: Path | None = None) -> None:
        self._fd = os.memfd_create("volant-counters", os.MFD_CLOEXEC)
        os.ftruncate(self._fd, SIZE)
        self._map = blank(mmap.mmap(self._fd, SIZE))
        self._words = memoryview(self._map).cast("Q")
        self._kept = kept
        self._closed = False
        self._lock = threading.Lock()  # a reader mustn't find the map closed
        if kept is not None:
            self._take_up(kept)
        self.taken_up = told(self._map)  # as `read`: what an earlier start counted

    @property
    def path(self) -> str:
        """What a process of the same user opens."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def assign(self, revision: int, version: int) -> Place | None:
        """A row for a new replica; None when too many run."""
        words = self._words
        for slot in range(REPLICAS):
            at = row_at(REPLICAS_AT + slot)
            if not words[at + TAKEN]:
                words[at + REVISION] = revision
                words[at + VERSION] = version
                words[at + TAKEN] = 1
                words[REPLICAS_END] = max(words[REPLICAS_END], REPLICAS_AT + slot + 1)
                return Place(self.path, slot)
        return None

    def release(self, place: Place, *, cut: bool = False) -> None:
        """Its replica has ended: add what it counted to its revision's, and free it. `cut`:
        the requests that it hadn't answered are lost with it."""
        words = self._words
        at = row_at(REPLICAS_AT + place.slot)
        if not words[at + TAKEN]:
            return
        with self._changing():
            total = self._total(words[at + REVISION], words[at + VERSION])
            if cut:
                words[at + LOST] += words[at + IN_FLIGHT]
            _add(words, at, total)
            for route in range(at + ROUTES_AT, at + LATENCY, ROUTE_WORDS):
                if words[route]:
                    target = self._total(words[route], 0)
                    for place_in, counter in enumerate(ROUTED, 1):
                        words[target + counter] += words[route + place_in]
            _clear(words, at)

    def lose(self, revision: int, version: int, requests: int) -> None:
        """So many requests to that revision found no replica to answer them."""
        with self._changing():
            self._words[self._total(revision, version) + LOST] += requests

    def add(self, counter: int, amount: int = 1) -> None:
        """To the fleet's own row."""
        self._words[row_at(OWN) + counter] += amount

    def set(self, counter: int, value: int) -> None:
        """In the fleet's own row."""
        self._words[row_at(OWN) + counter] = value

    def read(self) -> tuple[Mapping[str, int], list[Snapshot]]:
        """What the fleet counted, by name, and one snapshot for each revision that has
        counted anything or runs, by number. The one numbered 0 adds up the oldest."""
        with self._lock:
            return ({}, []) if self._closed else told(self._map)

    def pulse(self) -> tuple[int, ...]:
        """Changes whenever something was counted: cheaper than reading it all."""
        with self._lock:
            if self._closed:
                return ()
            words = self._words
            rows = range(row_at(REPLICAS_AT), row_at(words[REPLICAS_END]), ROW)
            own = row_at(OWN)
            return (
                words[GENERATION],
                words[own + COLD_STARTS],
                words[own + LOSSES],
                *(words[at + word] for at in rows for word in _PULSE),
                *(word for at in rows for word in words[at + ROUTES_AT : at + LATENCY]),
            )

    def replicas(self) -> Mapping[int, Mapping[str, Any]]:
        """Each running replica that has opened its row, by pid: revision, requests and
        errors (a shadow's copies are its), in_flight, queue_rows, memory_bytes, cpu_s."""
        with self._lock:
            rows = [] if self._closed else copied(self._map)[1]
        return {
            row[PID]: {
                "revision": row[REVISION],
                "requests": sum(row[LATENCY:PREDICT])
                + sum(row[COPIED:COPIED_END])
                + row[REFUSED]
                + row[LOST]
                + row[COPY_REFUSED],
                "errors": row[ERRORS] + row[LOST] + row[COPY_ERRORS],
                "in_flight": row[IN_FLIGHT],
                "queue_rows": row[QUEUE_ROWS],
                "memory_bytes": row[MEMORY],
                "cpu_s": round(row[CPU_US] / 1e6, 3),
            }
            for row in rows
            if row[TAKEN] and row[PID]
        }

    def keep(self) -> None:
        """Store the totals for the next start. Call it when no replica runs."""
        if self._kept is None:
            return
        end = 8 * row_at(self._words[TOTALS_END])
        with contextlib.suppress(OSError):  # then they start at zero
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with whole(self._kept, lasting=False) as draft:
                draft.write_bytes(self._map[:end])

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._words.release()
            self._map.close()
            os.close(self._fd)

    def _take_up(self, kept: Path) -> None:
        try:
            data = kept.read_bytes()
            kept.unlink()  # a crash from here on begins at zero, never at an older total
        except OSError:
            return
        if not is_ours(memoryview(data)):
            return
        rows = (len(data) - 8 * HEADER) // (8 * ROW)
        if TOTALS < rows <= REPLICAS_AT and len(data) == 8 * row_at(rows):
            self._map[8 * HEADER : len(data)] = data[8 * HEADER :]
            self._words[TOTALS_END] = rows

    @contextlib.contextmanager
    def _changing(self) -> Generator[None]:
        self._words[GENERATION] += 1
        try:
            yield
        finally:
            self._words[GENERATION] += 1

    def _total(self, revision: int, version: int) -> int:
        """Where that revision's row begins; the oldest of a full table make room."""
        words = self._words
        oldest: int | None = None
        end = words[TOTALS_END]
        for row in range(TOTALS + 1, end):  # the first one adds up the oldest
            at = row_at(row)
            if words[at + REVISION] == revision:
                words[at + VERSION] = version or words[at + VERSION]
                return at
            if oldest is None or words[at + REVISION] < words[oldest + REVISION]:
                oldest = at
        if oldest is None or end < REPLICAS_AT:
            free = row_at(end)
            words[TOTALS_END] = end + 1
        else:
            free, elders = oldest, row_at(TOTALS)
            words[elders + TAKEN] = 1
            _add(words, free, elders)
            _clear(words, free)
        words[free + TAKEN] = 1
        words[free + REVISION] = revision
        words[free + VERSION] = version
        return free


def _add(words: memoryview, source: int, target: int) -> None:
    for first, end in ((FIRST, LAST), (LATENCY, COPIED_END)):
        for place in range(first, end):
            if words[source + place]:
                words[target + place] += words[source + place]


def _clear(words: memoryview, at: int) -> None:
    for place in range(at, at + ROW):
        words[place] = 0
