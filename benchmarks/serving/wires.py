"""How each server is asked, and how its answer is read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from benchmarks.serving.data import WIDTH, dump

Rows = Sequence[Sequence[float]]
JSON = {"Content-Type": "application/json"}
_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Question:
    """One POST."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))


@dataclass(frozen=True)
class Wire:
    """A way to ask: a question about rows, and the labels in the answer to it."""

    ask: Callable[[str, Rows], Question]
    labels: Callable[[bytes, Mapping[str, str]], Sequence[int]]


def _oip_path(model: str) -> str:
    return f"/v2/models/{model}/infer"


def _oip(model: str, rows: Rows) -> Question:
    tensor = {
        "name": "rows",
        "shape": [len(rows), WIDTH],
        "datatype": "FP64",
        "data": list(chain.from_iterable(rows)),
    }
    return Question(_oip_path(model), dump({"inputs": [tensor]}))


def _oip_binary(model: str, rows: Rows) -> Question:
    raw = packed(rows)
    tensor = {
        "name": "rows",
        "shape": [len(rows), WIDTH],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = dump({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", _LENGTH: str(len(head))}
    return Question(_oip_path(model), head + raw, headers)


def packed(rows: Rows) -> bytes:
    """Little-endian FP32, row by row."""
    values = list(chain.from_iterable(rows))
    return struct.pack(f"<{len(values)}f", *values)


def _oip_labels(body: bytes, headers: Mapping[str, str]) -> Sequence[int]:
    length = headers.get(_LENGTH.lower())
    if length is None:
        return _whole(json.loads(body)["outputs"][0]["data"])
    output = json.loads(body[: int(length)])["outputs"][0]
    size = output.get("parameters", {}).get("binary_data_size")
    if size is None:
        return _whole(output["data"])
    kind = {"INT64": "q", "INT32": "i", "FP32": "f", "FP64": "d"}[output["datatype"]]
    raw = body[int(length) : int(length) + size]
    return _whole(struct.unpack(f"<{size // struct.calcsize(kind)}{kind}", raw))


def _whole(values: Sequence[float]) -> Sequence[int]:
    return [int(value) for value in values]


def _named(path: str) -> Callable[[str, Rows], Question]:
    return lambda model, rows: Question(path.format(model=model), dump({"rows": rows}))


def _prediction(body: bytes, _: Mapping[str, str]) -> Sequence[int]:
    return _whole(json.loads(body)["prediction"])


def _array(body: bytes, _: Mapping[str, str]) -> Sequence[int]:
    """BentoML: labels, or rows of label and probabilities."""
    answer = json.loads(body)
    return _whole([each[0] if isinstance(each, list) else each for each in answer])


def _invocations(_: str, rows: Rows) -> Question:
    return Question("/invocations", dump({"inputs": rows}))


def _mlflow(body: bytes, _: Mapping[str, str]) -> Sequence[int]:
    answer: Any = json.loads(body)["predictions"]
    return _whole(next(iter(answer.values())) if isinstance(answer, dict) else answer)


OIP = Wire(_oip, _oip_labels)
OIP_BINARY = Wire(_oip_binary, _oip_labels)
NAMED = Wire(_named("/{model}"), _prediction)
BENTO = Wire(_named("/{model}"), _array)
MLFLOW = Wire(_invocations, _mlflow)
