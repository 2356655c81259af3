"""What was set once for the commands that follow, such as the current project: a small file
in the home folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from volant.durable import write_whole

FILE = "current.json"


def read(home: Path, key: str) -> str | None:
    """What was set; None when nothing was, or the file can't be read."""
    value = _all(home).get(key)
    return value if isinstance(value, str) and value else None


def write(home: Path, key: str, value: str) -> None:
    """Set it: all of the file is new, or nothing."""
    home.mkdir(parents=True, exist_ok=True)
    write_whole(home / FILE, json.dumps({**_all(home), key: value}) + "\n", lasting=False)


def forget(home: Path, key: str, value: str) -> None:
    """Unset it if it is `value`."""
    if read(home, key) == value:
        write(home, key, "")


def _all(home: Path) -> dict[str, Any]:
    try:
        found = json.loads((home / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
