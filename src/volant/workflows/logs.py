"""Reading runs' logs a piece at a time, while they are written."""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from volant.domain.workflow import MAX_ELEMENTS
from volant.errors import InvalidInput

CHUNK_BYTES = 256 * 1024  # of log files, in one answer
LINE_BYTES = 1024 * 1024  # a longer line is handed out in pieces
_BLOCK_BYTES = 8 * 1024  # of one file, read at once: a run may have thousands
_CURSOR_BYTES = 1 << 20  # unpacked; an honest one has few bytes for each file
_MOST_BYTES = 1 << 62  # of a file; where a system can seek to

Line = dict[str, Any]


def read_logs(
    run_dir: Path, steps: Sequence[str], after: str | None, *, ended: bool
) -> dict[str, Any]:
    """The lines written since the cursor `after`, at most about 256 KiB of them.

    Args:
        run_dir: The folder that holds `<step>/log.jsonl` for each step.
        steps: Whose logs; files that aren't there yet are empty. An element of a step with
            `foreach` is named `<step>/<number>`.
        after: The cursor of the answer before, None for the beginning.
        ended: Whether nothing is written any more, so that a line without its end counts.

    Returns `{"lines": [{"step", "time", "stream", "text"}], "after": cursor, "done":
    bool}`: what is there by now in the order of time, also over several answers; of one
    time in the order of `steps`. `done` when the steps have ended and everything has been
    read.
    Raises `InvalidInput` for a cursor that isn't ours.
    """
    known = _offsets(after)
    offsets = {step: known[step] for step in steps if step in known}
    lines: list[Line] = []
    room, complete = CHUNK_BYTES, True
    logs = (_timed(run_dir, step, offsets.get(step, 0), ended=ended) for step in steps)
    for _, line, start, end in heapq.merge(*logs, key=lambda found: found[0]):
        if room <= 0:
            complete = False
            break
        lines.append(line)
        offsets[line["step"]] = end
        room -= end - start
    return {"lines": lines, "after": _cursor(offsets), "done": ended and complete}


def log_folders(run_dir: Path, step: str, *, foreach: bool) -> Sequence[str]:
    """Where a step writes its log, below the run's folder. Each element of a step with
    `foreach` has a folder of its own in the step's, named by its number."""
    if not foreach:
        return [step]
    try:
        names = [entry.name for entry in (run_dir / step).iterdir()]
    except FileNotFoundError:
        return []
    numbers = sorted(int(name) for name in names if name.isascii() and name.isdecimal())
    return [f"{step}/{number}" for number in numbers if number < MAX_ELEMENTS]


def _timed(
    run_dir: Path, step: str, start: int, *, ended: bool
) -> Iterator[tuple[str, Line, int, int]]:
    """A file's lines in their own order, each with its time and where it lies. One without
    a time, or of a clock that was set back, has that of the line before it."""
    latest = ""
    for raw, end in _raw(run_dir / step / "log.jsonl", start, ended=ended):
        line = _line(step, raw)
        latest = max(latest, line["time"] or "")
        yield latest, line, start, end
        start = end


def _raw(path: Path, start: int, *, ended: bool) -> Iterator[tuple[bytes, int]]:
    """Lines from `start` on, each with where the next begins. One that has no end yet
    waits, unless nothing more comes or it is too long."""
    rest = b""
    while True:
        data = _block(path, start + len(rest))
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            start += len(line) + 1
            if line:
                yield line, start
        last = len(data) < _BLOCK_BYTES
        if rest and ((last and ended) or len(rest) >= LINE_BYTES):
            start += len(rest)
            yield rest, start
            rest = b""
        if last:
            return


def _block(path: Path, start: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(_BLOCK_BYTES)
    except FileNotFoundError:
        return b""


def _line(step: str, raw: bytes) -> Line:
    """A log line; what isn't one, as after a crash in mid-write, is shown as it is."""
    text = raw.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or "text" not in body:
        return {"step": step, "time": None, "stream": "stdout", "text": text}
    fields = cast("dict[str, Any]", body)
    time = fields.get("time")
    return {
        "step": step,
        "time": time if _is_time(time) else None,
        "stream": str(fields.get("stream", "stdout")),
        "text": str(fields["text"]),
    }


def _is_time(text: Any) -> bool:
    try:
        datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return False
    return True


def _cursor(offsets: Mapping[str, int]) -> str:
    """Short also for thousands of elements, as it is part of an address: one list for each
    step, packed."""
    told: dict[str, int | list[int]] = {}
    for name, offset in offsets.items():
        step, _, number = name.partition("/")
        if not number:
            told[step] = offset
            continue
        row = cast("list[int]", told.setdefault(step, []))
        row.extend([0] * (int(number) + 1 - len(row)))
        row[int(number)] = offset
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")


def _offsets(cursor: str | None) -> dict[str, int]:
    if not cursor:
        return {}
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        body = json.loads(zlib.decompressobj().decompress(packed, _CURSOR_BYTES))
        offsets = dict(_unpacked(body))
    except (binascii.Error, zlib.error, ValueError, AttributeError, RecursionError):
        offsets = None
    if offsets is not None and all(
        type(each) is int and 0 <= each < _MOST_BYTES for each in offsets.values()
    ):
        return offsets
    raise InvalidInput(
        f"{cursor!r:.100} isn't a cursor of a log.",
        "Give `after` as the answer before gave it, or leave it out to start again.",
        code="invalid_cursor",
    )


def _unpacked(body: Any) -> Iterator[tuple[str, Any]]:
    for step, found in body.items():
        if isinstance(found, list):
            row = cast("list[Any]", found)
            yield from ((f"{step}/{number}", offset) for number, offset in enumerate(row))
        else:
            yield step, found
