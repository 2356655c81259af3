"""Writing files so that a reader sees all of them or nothing."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from volant.durable import sync, whole
from volant.errors import ResourceExhausted

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_once(path: Path, write: Callable[[Path], object]) -> bool:
    """Make `path` unless it exists; False when another writer was first.

    `write` fills a file beside it, which is synced and then has its name.
    """
    return _write(path, write, over=False)


def write_over(path: Path, write: Callable[[Path], object]) -> None:
    """Make or replace `path` in one step."""
    _write(path, write, over=True)


def _write(path: Path, write: Callable[[Path], object], *, over: bool) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole(path, over=over, mode=0o600) as draft:
            write(draft)
    except FileExistsError:
        return False
    except OSError as error:
        raise disk_error(error, path) from error
    return True


@contextmanager
def whole_folder(folder: Path) -> Generator[Path]:
    """A folder to fill beside `folder`, whose place it takes when the block ends, with all
    of it on the disk. What an earlier attempt left at either is replaced.

    Raises `ResourceExhausted` for a full disk; the draft is gone then.
    """
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        for path in sorted(draft.rglob("*")):
            sync(path)
        sync(draft)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
        sync(folder.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise disk_error(error, folder) from error


def disk_error(error: OSError, path: Path) -> Exception:
    """`ResourceExhausted` for a full disk, else the error itself."""
    if error.errno in _FULL:
        return ResourceExhausted(
            f"The disk is full: {path} couldn't be written.",
            "Free some space and retry the run.",
            code="disk_full",
        )
    return error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content. Raises `FileNotFoundError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
