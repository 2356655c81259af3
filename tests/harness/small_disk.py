"""A disk that is soon full: a small file system of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """`folder`, made and mounted with room for `size` (as `1m`); skips where it can't be."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs rights that this user doesn't have")
    try:
        yield folder
    finally:
        # Lazily: a process that was forked meanwhile may still have a file open in it.
        subprocess.run(["umount", "-l", str(folder)], check=True)
