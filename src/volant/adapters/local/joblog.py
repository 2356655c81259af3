"""A job's log: raw bytes of its two streams in, JSON lines out, as they come."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from volant.domain.masking import masked
from volant.ports.clock import Clock

LINE_BYTES = 64 * 1024
LOG_BYTES = 50 * 1024 * 1024


class LineSplitter:
    """Bytes in any pieces to lines of text.

    A line longer than `limit` bytes keeps its first `limit`, with a note of how many
    were cut. What isn't UTF-8 becomes U+FFFD. No state but the line that is open.
    """

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._open = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes, without their line ends."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._add(piece)
            yield self._take()
        self._add(rest)

    def close(self) -> Iterator[str]:
        """The last line, if it didn't end."""
        if self._open or self._cut:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        room = self._limit - len(self._open)
        self._open += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _take(self) -> str:
        text = self._open.decode("utf-8", errors="replace")
        if self._cut:
            text += f"… ({self._cut} bytes more)"
        self._open.clear()
        self._cut = 0
        return text.removesuffix("\r")


class JobLog:
    """Appends `{"time", "stream", "text"}` lines to a file, each written at once.

    At most `limit` bytes are added; then one line of the stream `volant` says so and
    the rest is dropped. A disk that is full loses lines, never the job. What `mask` names
    is `***` in every line.
    """

    def __init__(
        self, path: Path, clock: Clock, limit: int = LOG_BYTES, mask: Sequence[str] = ()
    ) -> None:
        self._mask = mask
        self._clock = clock
        self._left = limit
        self._splitters = {"stdout": LineSplitter(), "stderr": LineSplitter()}
        self._torn = False
        self.tail: deque[str] = deque(maxlen=10)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A control plane that was killed while writing may have left half a line.
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def feed(self, stream: str, data: bytes) -> None:
        """Take bytes that the job wrote to `stream` (`stdout` or `stderr`)."""
        self._write(stream, list(self._splitters[stream].feed(data)))

    def note(self, text: str) -> None:
        """A line of our own, in the stream `volant`."""
        self._write("volant", [text])

    def close(self) -> None:
        """Write the lines that didn't end, and let go of the file."""
        for stream, splitter in self._splitters.items():
            self._write(stream, list(splitter.close()))
        os.close(self._fd)

    def _write(self, stream: str, lines: list[str]) -> None:
        if not lines:
            return
        if self._mask:
            lines = [masked(line, self._mask) for line in lines]
        self.tail.extend(lines)
        if self._left <= 0:
            return
        time = self._clock.now()
        rows = [_row(time, stream, line) for line in lines]
        kept: list[bytes] = []
        for row in rows:
            self._left -= len(row)
            if self._left <= 0:
                kept.append(_row(time, "volant", "The log is full; later lines were dropped."))
                break
            kept.append(row)
        self._append(b"".join(kept))

    def _append(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._fd, data)
        except OSError:
            return
        self._torn = data[:written][-1:] != b"\n"


def _row(time: datetime, stream: str, text: str) -> bytes:
    row = {"time": time.isoformat(timespec="milliseconds"), "stream": stream, "text": text}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
