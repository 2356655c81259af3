"""Lines as one table in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.line import Line, number

HEADS = ("figure", "unit", "ours", "floor", "peer", "ratio", "goal", "met")
_MET = {True: "yes", False: "NO", None: ""}


def rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """One tuple of cells a line, aligned to `HEADS`."""
    return [
        (
            line.figure,
            line.unit,
            line.ours.text(),
            line.floor.text() if line.floor else "",
            line.peer.text() if line.peer else "",
            "" if line.ratio is None else number(line.ratio),
            line.goal,
            _MET[line.met],
        )
        for line in lines
    ]


def table(lines: Sequence[Line]) -> str:
    """The table, then what its floors, peers and notes are."""
    cells = [HEADS, *rows(lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADS))]
    text = [_row(HEADS, widths), _row(tuple("─" * w for w in widths), widths)]
    text += [_row(row, widths) for row in cells[1:]]
    return "\n".join([*text, "", *_legend(lines)])


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _legend(lines: Sequence[Line]) -> list[str]:
    told: dict[str, None] = {}
    for line in lines:
        for kind, samples in (("floor", line.floor), ("peer", line.peer)):
            if samples is not None and samples.of:
                told.setdefault(f"{line.figure} · {kind}: {samples.of}")
        if line.note:
            told.setdefault(f"{line.figure} · {line.note}")
    return list(told)
