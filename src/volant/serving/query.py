"""What a replica is asked and what it answers, whatever the wire."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from volant.serving.datatypes import Array


@dataclass(slots=True)
class Given:
    """One input tensor as it came, checked for itself alone: `data` holds its values in
    row-major order, either as JSON had them (a list) or as a flat array of the
    datatype's element type (`datatypes.DTYPE`)."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | Array
    parameters: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Query:
    """One checked request. `feeds` are arrays [rows, columns] aligned to the model's
    `tensors`, or arrays aligned to its `inputs`.

    `outputs` are the names asked for, in the client's order, None for all of them;
    `binary_outputs` are the names among the answer's that go out as binary tensors.
    `size` is the request's bytes. Only queries with equal `batch_key` are predicted
    together.
    """

    rows: int
    feeds: tuple[Array, ...]
    id: str | None = None
    outputs: tuple[str, ...] | None = None
    binary_outputs: frozenset[str] = frozenset()
    size: int = 0
    batch_key: Hashable = None
    asked: float = 0.0  # `perf_counter` when the whole request was here
    caller: str = ""  # who asked: a token's mark or an address
    copy: bool = False  # of a request that another revision answers, see `Exchange`


@dataclass(slots=True)
class Answer:
    """Arrays aligned to the description's `outputs`; their first dimension is the
    query's rows where the model is batchable."""

    outputs: tuple[Array, ...]
