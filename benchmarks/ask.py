"""One question to a model over the Open Inference Protocol."""

from __future__ import annotations

import http.client
import json
from typing import Any, Self
from urllib.parse import urlsplit

from benchmarks.rows import COLUMNS

QUESTION = json.dumps(
    {
        "inputs": [
            {
                "name": "rows",
                "shape": [1, len(COLUMNS)],
                "datatype": "FP64",
                "data": [round(0.1 * i - 0.3, 3) for i in range(len(COLUMNS))],
            }
        ]
    }
).encode()
"""One row as a single tensor, as clients with a matrix send it."""

NAMED_QUESTION = json.dumps(
    {
        "inputs": [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [round(0.1 * i - 0.3, 3)]}
            for i, name in enumerate(COLUMNS)
        ]
    }
).encode()
"""The same row as one named tensor a column."""


class Asker:
    """One kept connection."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._path = path
        self._connection = http.client.HTTPConnection(host, port, timeout=60)

    @classmethod
    def of(cls, url: str) -> Self:
        parts = urlsplit(url)
        return cls(str(parts.hostname), int(parts.port or 80), parts.path)

    def ask(self, question: bytes = QUESTION) -> dict[str, Any]:
        """The answer's JSON. Raises `RuntimeError` when it isn't a prediction."""
        self._connection.request("POST", self._path, question)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {body[:300]!r}")
        return json.loads(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
