"""The server's log: one JSON object a line, in `logs/server.log`, rotated."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

MAX_BYTES = 10_000_000
KEPT_FILES = 5

# Of the request that is being answered; it is on every line that is logged meanwhile.
current_request: ContextVar[str | None] = ContextVar("current_request", default=None)


def told(**fields: Any) -> Mapping[str, Any]:
    """`extra` for a logging call: the line's own fields beside its event."""
    return {"told": fields}


def line(record: logging.LogRecord) -> dict[str, Any]:
    """What is written of a record."""
    fields: dict[str, Any] = {"event": record.getMessage(), **getattr(record, "told", {})}
    if (request_id := current_request.get()) is not None:
        fields["request_id"] = request_id
    fields["level"] = record.levelname.lower()
    fields["logger"] = record.name
    fields["timestamp"] = datetime.fromtimestamp(record.created, UTC).isoformat()
    if record.exc_info:  # text only: local variables may hold secrets
        fields["exception"] = _PLAIN.formatException(record.exc_info)
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields


_PLAIN = logging.Formatter()


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        try:
            return orjson.dumps(line(record), default=repr).decode()
        except TypeError:  # half a surrogate pair, or a number beyond 64 bits
            return json.dumps(line(record), default=repr)


class _Pairs(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={value!r}" for key, value in line(record).items())


def configure(path: Path, *, terminal: bool, verbose: bool = False) -> None:
    """Send all of this process's logging to `path`.

    Args:
        path: The log file; its folder is made.
        terminal: Whether warnings and errors also go to standard error.
        verbose: Whether debug records of Volant's own are kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.raiseExceptions = False  # a full disk mustn't end what is being logged
    file = logging.handlers.RotatingFileHandler(
        path, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8"
    )
    file.setFormatter(_Json())
    handlers: list[logging.Handler] = [file]
    if terminal:
        console = logging.StreamHandler(sys.stderr)
        console.setLevel(logging.WARNING)
        # What the engine's library says is for the file: what matters of it reaches a
        # person as an error of ours, without a traceback.
        console.addFilter(lambda record: record.name.partition(".")[0] != "dbos")
        console.setFormatter(_Pairs())
        handlers.append(console)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("volant").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.INFO)
