"""What a model's training data looked like, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

STATISTICS_FILE = "training_statistics.json"  # among a version's files
FORMAT = 1
_SHOWN = 3  # of the most frequent values
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ValueCount:
    """A value, and in how many rows it stands."""

    value: str | int | float | bool
    count: int

    def __str__(self) -> str:
        value = str(self.value)
        return f"{value.lower() if isinstance(self.value, bool) else value} ({self.count})"


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` rows lie above `upper[i - 1]` and not above `upper[i]`, which ascend; the
    first bin has everything up to `upper[0]`, the last one ends at the greatest value."""

    upper: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NumberStatistics:
    """Of the finite values of a column; a timestamp counts as seconds since 1970-01-01 UTC.

    `std` is the population's. `quantiles` (p1, p5, p25, p50, p75, p95, p99) are values that
    occur: the smallest one that so many percent of the rows don't exceed (the inverse of the
    empirical distribution function; type 1 of R. J. Hyndman and Y. Fan, *Sample Quantiles in
    Statistical Packages*, The American Statistician 50, 1996).
    """

    min: float
    max: float
    mean: float
    std: float
    quantiles: Mapping[str, float]
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """One column. `count` rows have a value and `missing` have none, as the model sees it:
    an empty text is none, nor are `infinite` ones among the numbers. `values` are the most
    frequent ones of texts, booleans and classes, the most frequent first; a column of names
    or identifiers has none."""

    name: str
    type: str
    count: int
    missing: int
    distinct: int
    infinite: int = 0
    numbers: NumberStatistics | None = None
    values: tuple[ValueCount, ...] = ()

    @property
    def shown(self) -> str:
        """The most frequent values as people read them; nothing for numbers."""
        if self.numbers is not None:
            return ""
        if not self.values:
            return f"{self.distinct} values, none kept"
        told = [str(one) for one in self.values[:_SHOWN]]
        more = self.distinct - len(told)
        return ", ".join([*told, f"{more} more"] if more else told)

    @property
    def range(self) -> tuple[float | str, ...]:
        """Least, median and greatest value, of timestamps to the minute; nothing for others."""
        if self.numbers is None:
            return ()
        values = (self.numbers.min, self.numbers.quantiles["p50"], self.numbers.max)
        if self.type != "timestamp":
            return values
        return tuple(value if (told := moment(value)) is None else told[:16] for value in values)

    @property
    def listed(self) -> bool:
        """Whether `values` are all that there are."""
        return bool(self.values) and sum(one.count for one in self.values) == self.count


@dataclass(frozen=True, slots=True)
class TrainingStatistics:
    """Of all rows that a model was trained on, the holdout not among them. `columns` are
    those that the model takes, in its order; `left_out` of them were too many."""

    rows: int
    columns: tuple[ColumnStatistics, ...]
    label: ColumnStatistics
    left_out: int = 0
    format: int = FORMAT


def moment(seconds: float) -> str | None:
    """A timestamp's value as ISO 8601 in UTC; None for one that no calendar has."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return None
