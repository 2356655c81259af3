"""CSV: any delimiter, quotes with newlines inside, ragged rows set aside."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from volant.data.csv_lines import CsvLines, unclosed_quote
from volant.data.encoding import Text, find
from volant.data.filerows import BrokenRow, FileRows, check_names, json_rows
from volant.errors import InvalidInput

_DELIMITERS = (",", ";", "\t", "|")
_WORDS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_HEAD = 1 << 18  # bytes looked at to find header and delimiter
_BLOCK = 1 << 23  # bytes parsed at once; a longer row makes it larger
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def read_csv(text: Text, name: str, delimiter: str | None) -> FileRows:
    """The file's rows, all as text; the first line that isn't blank is the header.

    A row with more or fewer fields than the header is set aside with its line. Blank
    lines count as lines but not as rows.

    Raises:
        InvalidInput: no rows, no usable header, or a quote that is never closed.
    """
    warnings = [*text.warnings]
    head = _head(text.data)
    if not head.strip():
        raise InvalidInput(f"{name} is empty.", "Push a file with a header and rows.")
    separator = delimiter or _sniff(head)
    written = _first_row(head, separator)
    names = [one.strip() for one in written]
    _check_header(names, name, delimiter, head)
    if delimiter is None and separator != ",":
        warnings.append(f"{name} is separated by {_word(separator)}, so it was read that way.")
    quoted = find(text.data, b'"') >= 0
    if quoted and (line := unclosed_quote(text.data, separator)) is not None:
        raise InvalidInput(
            f"{name}: the quoted value that begins in line {line} is never closed.",
            'Close it with a ", or double a " that belongs to the value.',
            code="quote_unclosed",
            details={"line": line},
        )
    table, skipped = _parse(text.data, written, separator, quoted, name)
    table = table.rename_columns(names)
    if not table.num_rows and not skipped:
        raise _no_rows(name)
    lines = CsvLines(text.data, separator, quoted, table.num_rows, [row.number for row in skipped])
    return FileRows(
        name=name,
        table=table,
        broken=_broken(skipped, lines),
        warnings=tuple(warnings),
        lines=lines.of_rows,
        raws=lambda indexes: json_rows(table, indexes),
    )


def _head(data: pa.Buffer) -> str:
    block = bytes(data.slice(0, min(_HEAD, data.size)))
    if data.size > _HEAD:  # whole lines only, if there is one
        cut = max(block.rfind(b"\n"), block.rfind(b"\r"))
        block = block[: cut + 1] if cut >= 0 else block
    return block.decode("utf-8", errors="replace")


def _rows(head: str, delimiter: str, most: int) -> list[list[str]]:
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) >= most:
                break
    except csv.Error:  # a field longer than the csv module allows: what came is enough
        pass
    return rows


def _first_row(head: str, delimiter: str) -> list[str]:
    rows = _rows(head, delimiter, 1)
    return rows[0] if rows else [""]


def _sniff(head: str) -> str:
    """A comma if the header has one; else the delimiter that splits header and rows alike."""
    scores: dict[str, tuple[int, int]] = {}
    for delimiter in _DELIMITERS:
        rows = _rows(head, delimiter, 50)
        width = len(rows[0])
        if delimiter == "," and width > 1:
            return ","
        scores[delimiter] = (sum(len(row) == width for row in rows) if width > 1 else 0, width)
    best = max(scores, key=lambda one: scores[one])
    return best if scores[best][0] else ","


def _check_header(names: list[str], name: str, delimiter: str | None, head: str) -> None:
    if delimiter and len(names) == 1:
        likely = _sniff(head)
        if likely != delimiter and likely in names[0]:
            raise InvalidInput(
                f"{name} has one column only, {names[0][:80]!r}, when split at {_word(delimiter)}.",
                f"Give the option delimiter={'tab' if likely == chr(9) else likely!r},"
                " or leave it out to have it found.",
                code="delimiter_wrong",
                details={"delimiter": likely},
            )
    if names and all(_NUMBER.fullmatch(one) for one in names):
        raise InvalidInput(
            f"{name} has no header: its first line holds numbers only ({', '.join(names[:3])}…).",
            "Put a line with the columns' names on top.",
            code="header_missing",
        )
    check_names(names, name)


def _word(delimiter: str) -> str:
    return _WORDS.get(delimiter, repr(delimiter))


def _parse(
    data: pa.Buffer, names: Sequence[str], delimiter: str, quoted: bool, file: str
) -> tuple[pa.Table, list[Any]]:
    block = _BLOCK
    while True:
        skipped: list[Any] = []

        def skip(row: Any, kept: list[Any] = skipped) -> str:
            kept.append(row)
            return "skip"

        try:
            table = pacsv.read_csv(
                pa.BufferReader(data),
                # One thread: rows then know their numbers, and it is as fast.
                read_options=pacsv.ReadOptions(use_threads=False, block_size=block),
                parse_options=pacsv.ParseOptions(
                    delimiter=delimiter, newlines_in_values=quoted, invalid_row_handler=skip
                ),
                convert_options=pacsv.ConvertOptions(
                    column_types={name: pa.string() for name in names},
                    check_utf8=False,
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddl" in str(error) and block < min(data.size, 1 << 30):
                block *= 8
                continue
            if "Empty CSV" in str(error):  # a header whose line doesn't end
                raise _no_rows(file) from error
            raise InvalidInput(
                f"{file} can't be read as CSV: {str(error).splitlines()[0]}",
                "Check its quotes and its delimiter.",
            ) from error
        return table, skipped


def _no_rows(name: str) -> InvalidInput:
    return InvalidInput(
        f"{name} has a header but no rows.",
        "Push a file with at least one row under it.",
        code="file_empty",
    )


def _broken(skipped: Sequence[Any], lines: CsvLines) -> tuple[BrokenRow, ...]:
    if not skipped:
        return ()
    numbers = lines.of_numbers(np.array([row.number for row in skipped], dtype=np.int64))
    return tuple(
        BrokenRow(
            line,
            row.text,
            f"the row has {row.actual_columns} fields, but the header has {row.expected_columns}",
        )
        for line, row in zip(numbers, skipped, strict=True)
    )
