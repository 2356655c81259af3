"""Reading runs' logs a piece at a time, while they are written."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from volant.errors import InvalidInput

CHUNK_BYTES = 256 * 1024  # of log files, in one answer
LINE_BYTES = 1024 * 1024  # a longer line is handed out in pieces

Line = dict[str, Any]


def read_logs(
    run_dir: Path, steps: Sequence[str], after: str | None, *, ended: bool
) -> dict[str, Any]:
    """The lines written since the cursor `after`, at most about 256 KiB of them.

    Args:
        run_dir: The folder that holds `<step>/log.jsonl` for each step.
        steps: Whose logs, in order; files that aren't there yet are empty.
        after: The cursor of the answer before, None for the beginning.
        ended: Whether nothing is written any more, so that a line without its end counts.

    Returns `{"lines": [{"step", "time", "stream", "text"}], "after": cursor, "done":
    bool}`; `done` when the steps have ended and everything has been read.
    Raises `InvalidInput` for a cursor that isn't ours.
    """
    offsets = _offsets(after)
    lines: list[Line] = []
    room = CHUNK_BYTES
    complete = True
    for step in steps:
        path = run_dir / step / "log.jsonl"
        start = offsets.get(step, 0)
        found, end, finished = _read(path, start, room, ended=ended)
        lines += [_line(step, raw) for raw in found]
        room -= end - start
        complete = complete and finished
        if end:
            offsets[step] = end
    lines.sort(key=lambda line: line["time"] or "")
    return {"lines": lines, "after": _cursor(offsets), "done": ended and complete}


def log_folders(run_dir: Path, step: str, *, foreach: bool) -> Sequence[str]:
    """Where a step writes its log, below the run's folder. Each element of a step with
    `foreach` has a folder of its own in the step's, named by its number."""
    if not foreach:
        return [step]
    try:
        numbers = sorted(
            int(entry.name) for entry in (run_dir / step).iterdir() if entry.name.isdecimal()
        )
    except FileNotFoundError:
        return []
    return [f"{step}/{number}" for number in numbers]


def _read(path: Path, start: int, room: int, *, ended: bool) -> tuple[list[bytes], int, bool]:
    """Whole lines from `start` on, where they end, and whether that is all there is."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if room <= 0:
                return [], start, size <= start
            file.seek(start)
            data = file.read(room)
            if b"\n" not in data and len(data) == room:
                data += file.read(LINE_BYTES - room) if room < LINE_BYTES else b""
    except FileNotFoundError:
        return [], start, True
    at_end = start + len(data) >= size
    cut = data.rfind(b"\n") + 1
    if cut == 0 and len(data) >= LINE_BYTES:
        cut = len(data)
    if ended and at_end:
        cut = len(data)
    found = [line for line in data[:cut].split(b"\n") if line]
    return found, start + cut, start + cut >= size


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
        "time": time if isinstance(time, str) else None,
        "stream": str(fields.get("stream", "stdout")),
        "text": str(fields["text"]),
    }


def _cursor(offsets: Mapping[str, int]) -> str:
    text = json.dumps(dict(sorted(offsets.items())), separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _offsets(cursor: str | None) -> dict[str, int]:
    if not cursor:
        return {}
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        body = json.loads(text)
    except (binascii.Error, ValueError):
        body = None
    if isinstance(body, dict):
        offsets = cast("dict[str, Any]", body)
        if all(type(value) is int and value >= 0 for value in offsets.values()):
            return offsets
    raise InvalidInput(
        f"{cursor!r:.100} isn't a cursor of a log.",
        "Give `after` as the answer before gave it, or leave it out to start again.",
        code="invalid_cursor",
    )
