"""The prediction log, in the replica: what was asked and answered, before the answer leaves.

Batches are copied into a memory-mapped file. Its pages belong to the kernel, so a
replica that is killed loses nothing of what it answered; a machine that loses its power
loses what the kernel hadn't written yet (seconds). One process writes a segment, and
its lock on the file tells the others that it still does. Segments have their whole size
on the disk from the beginning: a full disk is met when one is made, where it can be
handled, and never in the middle of an answer. Then the log is off for a while and
counts what it misses; predictions go on.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import Any, Protocol

from volant.serving.log_folder import NEW, OPEN, SEALED, make_room
from volant.serving.log_format import (
    FRAME,
    MAGIC,
    Array,
    batch_payload,
    caller_payload,
    frame,
    meta_payload,
)

SEGMENT_BYTES = 16 << 20
MAX_BYTES = 1 << 30
ROTATE_S = 30.0
_OFF_S = 10.0  # after a full disk, until it is tried again
_CALLERS = 60_000  # in one segment; it holds their numbers in 16 bits
_CALLER_BYTES = 64  # that one's name may take
_BESIDE_BYTES = 64  # of a segment with a single batch: what is neither the batch nor names


@dataclass(frozen=True, slots=True)
class LogOrder:
    """Where to log and how much. `sample` is the share of requests; `max_bytes` bounds
    what waits in `folder`; a segment is complete after `rotate_s` seconds at the latest."""

    folder: Path
    sample: float = 1.0
    segment_bytes: int = SEGMENT_BYTES
    max_bytes: int = MAX_BYTES
    rotate_s: float = ROTATE_S

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any] | None) -> LogOrder | None:
        """Read the order's `log`; None is off."""
        if not spec or float(spec.get("sample", 1.0)) <= 0:
            return None
        most = int(spec.get("max_bytes") or MAX_BYTES)
        return cls(
            folder=Path(spec["dir"]),
            sample=min(float(spec.get("sample", 1.0)), 1.0),
            segment_bytes=int(
                spec.get("segment_bytes") or min(SEGMENT_BYTES, max(most // 8, 4096))
            ),
            max_bytes=most,
            rotate_s=float(spec.get("rotate_s") or ROTATE_S),
        )


class Asked(Protocol):
    """One request, as much as the log needs of it. `asked` is `perf_counter()`'s when
    it came; `caller` says who asked; `copy` marks a shadow's, which nobody asked."""

    asked: float
    caller: str
    copy: bool

    @property
    def rows(self) -> int: ...

    @property
    def id(self) -> str | None: ...


class PredictionLog:
    """Args:
    spec: Where and how much.
    meta: What the segments say of themselves: deployment, model, version, revision and
        the model's columns.
    say: Takes a line for the deployment's log.

    `answered` may be called in the thread that predicts, the rest on the loop.
    """

    def __init__(
        self, spec: LogOrder, meta: Mapping[str, Any], say: Callable[[dict[str, Any]], None]
    ) -> None:
        self._spec = spec
        self._meta = meta_payload(meta)
        self._say = say
        self._lock = threading.Lock()
        self._segment: _Segment | None = None
        self._off_until = 0.0
        self._off = False
        self._numbers = itertools.count(1)
        self._random = random.Random()  # noqa: S311 - a fork has its own; no secret
        self.logged = 0  # requests
        self.missed = 0  # requests that the disk had no room for

    def answered(
        self,
        asked: Sequence[Asked],
        feeds: Sequence[Array],
        outputs: Sequence[Array],
        status: int = 200,
    ) -> None:
        """Log a batch: `feeds` and `outputs` hold the rows of all of `asked`, in order.
        Copies are left out: the log holds what clients asked, once, with its answer.

        Never raises: what can't be logged is counted in `missed`.
        """
        try:
            if self._spec.sample < 1.0 or True in [each.copy for each in asked]:
                asked, feeds, outputs = self._sampled(asked, feeds, outputs)
                if not asked:
                    return
            with self._lock:
                if self._write(asked, feeds, outputs, status):
                    self.logged += len(asked)
                else:
                    self.missed += len(asked)
        except Exception as error:  # whatever it is, the answer matters more
            with self._lock:
                self.missed += len(asked)
                self._stop(f"{type(error).__name__}: {error}")

    def tick(self) -> None:
        """Now and then: complete a segment that is old enough."""
        with self._lock:
            segment = self._segment
            if segment is not None and monotonic() - segment.since >= self._spec.rotate_s:
                self._seal()

    def close(self) -> None:
        """Complete what is open."""
        with self._lock:
            self._seal()

    def _sampled(
        self, asked: Sequence[Asked], feeds: Sequence[Array], outputs: Sequence[Array]
    ) -> tuple[Sequence[Asked], Sequence[Array], Sequence[Array]]:
        share = self._spec.sample
        chosen = [
            each
            for each in asked
            if not each.copy and (share >= 1.0 or self._random.random() < share)
        ]
        if len(chosen) in (0, len(asked)):
            return chosen, feeds, outputs
        kept = set(map(id, chosen))
        places: list[int] = []
        start = 0
        for each in asked:
            if id(each) in kept:
                places.extend(range(start, start + each.rows))
            start += each.rows
        return chosen, [f[places] for f in feeds], [o[places] for o in outputs]

    def _write(
        self, asked: Sequence[Asked], feeds: Sequence[Array], outputs: Sequence[Array], status: int
    ) -> bool:
        segment = self._segment or self._begin()
        if segment is None:
            return False
        rows = [each.rows for each in asked]
        ids = [each.id for each in asked]
        for _ in range(2):  # a new segment numbers its callers anew
            if len(segment.callers) + len(asked) > _CALLERS:
                self._seal()
                segment = self._begin()
                if segment is None:
                    return False
            now = perf_counter()
            payload = batch_payload(
                time(),
                [(now - each.asked) * 1000.0 for each in asked],
                [segment.number(each.caller) for each in asked],
                None if rows.count(1) == len(rows) else rows,
                None if ids.count(None) == len(ids) else ids,
                status,
                feeds,
                outputs,
            )
            if segment.append(payload):
                return True
            self._seal()
            segment = self._begin(len(payload) + _CALLER_BYTES * len(asked))
            if segment is None:
                return False
        return False

    def _begin(self, payload_bytes: int = 0) -> _Segment | None:
        """A new segment, with room for a payload of that size; None while that can't be."""
        now = monotonic()
        if now < self._off_until:
            return None
        spec = self._spec
        needed = payload_bytes + len(self._meta) + _BESIDE_BYTES
        size = max(spec.segment_bytes, needed)
        if payload_bytes and size > spec.max_bytes:
            return None
        try:
            spec.folder.mkdir(parents=True, exist_ok=True)
            make_room(spec.folder, spec.max_bytes - size)
            name = f"{int(time() * 1000):013}-{os.getpid()}-{next(self._numbers)}"
            self._segment = _Segment(spec.folder, name, size, self._meta)
        except OSError as error:
            self._stop(error.strerror or str(error))
            return None
        if self._off:
            self._off = False
            self._say({"prediction_log": "on", "missed": self.missed})
        return self._segment

    def _stop(self, reason: str) -> None:
        self._off_until = monotonic() + _OFF_S
        if not self._off:
            self._off = True
            self._say({"prediction_log": "off", "reason": reason, "missed": self.missed})
        self._seal()

    def _seal(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            with suppress(OSError, ValueError):  # it stays `.open`; the compaction takes it
                segment.seal()


class _Segment:
    """One open file. Raises `OSError` when it can't be made."""

    def __init__(self, folder: Path, name: str, size: int, meta: bytes) -> None:
        self.since = monotonic()
        self.callers: dict[str, int] = {}
        self._path = folder / f"{name}{OPEN}"
        self._size = size
        new = folder / f"{name}{NEW}"
        self._file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            os.posix_fallocate(self._file, 0, size)
            self._map = mmap.mmap(self._file, size)
            self._map[: len(MAGIC)] = MAGIC
            self._at = len(MAGIC)
            self.append(meta)
            new.rename(self._path)
        except BaseException:
            os.close(self._file)
            new.unlink(missing_ok=True)
            raise

    def number(self, caller: str) -> int:
        """The caller's number in this segment."""
        number = self.callers.get(caller)
        if number is None:
            number = self.callers[caller] = len(self.callers)
            if not self.append(caller_payload(number, caller)):
                self._size = self._at  # full, for the batch as well
        return number

    def append(self, payload: bytes) -> bool:
        """Whether there was room for it."""
        end = self._at + FRAME.size + len(payload)
        if end > self._size:
            return False
        self._map[self._at : end] = frame(payload)
        self._at = end
        return True

    def seal(self) -> None:
        """Give back the space that wasn't used, and the name of a complete one."""
        self._map.close()
        os.ftruncate(self._file, self._at)
        self._path.rename(self._path.with_suffix(SEALED))
        os.close(self._file)
