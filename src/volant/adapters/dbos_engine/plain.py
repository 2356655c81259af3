"""Outputs and errors in the form that DBOS stores: JSON, never pickles."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from typing import Any

from volant.domain.codec import to_plain
from volant.errors import InvalidInput, StepFailed, VolantError

MAX_OUTPUT_BYTES = 8 * 1024 * 1024


def plain_outputs(outputs: Any, step: str) -> dict[str, Any]:
    """A step's outputs as plain JSON.

    Raises `InvalidInput` when they aren't an object, have no JSON form, or are so large
    that they belong in a file.
    """
    if not isinstance(outputs, Mapping):
        raise InvalidInput(
            f"Step {step!r} returned a {type(outputs).__name__}.",
            "Return a dict of named outputs, or {} for none.",
            code="invalid_outputs",
        )
    text = _storable(to_plain(outputs))
    if len(text) > MAX_OUTPUT_BYTES:
        raise InvalidInput(
            f"Step {step!r} returned {len(text):,} bytes of outputs.",
            f"Keep them under {MAX_OUTPUT_BYTES:,}: write a file and return its path.",
            code="invalid_outputs",
        )
    return json.loads(text)


def plain_error(error: BaseException) -> dict[str, Any]:
    """An error's `to_dict()`; one that isn't ours becomes a `StepFailed`."""
    if isinstance(error, VolantError):
        body = error.to_dict()
    else:
        lines = traceback.format_exception(error)
        body = StepFailed(
            f"{type(error).__name__}: {error}",
            "See the traceback in the details.",
            details={"traceback": "".join(lines)[-20_000:]},
        ).to_dict()
    try:
        return json.loads(_storable(to_plain(body)))
    except InvalidInput:
        details = {key: repr(value)[:2000] for key, value in body["details"].items()}
        return json.loads(_storable({**body, "details": details}))


def _storable(value: Any) -> bytes:
    # Half a surrogate pair, as in undecodable file names, can't be stored as UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
