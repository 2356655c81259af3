"""What the programs send: one array [2, 2] of each datatype, extremes among them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np

FACTS = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def array_of(datatype: str, *, text: bool = False) -> np.ndarray:
    """`text`: only BYTES that JSON can hold."""
    if datatype == "BYTES":
        odd = b"plain" if text else b"\xff\x00"
        return np.array([[b"", "zwölf".encode()], [odd, b"x" * 300]], dtype=np.object_)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    if datatype == "BF16":
        return np.array([[1, -2], [3.140625, 0]], dtype=ml_dtypes.bfloat16)
    kind, bits = datatype.rstrip("0123456789"), int(datatype.lstrip("FPUINT"))
    if kind == "FP":
        dtype = np.dtype(f"float{bits}")
        return np.array([[np.finfo(dtype).max, -0.5], [0, 1]], dtype=dtype)
    dtype = np.dtype(f"{kind.lower()}{bits}")
    return np.array([[np.iinfo(dtype).max, np.iinfo(dtype).min], [0, 1]], dtype=dtype)


def same(got: np.ndarray, sent: np.ndarray, where: str) -> None:
    assert got is not None, f"{where}: no data"
    assert list(got.shape) == list(sent.shape), f"{where}: {got.shape} for {sent.shape}"
    if sent.dtype == np.object_:
        got = np.array([v.encode() if isinstance(v, str) else v for v in got.ravel()], object)
        assert got.tolist() == sent.ravel().tolist(), f"{where}: {got}"
        return
    assert got.astype(sent.dtype).tobytes() == sent.tobytes(), f"{where}: {got} for {sent}"


def home_columns() -> list[tuple[str, str, np.ndarray]]:
    """The columns of `homes`: name, datatype, array [rows]."""
    facts = FACTS["homes"]
    dtypes = {"FP64": np.float64, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}
    return [
        (name, datatype, np.array([row[i] for row in facts["rows"]], dtype=dtypes[datatype]))
        for i, (name, datatype) in enumerate(zip(facts["columns"], facts["types"], strict=True))
    ]


def texts(array: np.ndarray) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
