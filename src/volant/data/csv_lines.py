"""Which line of a CSV file a row begins in.

The parser numbers rows; people look for lines. The two differ by blank lines and by
newlines inside quotes. Lines are found only when somebody asks: a clean file never pays.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from volant.data.filerows import Indexes

_QUOTE, _NEWLINE, _RETURN = 34, 10, 13


class CsvLines:
    """Row numbers of one file to its line numbers, both from 1; row 1 is the header."""

    def __init__(
        self,
        data: pa.Buffer,
        delimiter: str,
        quoted: bool,
        rows: int,
        skipped: Sequence[int],
    ) -> None:
        self._data = data
        self._delimiter = delimiter
        self._quoted = quoted
        self._rows = rows
        self._skipped = np.array(skipped, dtype=np.int64)
        self._found: Indexes | None = None

    def of_numbers(self, numbers: Indexes) -> list[int]:
        """Lines of rows by the parser's numbers."""
        return self._starts()[numbers - 1].tolist()

    def of_rows(self, indexes: Indexes) -> list[int]:
        """Lines of rows by their index in the table, from 0, the skipped ones left out."""
        numbers = np.asarray(indexes, dtype=np.int64) + 2
        if len(self._skipped):
            every = np.arange(2, self._rows + len(self._skipped) + 2)
            numbers = np.setdiff1d(every, self._skipped, assume_unique=True)[indexes]
        return self.of_numbers(numbers)

    def _starts(self) -> Indexes:
        if self._found is None:
            wanted = self._rows + len(self._skipped) + 1
            found = _by_bytes(self._data, self._quoted)
            if len(found) != wanted:  # a quote in the middle of an unquoted value, say
                found = _by_reader(self._data, self._delimiter)
            self._found = found if len(found) == wanted else np.arange(1, wanted + 1)
        return self._found


def unclosed_quote(data: pa.Buffer, delimiter: str) -> int | None:
    """The line in which a quoted value begins that the file's end cuts off."""
    if int(np.count_nonzero(_bytes(data) == _QUOTE)) % 2 == 0:
        return None  # opened and closed in pairs
    text = bytes(data).decode("utf-8")
    starts = _by_reader(data, delimiter)
    if not len(starts):
        return None
    last = "".join(text.splitlines(keepends=True)[int(starts[-1]) - 1 :])
    try:
        for _ in csv.reader(io.StringIO(last, newline=""), delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            return int(starts[-1])
    return None


def _bytes(data: pa.Buffer) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _line_ends(raw: NDArray[np.uint8]) -> Indexes:
    """Offsets of the last byte of each line end: LF, CR LF, or a CR alone."""
    ends = raw == _NEWLINE
    returns = np.flatnonzero(raw == _RETURN)
    if len(returns):
        following = np.append(raw[1:], 0)[returns]
        ends[returns[following != _NEWLINE]] = True
    return np.flatnonzero(ends)


def _by_bytes(data: pa.Buffer, quoted: bool) -> Indexes:
    """Lines by counting: a line end behind an odd number of quotes is inside a value."""
    raw = _bytes(data)
    ends = _line_ends(raw)
    row_ends = ends
    if quoted:
        quotes = np.flatnonzero(raw == _QUOTE)
        row_ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    starts = np.concatenate(([0], row_ends + 1))
    starts = starts[starts < len(raw)]
    # A row is blank when it begins with its own line end.
    first = raw[starts]
    starts = starts[(first != _NEWLINE) & (first != _RETURN)]
    return np.searchsorted(ends, starts) + 1


def _by_reader(data: pa.Buffer, delimiter: str) -> Indexes:
    """Lines by the csv module, which treats quotes as the parser does; slower."""
    csv.field_size_limit(sys.maxsize)
    starts: list[int] = []
    before = 0
    stream = io.TextIOWrapper(io.BytesIO(bytes(data)), encoding="utf-8", newline="")
    reader = csv.reader(stream, delimiter=delimiter)
    for row in reader:
        if row:
            starts.append(before + 1)
        before = reader.line_num
    return np.array(starts, dtype=np.int64)
