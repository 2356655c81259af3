"""A deployment's log: a file that is turned over when it is full, and read as one.

Replicas append to `NAME.log`. The platform renames a full one to `NAME.log.1` (older
ones move up, the oldest goes), and each replica, which looks once a second where its
path leads, goes on in the new file. What it wrote in between is in the renamed one:
nothing is copied and nothing lost. A reader's place is a file's inode and an offset, so
it reads the renamed file to its end before the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_BYTES = 8 << 20
OLD = 3  # renamed ones that are kept
_BLOCK = 1 << 16
_LONGEST = 1 << 16  # bytes of a line that a reader shows


def rotate(path: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Turn the log over if it is full; whether it was."""
    try:
        if path.stat().st_size < max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(OLD, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(path, number - 1).replace(_numbered(path, number))
    return True


def reopen(path: Path, *descriptors: int) -> bool:
    """Point the descriptors at the file that `path` is now, if it is another one than
    the first of them writes to; whether it was."""
    with contextlib.suppress(OSError):
        mine = os.fstat(descriptors[0])
        with contextlib.suppress(FileNotFoundError):
            there = path.stat()
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return False
        new = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            for descriptor in descriptors:
                os.dup2(new, descriptor)
        finally:
            os.close(new)
        return True
    return False


def note(path: Path, fields: Mapping[str, Any]) -> None:
    """Add a line of the control plane's own, with the time. What can't be written isn't:
    the log is for people."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields})
    with contextlib.suppress(OSError), path.open("a") as file:
        file.write(line + "\n")


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


def tail(path: Path, lines: int) -> tuple[list[dict[str, Any]], str]:
    """The newest lines, oldest first, and the place after them."""
    found: list[bytes] = []
    place = "0:0"
    for number in range(OLD + 1):
        try:
            with _numbered(path, number).open("rb") as file:
                data, end = _last_lines(file.fileno(), lines - len(found))
                if number == 0 or place == "0:0":
                    place = f"{os.fstat(file.fileno()).st_ino}:{end}"
        except FileNotFoundError:
            continue
        found = data + found
        if len(found) >= lines:
            break
    return [parsed(line) for line in found], place


def after(path: Path, place: str, most: int = 1000) -> tuple[list[dict[str, Any]], str]:
    """Whole lines after `place`, at most that many, and the place after them. A place
    whose file is gone, or that no reader was given, means the oldest line there is."""
    inode, _, offset = place.partition(":")
    at = int(offset) if offset.isdecimal() else 0
    files = [_numbered(path, number) for number in range(OLD, -1, -1)]
    inodes = [_inode(file) for file in files]
    start = next((i for i, known in enumerate(inodes) if known and str(known) == inode), None)
    found: list[dict[str, Any]] = []
    if start is None:
        start, at = 0, 0
    for file in files[start:]:
        try:
            with file.open("rb") as opened:
                opened.seek(at)
                lines, at = _lines_from(opened.readline, opened.tell, at, most - len(found))
                place = f"{os.fstat(opened.fileno()).st_ino}:{at}"
        except FileNotFoundError:
            continue
        found += lines
        if len(found) >= most:
            break
        at = 0
    return found, place


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _lines_from(
    readline: Callable[[], bytes], tell: Callable[[], int], at: int, most: int
) -> tuple[list[dict[str, Any]], int]:
    found: list[dict[str, Any]] = []
    while len(found) < most:
        line = readline()
        if not line.endswith(b"\n"):  # its end is still to come
            break
        at = tell()
        found.append(parsed(line))
    return found, at


def _last_lines(descriptor: int, lines: int) -> tuple[list[bytes], int]:
    """The last whole lines of a file, and where they end."""
    size = os.fstat(descriptor).st_size
    data = b""
    start = size
    while start > 0 and data.count(b"\n") <= lines:
        step = min(_BLOCK, start)
        start -= step
        data = os.pread(descriptor, step, start) + data
    whole, newline, rest = data.rpartition(b"\n")
    if not newline:
        return [], 0 if start == 0 else size
    every = whole.split(b"\n")
    if start > 0:
        every = every[1:]  # its beginning wasn't read
    return every[-lines:] if lines > 0 else [], size - len(rest)


def parsed(line: bytes) -> dict[str, Any]:
    """One line as its fields; what isn't a JSON object is its `text`."""
    text = line[:_LONGEST].decode("utf-8", errors="replace").rstrip("\r\n")
    if line.startswith(b"{") and len(line) <= _LONGEST:
        with contextlib.suppress(ValueError):
            found: Any = json.loads(line)
            if isinstance(found, Mapping):
                return dict(found)
    return {"text": text}
