"""What is wrong with a manifest, and the one error that tells all of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from volant.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `line` and `column` count from 1; `path` is the key's
    (`train.automl.metric`), empty when the file as a whole is meant."""

    line: int
    column: int
    path: str
    what: str
    fix: str


def error_of(problems: Sequence[Problem], file: str, code: str) -> InvalidInput:
    """One error for all of `problems` (at least one), in the order of the file."""
    ordered = sorted(problems, key=lambda p: (p.line, p.column))
    first = ordered[0]
    details = {
        "file": file,
        "line": first.line,
        "column": first.column,
        "path": first.path,
        "problems": [asdict(p) for p in ordered],
    }
    if len(ordered) == 1:
        what = f"{file}:{first.line}:{first.column}: {first.what}"
        return InvalidInput(what, first.fix, code=code, details=details)
    lines = [f"  {file}:{p.line}:{p.column}: {p.what} {p.fix}" for p in ordered]
    return InvalidInput(
        "\n".join([f"{file} has {len(ordered)} problems:", *lines]),
        "Correct each where it stands, then try again.",
        code=code,
        details=details,
    )


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant; `cutoff` is how alike they must be, of 1."""
    choices = list(known)
    by_folded = {choice.casefold(): choice for choice in choices}
    if word.casefold() in by_folded:
        return by_folded[word.casefold()]
    found = difflib.get_close_matches(word[:100].casefold(), list(by_folded), n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None
