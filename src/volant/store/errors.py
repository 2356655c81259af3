"""Driver errors in the words of our own tree: the one place that knows both."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from volant.errors import (
    Conflict,
    InvalidInput,
    ResourceExhausted,
    Unavailable,
    VolantError,
    from_dict,
)

BUSY_TIMEOUT_S = 10.0
_FULL_BELOW_BYTES = 1 << 20
# SQLite's extended result code of a RAISE(ABORT, …) inside a trigger
_SQLITE_CONSTRAINT_TRIGGER = 1811


def translate(error: BaseException, url: URL) -> VolantError | None:
    """The error a user sees for a driver's, or None when it is a bug of ours."""
    if isinstance(error, VolantError):  # of a column's type: as it is, without the driver's
        return from_dict(error.to_dict())
    if isinstance(error, (OverflowError, UnicodeEncodeError)):
        return _bad_value("", str(error))
    if isinstance(error, sqlite3.Error):
        return _sqlite(error, str(url.database))
    if type(error).__module__.startswith("psycopg"):
        return _postgres(error, url)
    return None


def busy(path: str) -> Unavailable:
    """Another program holds the write lock of the SQLite file."""
    return Unavailable(
        f"The database {path} is locked by another program (waited {BUSY_TIMEOUT_S:g} s).",
        "Close the other program that has this file open, then try again.",
        code="database_locked",
        details={"path": path},
    )


def disk_full(where: str) -> ResourceExhausted:
    """No room is left for the database."""
    return ResourceExhausted(
        f"No space is left on the disk of the database {where}.",
        "Free some space on that disk, then try again; nothing was half-written.",
        code="disk_full",
        details={"path": where},
    )


def read_only(path: str) -> Unavailable:
    """The database can be read but not written."""
    return Unavailable(
        f"The database {path} can't be written: {_permissions(path)}.",
        "Make the file and its folder writable for the user that runs Volant.",
        code="database_read_only",
        details={"path": path},
    )


def _permissions(path: str) -> str:
    target = Path(path)
    try:
        facts = [f"the file has mode {target.stat().st_mode & 0o777:o} and owner {target.owner()}"]
        folder = target.parent
        facts.append(f"its folder mode {folder.stat().st_mode & 0o777:o}, owner {folder.owner()}")
    except (OSError, KeyError):
        return "its permissions can't be read either"
    return ", ".join(facts)


def _nearly_full(path: str) -> bool:
    try:
        return shutil.disk_usage(Path(path).parent).free < _FULL_BELOW_BYTES
    except OSError:
        return False


def _sqlite(error: sqlite3.Error, path: str) -> VolantError | None:
    extended: int = getattr(error, "sqlite_errorcode", 0) or 0
    code = extended & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _nearly_full(path)):
        return disk_full(path)
    if extended == _SQLITE_CONSTRAINT_TRIGGER:
        return _append_only(str(error))
    if isinstance(error, sqlite3.IntegrityError):
        return _refused(str(error))
    known = _SQLITE.get(code)
    return known(path, str(error)) if known else None


def _sqlite_cannot_open(path: str, _text: str) -> Unavailable:
    return read_only(path) if Path(path).exists() else _cannot_open(path)


def _sqlite_corrupt(path: str, text: str) -> Unavailable:
    return Unavailable(
        f"{path} isn't a sound SQLite database: {text}.",
        "Put a backup of it back, or move the file away to start anew.",
        code="database_corrupt",
        details={"path": path},
    )


def _sqlite_io(path: str, text: str) -> Unavailable:
    return Unavailable(
        f"Reading or writing {path} failed: {text}.",
        "Look at the disk, then try again.",
        code="database_io",
        details={"path": path},
    )


_SQLITE: dict[int, Callable[[str, str], VolantError]] = {
    sqlite3.SQLITE_BUSY: lambda path, _text: busy(path),
    sqlite3.SQLITE_LOCKED: lambda path, _text: busy(path),
    sqlite3.SQLITE_READONLY: lambda path, _text: read_only(path),
    sqlite3.SQLITE_PERM: lambda path, _text: read_only(path),
    sqlite3.SQLITE_CANTOPEN: _sqlite_cannot_open,
    sqlite3.SQLITE_CORRUPT: _sqlite_corrupt,
    sqlite3.SQLITE_NOTADB: _sqlite_corrupt,
    sqlite3.SQLITE_IOERR: _sqlite_io,
}


def _cannot_open(path: str) -> Unavailable:
    return Unavailable(
        f"The database {path} can't be opened.",
        "Make its folder, and let the user that runs Volant write there.",
        code="database_unreachable",
        details={"path": path},
    )


def _append_only(text: str) -> Conflict:
    return Conflict(
        f"The database refused a change: {text.splitlines()[0]}.",
        "Decisions and the audit log are never changed; add a new record instead.",
        code="append_only",
    )


def _refused(text: str) -> Conflict:
    return Conflict(
        f"The database refused a row: {text.splitlines()[0]}.",
        "The thing exists already, or names one that doesn't exist.",
        code="constraint",
    )


def _postgres(error: Any, url: URL) -> VolantError | None:
    where = url.render_as_string(hide_password=True)
    state: str = getattr(error, "sqlstate", None) or ""
    text = str(error).strip().splitlines()
    first = text[0] if text else type(error).__name__
    if not state:  # it never came to the server
        known = _POSTGRES_CLIENT.get(type(error).__name__)
        return known(where, first) if known else None
    if state == "P0001" and "append-only" in first:
        return _append_only(first)
    for length in (5, 3, 2):  # the exact state before its class
        known = _POSTGRES.get(state[:length])
        if known is not None:
            return known(where, first)
    return None


def _unreachable(where: str, text: str) -> Unavailable:
    return Unavailable(
        f"The database {where} can't be reached: {text}.",
        "See that the server runs, and that host, port, user and password are right.",
        code="database_unreachable",
    )


def _exhausted(where: str, text: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"The database {where} is out of resources: {text}.",
        "Raise the server's limit (max_connections, memory), or run fewer workers.",
        code="database_exhausted",
    )


def _waited(where: str, text: str) -> Unavailable:
    return Unavailable(
        f"The database {where} gave up waiting for another transaction: {text}.",
        "Try again; if it goes on, look for a long transaction in pg_stat_activity.",
        code="database_locked",
    )


def _not_writable(where: str, text: str) -> Unavailable:
    return Unavailable(
        f"The database {where} can't be written: {text}.",
        "Connect to the primary, as a user that owns Volant's tables.",
        code="database_read_only",
    )


def _bad_value(_where: str, text: str) -> InvalidInput:
    return InvalidInput(
        f"The database can't hold a value: {text}.", "Correct the value and try again."
    )


# by SQLSTATE, or the first characters of it
_POSTGRES: dict[str, Callable[[str, str], VolantError]] = {
    "53100": lambda where, _text: disk_full(where),
    "53": _exhausted,
    "55P03": _waited,
    "40P01": _waited,
    "40001": _waited,
    "57014": _waited,
    "25006": _not_writable,
    "42501": _not_writable,
    "23": lambda _where, text: _refused(text),
    "22": _bad_value,
    "08": _unreachable,
    "28": _unreachable,
    "57P": _unreachable,
    "3D": _unreachable,
}

# by the driver's class, where no server answered
_POSTGRES_CLIENT: dict[str, Callable[[str, str], VolantError]] = {
    "OperationalError": _unreachable,
    "ConnectionTimeout": _unreachable,
    "DataError": _bad_value,
}
