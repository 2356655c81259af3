"""YAML that strangers wrote, read within bounds.

A document of a few kilobytes can unfold to more than any machine holds: aliases stand for
what they name each time, merge keys double it, and depth or many small values take
minutes. It is measured here from its events, with every alias unfolded, before anything
of it is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MOST_BYTES = 4 << 20  # of the file
_MOST = 8 << 20  # bytes of text when it is unfolded, and a hundred for each value
_VALUE = 100
_DEPTH = 100


def read_yaml(path: Path) -> Any:
    """The document in a small file. Raises `ValueError` (and `OSError`) for one that can't
    be read or wouldn't end well."""
    import yaml  # not in a model's own environment, where those are imported that ask

    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES >> 20} MiB")
    text = path.read_text(encoding="utf-8")
    try:
        _measure(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ArithmeticError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _measure(text: str) -> None:
    import yaml

    total = 0
    sizes: dict[str, int] = {}
    within: list[tuple[str | None, int]] = []  # open lists and mappings: anchor, total before
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"*{event.anchor}: expected what was there before, and whole")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            size = _VALUE + len(event.value)
            total += size
            if event.anchor:
                sizes[event.anchor] = size
        elif isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, total))
            total += _VALUE
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            if anchor:
                sizes[anchor] = total - before
        if total > _MOST or len(within) > _DEPTH:
            raise ValueError("expected less: it unfolds to more than a description needs")
