"""What replicas count, in memory that they share with the control plane.

One map a deployment: unsigned 64-bit words, a header and then rows of a fixed layout.
Each running replica owns one row and is its only writer; the fleet owns the first row
(what it counts itself), and one row for each revision, to which it adds a replica's row
when that replica has ended. So a replica that is killed loses nothing that it counted,
and anyone who has the map open can tell the whole deployment's numbers.

The map is a memfd and not a file on a disk: a store to a page that the kernel is just
writing back can wait for the disk, and that would show in the tail of the latencies
(the JVM's `hsperfdata` is the well-known case). It ends with the control plane; the
totals of an orderly end are kept in a file and taken up by the next start. After a crash
the counters start at zero, which monitoring recognises as such. A total that is a little
older than what was told before would be taken for a reset *and* counted again in full.

Words are aligned and stored one by one, so none is ever torn. A merge changes several:
its readers see from the header's generation that one was under way, and read again.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

from volant.serving.latency import BUCKETS
from volant.serving.snapshot import Snapshot

MAGIC = int.from_bytes(b"volantct", "little")
LAYOUT = 2
REPLICAS = 256  # rows for replicas that run at the same time
REVISIONS = 128  # rows for revisions; the oldest are added up in one beyond that

HEADER = 16
MAGIC_AT, LAYOUT_AT, GENERATION, ROW_WORDS = 0, 1, 2, 3
# Rows in use end here: a page that nobody touches takes no memory.
TOTALS_END, REPLICAS_END = 4, 5

# The words of a row.
TAKEN, REVISION, VERSION, PID = 0, 1, 2, 3
# Gauges: they are the running replica's and end with it.
IN_FLIGHT, QUEUE_ROWS, CONNECTIONS, MEMORY = 4, 5, 6, 7
# Counters, from `FIRST` to `LAST`, and after them the histograms: what a merge adds.
FIRST = 8
REFUSED, ERRORS, ROWS, BATCHES, BYTES_IN, BYTES_OUT = 8, 9, 10, 11, 12, 13
LATENCY_US, PREDICT_US = 14, 15
# Of a revision, counted by the live revision's replicas that sent to it.
FORWARDED, UNREACHED, SHADOWED, DIFFERED, DROPPED = 16, 17, 18, 19, 20
# Of the deployment, counted by the fleet.
COLD_STARTS, COLD_US, LAST_COLD_US, STARTS, LOSSES = 21, 22, 23, 24, 25
CPU_US = 26
COPY_REFUSED, COPY_ERRORS, COPY_US = 27, 28, 29  # of copies that a shadow was sent
LOST = 30  # requests that got no answer of a replica; see `Snapshot.lost`
LAST = 32
ROUTES_AT = 32  # [revision, forwarded, unreached, shadowed, differed, dropped, -, -] each
ROUTES, ROUTE_WORDS = 6, 8
LATENCY = ROUTES_AT + ROUTES * ROUTE_WORDS
PREDICT = LATENCY + BUCKETS
COPIED = PREDICT + BUCKETS
COPIED_END = COPIED + BUCKETS
# When requests came that have no answer yet: microseconds of `time.monotonic`, 0 for none.
# Like the gauges they are the running replica's. They tell of a model that never answers,
# also when it holds the whole process up.
WAITING, WAITING_END = COPIED_END, COPIED_END + 32
ROW = WAITING_END

OWN = 0  # the fleet's row
TOTALS = 1  # then the revisions'
REPLICAS_AT = TOTALS + REVISIONS
_ALL = REPLICAS_AT + REPLICAS
SIZE = 8 * (HEADER + _ALL * ROW)

_TRIES = 64

ROUTED = (FORWARDED, UNREACHED, SHADOWED, DIFFERED, DROPPED)
OWN_NAMES = {
    "cold_starts": COLD_STARTS,
    "cold_us": COLD_US,
    "last_cold_us": LAST_COLD_US,
    "starts": STARTS,
    "losses": LOSSES,
}


def row_at(row: int) -> int:
    """The word that a row begins with."""
    return HEADER + row * ROW


def blank(memory: mmap.mmap) -> mmap.mmap:
    """A new map, all its counts zero."""
    with memoryview(memory) as whole, whole.cast("Q") as words:
        words[LAYOUT_AT], words[ROW_WORDS] = LAYOUT, ROW
        words[TOTALS_END] = TOTALS + 1
        words[REPLICAS_END] = REPLICAS_AT + 1
        words[MAGIC_AT] = MAGIC
    return memory


def opened(path: str) -> mmap.mmap:
    """The map at `path`. Raises `OSError`, and `ValueError` for another layout."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        memory = mmap.mmap(fd, SIZE)
    finally:
        os.close(fd)
    with memoryview(memory) as whole:
        ours = is_ours(whole)
    if not ours:
        memory.close()
        raise ValueError(f"{path} isn't a map of layout {LAYOUT}")
    return memory


