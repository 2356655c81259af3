"""What exit codes mean, and how an error is told.

0    it worked
1    what was asked for failed: a run, a refused gate, a rejected push
2    wrong usage or invalid input
3    the named thing doesn't exist
4    a conflict with what exists or runs
5    not authenticated, or not permitted
6    the server, or a part of it, can't be reached now
130  interrupted
"""

from __future__ import annotations

import sys

from volant.cli.text import clean, paint, word
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    VolantError,
)

FAILED = 1
INTERRUPTED = 130

_CODES: tuple[tuple[type[VolantError], int], ...] = (
    (InvalidInput, 2),
    (NotFound, 3),
    (Conflict, 4),
    (Unauthenticated, 5),
    (PermissionDenied, 5),
    (Unavailable, 6),
)


def exit_code(error: VolantError) -> int:
    """The process's exit code for `error`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def tell(error: VolantError, *, color: bool, verbose: bool = False) -> None:
    """Print `error` on standard error: what happened, and what to do."""
    color = color and sys.stderr.isatty()
    lines = [f"{paint('Error:', 'red', color)} {clean(error.what)}"]
    if error.fix:
        lines.append(f"{paint('Fix:', 'green', color)} {clean(error.fix)}")
    if verbose:
        lines.append(f"Code: {error.error_code}")
        lines.extend(f"  {key}: {clean(word(value))}" for key, value in error.details.items())
    sys.stderr.write("\n".join(lines) + "\n")
