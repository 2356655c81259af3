"""The folder that a platform lives in: its paths, and the lock that keeps it alone there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.errors import Conflict, ResourceExhausted, Unavailable


class Home:
    """Paths under `VOLANT_HOME`. Making one touches nothing; `open` does."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.staging = self.root / "staging"
        self.tables = self.root / "tables"
        self.holdouts = self.root / "holdouts"
        self.runs = self.root / "runs"
        self.artifacts = self.root / "artifacts"
        self.tracked = self.root / "tracked"  # artifacts of runs that users' programs log
        self.parts = self.root / "parts"  # of their uploads, while these last
        self.code = self.root / "code"
        self.logs = self.root / "logs"
        self.predictions = self.root / "predictions"  # their log, until it is compacted
        self.environments = self.root / "envs"
        self.codesets = self.root / "codesets"
        self.server_file = self.root / "server.json"
        self._lock: int | None = None

    def open(self) -> None:
        """Make the folders and take the lock.

        Raises `Conflict` when another process holds it, `Unavailable` when the folder
        can't be written, `ResourceExhausted` when the disk is full.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.staging, self.tables, self.holdouts, self.runs):
                folder.mkdir(exist_ok=True)
            for folder in (self.artifacts, self.code, self.logs):
                folder.mkdir(exist_ok=True)
            lock = os.open(self.root / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno == 28:
                raise ResourceExhausted(
                    f"No space is left for {self.root}.", "Free some space and start again."
                ) from error
            raise Unavailable(
                f"{self.root} can't be written: {error.strerror}.",
                "Give another folder with --home, or mend its permissions.",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            server = self.server()
            pid = server.get("pid", "unknown")
            raise Conflict(
                f"A Volant is running on {self.root} already (pid {pid}, {server.get('url', '')}).",
                "Use that one, stop it with `volant down`, or start another with"
                " `volant up --home DIR --port N`.",
                code="home_in_use",
                details={"pid": pid, "home": str(self.root)},
            ) from error
        self._lock = lock

    def server(self) -> Mapping[str, Any]:
        """What the running platform wrote of itself; empty when there is none."""
        try:
            return json.loads(self.server_file.read_text())
        except (OSError, ValueError):
            return {}

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
