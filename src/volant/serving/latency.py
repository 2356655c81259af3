"""Latencies in buckets of fixed bounds, and the percentiles that follow from them.

The bounds grow by the fourth root of two, from 10 microseconds to above a minute: a
percentile is off by less than 20 %, however many requests there were, and two histograms
are added, or one taken from another, bucket by bucket.
"""

from __future__ import annotations

from collections.abc import Sequence

PER_OCTAVE = 4
BUCKETS = 96  # the last one has no upper bound
_FIRST_US = 10.0

# Inclusive upper bounds in whole microseconds, for all buckets but the last one. The
# first four octaves, rounded, would hold the same number twice if they began below 10.
BOUNDS_US: tuple[int, ...] = tuple(
    round(_FIRST_US * 2.0 ** (i / PER_OCTAVE)) for i in range(BUCKETS - 1)
)


def percentile_us(counts: Sequence[int], share: float) -> float | None:
    """The latency in microseconds that `share` (0 to 1) of the requests stayed within,
    by linear interpolation within its bucket; None when there were none."""
    total = sum(counts)
    if total <= 0:
        return None
    rank = share * total
    seen = 0
    for place, count in enumerate(counts):
        if count and seen + count >= rank:
            low = BOUNDS_US[place - 1] if place else 0
            if place >= len(BOUNDS_US):
                return float(low)  # all that is known: it took at least this long
            return low + (BOUNDS_US[place] - low) * max(0.0, rank - seen) / count
        seen += count
    return float(BOUNDS_US[-1])


def percentile_ms(counts: Sequence[int], share: float) -> float | None:
    """`percentile_us` in milliseconds, to the microsecond."""
    found = percentile_us(counts, share)
    return None if found is None else round(found / 1000, 3)
