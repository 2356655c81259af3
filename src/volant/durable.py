"""What must outlive a power cut, and files that appear whole."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Have the disk keep a file's content, or a folder's names. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(
    path: Path, *, over: bool = True, mode: int = 0o666, lasting: bool = True
) -> Generator[Path]:
    """A file beside `path` to fill. When the block ends it takes that name, in one step;
    when the block raises it is gone.

    Args:
        path: In a folder that exists.
        over: Replace what has the name; else that stays, and `FileExistsError` tells so.
        mode: Of the file from its first moment on; the umask takes from it.
        lasting: The disk has it in the end. Without, a power cut may leave an empty file.

    Raises `OSError`.
    """
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield draft
        if lasting:
            sync(draft)
        (os.replace if over else os.link)(draft, path)  # a link never replaces
    finally:
        draft.unlink(missing_ok=True)
    if lasting:
        sync(path.parent)


def write_whole(
    path: Path, content: str, *, over: bool = True, mode: int = 0o666, lasting: bool = True
) -> None:
    """Make or replace a text file in one step; see `whole`."""
    with whole(path, over=over, mode=mode, lasting=lasting) as draft:
        draft.write_text(content, encoding="utf-8")
