"""One request and its answer, whatever carried them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import orjson

from volant.serving.refusal import Refusal

JSON = b"content-type: application/json\r\n"
OCTETS = b"content-type: application/octet-stream\r\n"


class Asking(Protocol):
    """Whoever an exchange's answer goes to."""

    @property
    def internal(self) -> bool: ...
    @property
    def peer(self) -> str: ...
    def answered(self, exchange: Exchange) -> None: ...


class Exchange:
    """One request; `answer` or `refuse` is called once, now or later, on the loop."""

    __slots__ = (
        "_connection",
        "after",
        "away",
        "body",
        "caller",
        "cancel",
        "content_type",
        "copy",
        "headers",
        "keep_alive",
        "mark",
        "method",
        "old_client",
        "path",
        "quiet",
        "response",
        "rows",
        "started",
        "waits",
    )

    def __init__(self, connection: Asking, method: bytes, path: bytes) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.headers: Mapping[bytes, bytes] = {}  # those of several requests may be one
        self.body = b""
        self.keep_alive = True
        self.old_client = False
        self.response: tuple[int, bytes, bytes] | None = None
        self.content_type = JSON  # the answer's, a complete line
        self.rows = 0
        self.quiet = False  # a check or a scrape: counted nowhere, no sign of use
        self.copy = False  # of a request that another revision answers: this is its shadow
        self.started = 0.0  # `perf_counter` when the whole request was here
        self.away = False  # another revision shall answer it
        self.waits = 0  # its place among those that wait for an answer; see `Counters.waits`
        self.cancel: Callable[[], None] | None = None
        self.mark = b""  # complete header lines that go with any answer
        self.after: Callable[[Exchange], None] | None = None  # once the answer is sent
        self.caller = ""  # the mark of the token that was shown, if one was asked for

    @property
    def internal(self) -> bool:
        """Whether another replica, or the control plane, sent it over a Unix socket."""
        return self._connection.internal

    @property
    def peer(self) -> str:
        """The client's address, also of one whose request another replica passed on."""
        if self._connection.internal:
            return self.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return self._connection.peer

    def answer(self, status: int, body: bytes, headers: bytes = b"") -> None:
        """Send JSON, or what `content_type` says. `headers` are complete lines."""
        self.response = (status, body, headers)
        self.cancel = None  # it may refer to this exchange: no cycle keeps the body
        self._connection.answered(self)
        if self.after is not None:
            self.after(self)

    def give_up(self) -> None:
        """Nobody waits for the answer any more."""
        cancel, self.cancel = self.cancel, None
        if cancel is not None:
            cancel()

    def refuse(self, refusal: Refusal) -> None:
        """Send `{"error": …}`."""
        self.content_type = JSON
        body = orjson.dumps({"error": refusal.text.encode(errors="replace").decode()})
        self.answer(refusal.status, body, refusal.headers)
