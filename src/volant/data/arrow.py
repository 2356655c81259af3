"""Arrow's compute functions, which are made at import time, so that no checker sees them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

pc: Any = pyarrow.compute


def mask(values: Any) -> NDArray[Any]:
    """A boolean Arrow array as NumPy; null counts as false."""
    filled = pc.fill_null(values, False)
    return filled.to_numpy() if isinstance(filled, pa.ChunkedArray) else filled.to_numpy(False)
