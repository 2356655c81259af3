"""The file that holds the first admin's secret: only its owner may read it."""

from __future__ import annotations

import errno
from pathlib import Path

from volant.durable import write_whole
from volant.errors import ResourceExhausted, Unavailable

_MAX_BYTES = 4096
_OWNER_ONLY = 0o600


def read(path: Path) -> str | None:
    """The secret, its file's mode set right; None when there is no such file, or when
    it holds no text."""
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(_OWNER_ONLY)
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("ascii").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return None
    except OSError as error:
        raise Unavailable(
            f"The token file {path} can't be read: {error.strerror or error}.",
            "Make it readable for the user that runs Volant, or delete it.",
            code="access.token_file",
        ) from None


def write(path: Path, secret: str) -> None:
    """Replace the file whole or not at all; it is never readable for others."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, f"{secret}\n", mode=_OWNER_ONLY)
    except OSError as error:
        what = f"The token file {path} can't be written: {error.strerror or error}."
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceExhausted(what, "Free some space there, then start again.") from None
        raise Unavailable(
            what,
            "Make its folder writable for the user that runs Volant.",
            code="access.token_file",
        ) from None