def is_ours(data: memoryview) -> bool:
    """Whether the bytes begin with the header of this layout."""
    if data.nbytes < 8 * HEADER:
        return False
    with data[: 8 * HEADER].cast("Q") as words:
        return (words[MAGIC_AT], words[LAYOUT_AT], words[ROW_WORDS]) == (MAGIC, LAYOUT, ROW)


def copied(memory: mmap.mmap) -> tuple[list[list[int]], list[list[int]]]:
    """The fleet's and the revisions' rows, and the replicas', as they are at one moment
    between two merges."""
    totals = replicas = b""
    with memoryview(memory) as whole, whole.cast("Q") as words:
        for _ in range(_TRIES):
            before = words[GENERATION]
            totals = memory[8 * HEADER : 8 * row_at(words[TOTALS_END])]
            replicas = memory[8 * row_at(REPLICAS_AT) : 8 * row_at(words[REPLICAS_END])]
            if before % 2 == 0 and words[GENERATION] == before:
                break
            time.sleep(0.0002)
    return _split(totals), _split(replicas)


def _split(data: bytes) -> list[list[int]]:
    words = memoryview(data).cast("Q")
    return [list(words[at : at + ROW]) for at in range(0, len(words), ROW)]


def told(memory: mmap.mmap) -> tuple[Mapping[str, int], list[Snapshot]]:
    """What the fleet counted, by name, and a snapshot for each revision, by number."""
    (fleet, *totals), replicas = copied(memory)
    at = time.monotonic()
    by_revision: dict[int, list[int]] = {}
    versions: dict[int, int] = {}
    running: dict[int, list[list[int]]] = {}
    for values in totals + replicas:
        if values[TAKEN]:
            versions[values[REVISION]] = values[VERSION] or versions.get(values[REVISION], 0)
            _sum(by_revision, values[REVISION], values)
    for values in replicas:
        if values[TAKEN]:
            running.setdefault(values[REVISION], []).append(values)
            for revision, routed in _routed(values):
                _sum(by_revision, revision, routed)
    return {name: fleet[place] for name, place in OWN_NAMES.items()}, [
        replace(
            _snapshot(number, versions.get(number, 0), by_revision[number], at),
            replicas=len(running.get(number, ())),
            waiting=tuple(age for row in running.get(number, ()) for age in _ages(row, at)),
        )
        for number in sorted(by_revision)
    ]


def _sum(into: dict[int, list[int]], revision: int, values: list[int]) -> None:
    known = into.get(revision)
    if known is None:
        into[revision] = values
    else:
        into[revision] = [a + b for a, b in zip(known, values, strict=True)]


def _routed(values: list[int]) -> Iterable[tuple[int, list[int]]]:
    for route in range(ROUTES_AT, LATENCY, ROUTE_WORDS):
        if values[route]:
            row = [0] * ROW
            for place, counter in enumerate(ROUTED, 1):
                row[counter] = values[route + place]
            yield values[route], row


def _ages(row: list[int], at: float) -> Iterable[float]:
    return (max(0.0, at - came / 1e6) for came in row[WAITING:WAITING_END] if came)


def _snapshot(revision: int, version: int, row: list[int], at: float) -> Snapshot:
    latency = tuple(row[LATENCY:PREDICT])
    return Snapshot(
        revision=revision,
        version=version,
        at=at,
        answered=sum(latency),
        refused=row[REFUSED],
        failed=row[ERRORS],
        unreached=row[UNREACHED],
        lost=row[LOST],
        rows=row[ROWS],
        batches=row[BATCHES],
        bytes_in=row[BYTES_IN],
        bytes_out=row[BYTES_OUT],
        latency_us=row[LATENCY_US],
        predict_us=row[PREDICT_US],
        forwarded=row[FORWARDED],
        shadowed=row[SHADOWED],
        differed=row[DIFFERED],
        dropped=row[DROPPED],
        cpu_us=row[CPU_US],
        memory_bytes=row[MEMORY],
        in_flight=row[IN_FLIGHT],
        queue_rows=row[QUEUE_ROWS],
        latency=latency,
        predict=tuple(row[PREDICT:COPIED]),
        copies_refused=row[COPY_REFUSED],
        copies_failed=row[COPY_ERRORS],
        copies_us=row[COPY_US],
        copies=tuple(row[COPIED:COPIED_END]),
    )
