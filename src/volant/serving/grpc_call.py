"""One gRPC call as an exchange, so that it is counted, logged and refused as any other
request is; and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from volant.serving.exchange import Asking, Exchange
from volant.serving.refusal import Refusal

# The one place where a refusal's HTTP status becomes a gRPC code
# (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
CODES: Mapping[int, int] = {
    200: 0,  # OK
    400: 3,  # INVALID_ARGUMENT
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 5,  # NOT_FOUND
    405: 12,  # UNIMPLEMENTED
    408: 4,  # DEADLINE_EXCEEDED
    409: 9,  # FAILED_PRECONDITION
    413: 8,  # RESOURCE_EXHAUSTED
    415: 12,
    429: 8,
    431: 8,
    500: 13,  # INTERNAL
    501: 12,
    503: 14,  # UNAVAILABLE
    504: 4,
}
_UNKNOWN = 2


def code_of(status: int) -> int:
    """gRPC's code for an HTTP status."""
    return CODES.get(status, _UNKNOWN)


class Reply(NamedTuple):
    """`status` is an HTTP status; `body` a serialized message. Without one, `text` goes
    out as the call's fault; a long stream's messages can tell their faults themselves."""

    status: int
    body: bytes
    text: str = ""


Respond = Callable[[Reply], None]
# Method's path, the request (message, metadata), where the reply goes, now or later.
Rpc = Callable[[str, Exchange, Respond], None]


class Call(Exchange):
    """One message in, one out. Once it is `over` nobody waits for its reply."""

    __slots__ = ("over", "text")

    def __init__(self, stream: Asking, path: bytes, headers: Mapping[bytes, bytes]) -> None:
        super().__init__(stream, b"POST", path)
        self.headers = dict(headers)  # the stream's are the same for many calls
        self.text = ""
        self.over = False

    def reply(self, reply: Reply) -> None:
        """Called once, but for a reply that comes after a refusal: it is lost."""
        if self.response is None and not self.over:
            self.text = reply.text
            self.answer(reply.status, reply.body)

    def refuse(self, refusal: Refusal) -> None:
        """As a status, with the refusal's text."""
        self.reply(Reply(refusal.status, b"", refusal.text))
