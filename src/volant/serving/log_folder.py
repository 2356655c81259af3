"""The folder where segments of one deployment's prediction log wait for their compaction.

`<segment>.new` is being made, `.open` is being written by the process that holds its
lock, `.seg` is complete, `.bad` can't be read. `compaction.json` names the segments that
a compaction has begun with; until it is gone, they are its alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from volant.durable import sync, write_whole

NEW, OPEN, SEALED, BAD = ".new", ".open", ".seg", ".bad"
DATASETS = "predictions/"  # what the names of the logs' datasets begin with
_BEGUN = "compaction.json"
_ABANDONED_S = 60.0


def dataset_of(deployment: str) -> str:
    """The dataset that a deployment's predictions are compacted into."""
    return DATASETS + deployment


def sealed(folder: Path) -> list[Path]:
    """The complete segments, oldest first."""
    return sorted(folder.glob(f"*{SEALED}"))


def live(folder: Path) -> list[Path]:
    """The segments that are being written, oldest first."""
    return sorted(folder.glob(f"*{OPEN}"))


def take_over(folder: Path) -> None:
    """Complete the segments whose replicas are dead; delete those they hadn't begun."""
    for path in live(folder):
        with suppress(OSError):
            if _unlocked(path):
                path.rename(path.with_suffix(SEALED))
    for path in folder.glob(f"*{NEW}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_S and _unlocked(path):
                path.unlink()


def _unlocked(path: Path) -> bool:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def waiting(folder: Path) -> tuple[int, float]:
    """Bytes of the complete segments, and the age of the oldest in seconds (0 for none)."""
    total, oldest = 0, 0.0
    for path in sealed(folder):
        with suppress(FileNotFoundError):
            facts = path.stat()
            total += facts.st_size
            oldest = max(oldest, time.time() - facts.st_mtime)
    return total, oldest


def make_room(folder: Path, most: int) -> int:
    """Delete the oldest segments until what waits has at most `most` bytes; returns how
    many went."""
    found: list[tuple[Path, int]] = []
    for path in sorted((*folder.glob(f"*{SEALED}"), *folder.glob(f"*{BAD}"))):
        with suppress(FileNotFoundError):  # the compaction was quicker
            found.append((path, path.stat().st_size))
    total = sum(size for _, size in found)
    gone = 0
    for path, size in found:
        if total <= most:
            break
        path.unlink(missing_ok=True)
        total -= size
        gone += 1
    return gone


def begun(folder: Path) -> Mapping[str, Any] | None:
    """The compaction that isn't finished: {key, segments}."""
    try:
        return json.loads((folder / _BEGUN).read_text())
    except FileNotFoundError:
        return None


def begin(folder: Path, key: str, segments: Iterable[Path]) -> Mapping[str, Any]:
    """Note durably which segments the compaction `key` takes, before it does anything."""
    note = {"key": key, "segments": [path.name for path in segments]}
    write_whole(folder / _BEGUN, json.dumps(note))
    return note


def finish(folder: Path, key: str) -> None:
    """The rows of the compaction `key` are safe: delete its segments, then its note."""
    note = begun(folder)
    if note is None or note["key"] != key:
        return
    for name in note["segments"]:
        (folder / name).unlink(missing_ok=True)
    sync(folder)
    (folder / _BEGUN).unlink(missing_ok=True)
