"""Columns as a pandas DataFrame, for models that were fitted on one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from volant.domain.model import Field
from volant.serving.datatypes import Array


def to_frame(columns: Sequence[Field], feeds: Sequence[Array]) -> Any:
    """`feeds` are [n, 1] each. Whole numbers and booleans are such where none is missing;
    timestamps are pandas' own, in UTC without a zone."""
    return pd.DataFrame(
        {c.name: _series(feed[:, 0], c.type) for c, feed in zip(columns, feeds, strict=True)}
    )


def _series(values: Array, kind: str) -> Any:
    if kind == "timestamp":
        moments = pd.to_datetime(pd.Series(values), utc=True, format="ISO8601")
        return moments.dt.tz_localize(None).to_numpy()
    if kind in ("integer", "boolean") and not np.isnan(values).any():
        return values.astype(np.int64 if kind == "integer" else np.bool_)
    return values
