"""What went wrong below a table, in our own errors."""

from __future__ import annotations

import errno

from volant.errors import ResourceExhausted, Unavailable, VolantError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# delta-rs hands the operating system's error on as text only.
_FULL_TEXTS = (
    "No space left on device",
    "os error 28",
    "os error 122",
    "os error 27",
    "File too large",
    "Disk quota exceeded",
)


def is_full_disk(error: BaseException) -> bool:
    """Whether the disk, a quota or a file-size limit ran out."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_TEXTS)


def full_disk(table: str, error: BaseException) -> ResourceExhausted:
    """The table is as it was."""
    return ResourceExhausted(
        f"The disk is full: the rows could not be written to table {table!r}.",
        "Free some space and try again; the table is unchanged.",
        code="disk_full",
        details={"cause": str(error)[:500]},
    )


def unwritable(table: str, error: BaseException) -> VolantError:
    """Any failure to write, the full disk included."""
    if is_full_disk(error):
        return full_disk(table, error)
    return Unavailable(
        f"Table {table!r} can't be written: {_short(error)}.",
        "Check the folder's permissions and its disk, then try again.",
        details={"cause": str(error)[:500]},
    )


def unreadable(table: str, error: BaseException) -> VolantError:
    """Any failure to read."""
    return Unavailable(
        f"Table {table!r} can't be read: {_short(error)}.",
        "Check that its folder is complete and readable; restore it from a backup if not.",
        details={"cause": str(error)[:500]},
    )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
