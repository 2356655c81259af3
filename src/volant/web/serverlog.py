"""The server's log: one JSON object a line, in `logs/server.log`, rotated."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any

import orjson
import structlog

MAX_BYTES = 10_000_000
KEPT_FILES = 5

# How every record is completed, whether it came through structlog or through logging.
_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,  # text only: local variables may hold secrets
)


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
    file.setFormatter(_formatter(structlog.processors.JSONRenderer(_dumps)))
    handlers: list[logging.Handler] = [file]
    if terminal:
        console = logging.StreamHandler(sys.stderr)
        console.setLevel(logging.WARNING)
        # What the engine's library says is for the file: what matters of it reaches a
        # person as an error of ours, without a traceback.
        console.addFilter(lambda record: record.name.partition(".")[0] != "dbos")
        console.setFormatter(_formatter(structlog.processors.KeyValueRenderer(key_order=["event"])))
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
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _formatter(renderer: structlog.typing.Processor) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _dumps(record: Any, default: Any = None, **_: Any) -> str:
    return orjson.dumps(record, default=default or repr).decode()
