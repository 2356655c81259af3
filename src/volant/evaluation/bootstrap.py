"""Is the challenger's gain over the champion more than luck on these rows?

The paired percentile bootstrap (Efron & Tibshirani, An Introduction to the
Bootstrap, 1993, chapters 8 and 13): rows are drawn with replacement, both models
are measured on the same draw, and the difference is kept. Pairing removes what
both models find easy or hard, so small true gains show on few rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volant.domain.metric import GREATER_IS_BETTER
from volant.evaluation.metrics import Floats, Judged, weighted

_RESAMPLES = 2000
_RESAMPLES_MANY_ROWS = 1000
_MANY_ROWS = 20_000
_CELLS = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True, slots=True)
class Gain:
    """`observed` and `lower_bound` are in the metric's unit, positive when the
    challenger is better whichever way the metric points. `resamples` counts those
    on which the metric was defined for both."""

    observed: float
    lower_bound: float
    confidence: float
    resamples: int


def paired_gain(
    metric: str,
    challenger: Judged,
    champion: Judged,
    *,
    confidence: float,
    seed: int,
    resamples: int | None = None,
) -> Gain:
    """The gain and the one-sided lower end of its `confidence` interval.

    Both must judge the same rows in the same order. The bound is NaN when the metric
    is defined on no resample.
    """
    rows = challenger.rows
    if rows != champion.rows:
        raise ValueError(f"the models judge {rows} and {champion.rows} rows: not a pair")
    wanted = resamples or (_RESAMPLES if rows <= _MANY_ROWS else _RESAMPLES_MANY_ROWS)
    sign = 1.0 if GREATER_IS_BETTER[metric] else -1.0

    def gain(weights: Floats) -> Floats:
        return sign * (weighted(metric, challenger, weights) - weighted(metric, champion, weights))

    rng = np.random.default_rng(seed)
    chunk = max(1, _CELLS // rows)
    drawn = [
        gain(_counts(rng, rows, min(chunk, wanted - start))) for start in range(0, wanted, chunk)
    ]
    gains = np.concatenate(drawn)
    gains = gains[np.isfinite(gains)]
    observed = float(gain(np.ones((1, rows)))[0])
    lower = float(np.quantile(gains, 1.0 - confidence)) if len(gains) else float("nan")
    return Gain(observed, lower, confidence, len(gains))


def _counts(rng: np.random.Generator, rows: int, resamples: int) -> Floats:
    """How often each of `rows` rows is in each resample: [resamples, rows]."""
    cells = rng.integers(0, rows, size=(resamples, rows)) + rows * np.arange(resamples)[:, None]
    counts = np.bincount(cells.ravel(), minlength=resamples * rows)
    return counts.reshape(resamples, rows).astype(np.float64)
