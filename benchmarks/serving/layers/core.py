"""What all layers share: the model, the parser, the batcher, the formatter of Volant.

`Core` takes a body and calls back with a status and a body; how the bytes come and go is
the layer's own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from volant.serving.answers import Formatter
from volant.serving.batching import Batcher
from volant.serving.inference import load
from volant.serving.limits import BatchLimits
from volant.serving.oip import parse
from volant.serving.query import Answer, Query
from volant.serving.refusal import Refusal

Back = Callable[[int, bytes], None]


class Core:
    """One model on the running loop."""

    def __init__(self, folder: str) -> None:
        package = Path(folder)
        files = {
            path.relative_to(package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in package.rglob("*")
            if path.is_file()
        }
        model = load(package, files)
        self._description = model.description
        self._format = Formatter("forest", "1", model.description)
        self._batcher = Batcher(model.predict, asyncio.get_running_loop(), BatchLimits())

    def predict(self, body: bytes, back: Back) -> None:
        try:
            query = parse(body, self._description)
        except Refusal as refusal:
            back(refusal.status, refusal.text.encode())
            return

        def done(query: Query, outcome: Answer | Exception) -> None:
            if isinstance(outcome, Exception):
                back(500, b"{}")
            else:
                back(200, self._format.body(query, outcome))

        self._batcher.submit(query, done)

    def awaited(self, body: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """For layers that wait."""
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def back(status: int, answer: bytes) -> None:
            if not future.done():
                future.set_result((status, answer))

        self.predict(body, back)
        return future
