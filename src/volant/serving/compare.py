"""Whether two answers of the protocol say the same."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

import numpy as np
import orjson

from volant.serving.datatypes import WIRE

# Two models rarely agree to the last bit, and nobody acts on less than this.
RELATIVE, ABSOLUTE = 1e-3, 1e-6
_OUTPUTS = ("outputs", "predictions")


def difference(ours: bytes, ours_json: int, theirs: bytes, theirs_json: int) -> str | None:
    """Where the outputs of two answers differ, in words; None if nowhere. The `_json`
    bytes at the start of each are JSON, the rest binary tensors. Numbers may differ by
    `RELATIVE` or `ABSOLUTE`. Raises `ValueError` for what is no answer."""
    return differing(_outputs(ours, ours_json), _outputs(theirs, theirs_json))


def differing(ours: Any, theirs: Any) -> str | None:
    """As `difference`, of outputs that are read already: plain values, lists and mappings."""
    return _values(ours, theirs, "the answer")


def _outputs(body: bytes, length: int) -> Any:
    read = orjson.loads(body[:length])
    key = next((k for k in _OUTPUTS if isinstance(read, dict) and k in read), None)
    if key is None:
        raise ValueError("no outputs")
    outputs: Any = read[key]
    if key == "predictions":
        return outputs
    at = length
    named: dict[str, Any] = {}
    for one in outputs:
        size = (one.get("parameters") or {}).get("binary_data_size")
        data: Any = one.get("data")
        if size is not None:
            raw, at = body[at : at + size], at + size
            wire = WIRE.get(one["datatype"])
            data = raw if wire is None else np.frombuffer(raw, wire).tolist()
        named[str(one["name"])] = {"shape": one["shape"], "data": data}
    return named


def _values(ours: Any, theirs: Any, where: str) -> str | None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.keys() != theirs.keys():
            return f"{where}: {sorted(ours)} and {sorted(theirs)}"
        found = (_values(ours[key], theirs[key], f"{key} of {where}") for key in ours)
        return next((one for one in found if one is not None), None)
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return f"{where}: {len(ours)} values and {len(theirs)}"
        pairs = enumerate(zip(ours, theirs, strict=True))
        found = (_values(a, b, f"[{i}] of {where}") for i, (a, b) in pairs)
        return next((one for one in found if one is not None), None)
    same = _close(ours, theirs) if _is_number(ours) and _is_number(theirs) else ours == theirs
    return None if same else f"{where}: {_shown(ours)} and {_shown(theirs)}"


def _close(ours: float, theirs: float) -> bool:
    both_nan = math.isnan(ours) and math.isnan(theirs)
    return both_nan or math.isclose(ours, theirs, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
