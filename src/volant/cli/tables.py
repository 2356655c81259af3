"""Tables as lines of text, made to fit a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from volant.cli.text import STATUS_COLORS, paint

_SPACE = "  "
_LEAST = 6  # cells that a column is never made narrower than

Row = Sequence[str]


def table_lines(columns: Row, rows: Sequence[Row], width: int | None, color: bool) -> Iterator[str]:
    """`rows` under `columns`, aligned.

    In `width` cells the widest columns are cut, the first one never: it is the name to
    type into the next command. Where even that doesn't fit, each row becomes a block of
    `column  value` lines. Without a width nothing is cut.
    """
    every = [[name.upper() for name in columns], *rows]
    natural = [max(cells(row[place]) for row in every) for place in range(len(columns))]
    widths = natural if width is None else _fitted(natural, width)
    if widths is None:
        yield from _blocks(columns, rows)
        return
    for place, row in enumerate(every):
        shown = [_padded(cut(cell, size), size) for cell, size in zip(row, widths, strict=True)]
        if place:
            shown = [
                paint(text, STATUS_COLORS.get(cell.lower()), color)
                for text, cell in zip(shown, row, strict=True)
            ]
            yield _SPACE.join(shown).rstrip()
        else:
            yield paint(_SPACE.join(shown).rstrip(), "bold", color)


def _fitted(natural: Sequence[int], width: int) -> list[int] | None:
    """Widths that fit, the widest columns cut down to the next ones; None if none do."""
    widths = list(natural)
    room = width - len(_SPACE) * (len(widths) - 1)
    while sum(widths) > room:
        place = max(range(1, len(widths)), key=lambda each: widths[each], default=0)
        if place == 0 or widths[place] <= _LEAST:
            return None
        widths[place] -= 1
    return widths


def _blocks(columns: Row, rows: Sequence[Row]) -> Iterator[str]:
    label = max(len(name) for name in columns)
    for place, row in enumerate(rows):
        if place:
            yield ""
        for name, cell in zip(columns, row, strict=True):
            yield f"{name.upper().ljust(label)}{_SPACE}{cell}".rstrip()


def cells(text: str) -> int:
    """How many cells of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, size: int) -> str:
    """`text` in at most `size` cells, with `…` where something is missing."""
    if cells(text) <= size:
        return text
    kept, taken = "", 0
    for character in text:
        taken += _cells_of(character)
        if taken > size - 1:
            break
        kept += character
    return kept + "…"


def _padded(text: str, size: int) -> str:
    return text + " " * (size - cells(text))
