"""One HTTP/2 stream: messages in, calls, messages out.

A unary call has one of each. A stream of requests has many: each is answered as if it
had come alone, in their order.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from volant.serving.exchange import Exchange
from volant.serving.grpc_call import Call, code_of
from volant.serving.grpc_frames import BEGIN, Fault, begin_encoded, end, reset, window_update
from volant.serving.grpc_head import Head
from volant.serving.refusal import Refusal, shown

if TYPE_CHECKING:
    from volant.serving.grpc import GrpcConnection

_PREFIX = 5  # one byte: compressed or not; four: the message's size
_CREDIT = 1 << 20  # bytes of a long stream that are given back at once
_WORTH_PACKING = 1024  # bytes
_WBITS = {b"gzip": 31, b"deflate": 15}


class Stream:
    """`since` is when its client last sent something, on the loop's clock."""

    __slots__ = (
        "_begun",
        "_calls",
        "_chunks",
        "_connection",
        "_consumed",
        "_deadline",
        "_held",
        "_message",
        "_packed",
        "_size",
        "ended",
        "head",
        "id",
        "long",
        "over",
        "since",
        "trailers",
        "unsent",
        "window",
    )

    def __init__(self, connection: GrpcConnection, number: int, head: Head, long: bool) -> None:
        self.id = number
        self.head = head
        self.long = long  # requests and answers are streams
        self.since = connection.loop.time()
        self.window = connection.outbox.first_window
        self.unsent: deque[memoryview] = deque()
        self.trailers: bytes | None = None
        self.ended = False  # the client has sent all that it wants to
        self.over = False  # the end is said, or needs not be said
        self._connection = connection
        self._begun = False  # our headers are out
        self._packed = False  # the client compresses
        self._calls: deque[Call] = deque()
        self._message: bytes | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._held = 0
        self._consumed = 0  # bytes of answered requests, to be given back
        self._deadline: asyncio.TimerHandle | None = None
        if head.timeout_s is not None:
            self._deadline = connection.loop.call_later(head.timeout_s, self._expire)

    @property
    def partial(self) -> bool:
        """Whether something is awaited that the client began."""
        return not self.ended and (not self.long or self._size > 0)

    @property
    def waiting(self) -> bool:
        """Whether a call is to be answered yet."""
        return bool(self._calls)

    @property
    def internal(self) -> bool:
        """Whether the control plane or another replica asks."""
        return self._connection.internal

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer

    # in

    def feed(self, payload: bytes, *, last: bool) -> None:
        """The payload of one DATA frame."""
        if self.over:
            return
        if not self._chunks and len(payload) >= _PREFIX:
            size = int.from_bytes(payload[1:_PREFIX])
            if size == len(payload) - _PREFIX:
                self.ended = last
                self._arrived(payload[0], payload[_PREFIX:])
                return
        self.since = self._connection.loop.time()
        self._chunks.append(payload)
        self._size += len(payload)
        self._hold(self._held + len(payload))
        if self._size >= _PREFIX and not self.over:
            self._split()

    def _hold(self, size: int) -> None:
        """So many bytes wait here for the rest."""
        more, self._held = size - self._held, size
        if more and not self._connection.hold(more):
            self.refuse(
                Refusal(429, "Too many bytes wait in messages that aren't whole. Try again later.")
            )

    def _split(self) -> None:
        """Take the whole messages out of what has come."""
        first = self._chunks[0]
        if len(first) < _PREFIX:
            first = b"".join(self._chunks)
            self._chunks = [first]
        if self._too_large(int.from_bytes(first[1:_PREFIX])):
            return
        if self._size < _PREFIX + int.from_bytes(first[1:_PREFIX]):
            return
        data = b"".join(self._chunks)
        at = 0
        while len(data) - at >= _PREFIX and not self.over:
            size = int.from_bytes(data[at + 1 : at + _PREFIX])
            if self._too_large(size):
                return
            stop = at + _PREFIX + size
            if stop > len(data):
                break
            self._arrived(data[at], data[at + _PREFIX : stop])
            at = stop
        if not self.over:
            rest = data[at:]
            self._chunks = [rest] if rest else []
            self._size = len(rest)
            self._hold(len(rest) + len(self._message or b""))

    def _too_large(self, size: int) -> bool:
        limit = self._connection.limits.body_bytes
        if size > limit:
            self.refuse(Refusal(413, f"The message: expected at most {limit} bytes, got {size}."))
            return True
        return False

    def _arrived(self, flag: int, message: bytes) -> None:
        if flag:
            self._packed = True
            try:
                message = _unpacked(message, self.head.encoding, self._connection.limits.body_bytes)
            except Refusal as refusal:
                self.refuse(refusal)
                return
        if self.long:
            self._begin(message)
        elif self._message is not None:
            self.refuse(Refusal(400, "Expected one message, got more."))
        elif self.ended:
            self._begin(message)
        else:
            self._message = message
            self._hold(self._held + len(message))

    def finish(self) -> None:
        """The client has sent all."""
        self.ended = True
        if self.over or (self._calls and not self.long):
            return
        if self._size:
            got = self._size
            self.refuse(Refusal(400, f"Expected whole messages, got {got} bytes of another."))
        elif not self.long:
            if self._message is None:
                self.refuse(Refusal(400, "Expected one message, got none."))
            else:
                message, self._message = self._message, None
                self._begin(message)
        elif not self._calls:
            self._end(0, "")

    def _begin(self, message: bytes) -> None:
        if self._held and not self._chunks:
            self._hold(0)
        call = self._new_call()
        call.body = message
        connection = self._connection
        try:
            connection.server.call(self.head.path.decode("latin-1"), call, call.reply)
        except Exception as error:
            connection.server.broke(call, error)

    def _new_call(self) -> Call:
        call = Call(self, self.head.path, self.head.headers)
        call.started = perf_counter()
        self._calls.append(call)
        self._connection.server.began(call)
        return call

    def refuse(self, refusal: Refusal) -> None:
        """End the stream with a status, before or in spite of the calls under way."""
        if self.over:
            return
        waiting = [call for call in self._calls if call.response is None]
        for call in waiting or [self._new_call()]:
            call.give_up()
            call.refuse(refusal)

    def _expire(self) -> None:
        self.refuse(Refusal(504, f"The deadline of {self.head.timeout_s:g} s has passed."))

    # out

    def answered(self, exchange: Exchange) -> None:
        """Called by a call that has its response."""
        connection = self._connection
        connection.server.count(exchange)
        calls = self._calls
        while calls and calls[0].response is not None and not self.over:
            call = calls.popleft()
            status, body, _ = call.response or (500, b"", b"")
            if self.long:
                self._consumed += len(call.body) + _PREFIX
                self._part(status, call.text, body)
            elif status == 200:
                self._only(body, call.mark)
            else:
                self._end(code_of(status), call.text, call.mark)
        connection.wake()

    def _only(self, message: bytes, mark: bytes) -> None:
        connection = self._connection
        packs = self._packed and len(message) >= _WORTH_PACKING
        if not (packs or mark) and connection.outbox.unary(self, message):
            self._close()
            return
        self._send(message)
        self._end(0, "", mark)

    def _part(self, status: int, text: str, message: bytes) -> None:
        """One answer of a long stream. A message can tell a fault, and then the stream
        goes on; without one it ends."""
        if status != 200 and not message:
            self._end(code_of(status), text)
            return
        self._send(message)
        if self._consumed >= _CREDIT and not self.ended:
            self._connection.outbox.frames.append(window_update(self.id, self._consumed))
            self._consumed = 0
        if self.ended and not self._calls:
            self._end(0, "")
        else:
            self._connection.outbox.pump(self)

    def _send(self, message: bytes) -> None:
        outbox = self._connection.outbox
        if not self._begun:
            self._begun = True
            if self._packed:
                outbox.frames.append(begin_encoded(self.id, self.head.encoding))
            else:
                outbox.frames.append(BEGIN.of(self.id))
        flag = 0
        if self._packed and len(message) >= _WORTH_PACKING:
            flag = 1
            packer = zlib.compressobj(1, zlib.DEFLATED, _WBITS[self.head.encoding])
            message = packer.compress(message) + packer.flush()
        self.unsent.append(memoryview(b"%c%b" % (flag, len(message).to_bytes(4))))
        if message:
            self.unsent.append(memoryview(message))

    def _end(self, code: int, text: str, mark: bytes = b"") -> None:
        """Say the end, after all that is to be sent before."""
        if self.over:
            return
        self.over = True
        self.trailers = end(self.id, code, text, mark, begun=self._begun)
        if self._connection.outbox.pump(self):
            self._close()
        else:
            self._settle()

    def push(self) -> None:
        """There is more room."""
        if self._connection.outbox.pump(self):
            self._close()

    def _close(self) -> None:
        """Everything is out."""
        self.over = True
        self._settle()
        if not self.ended:
            # What the client still sends is for nothing, and not its fault.
            self._connection.outbox.frames.append(reset(self.id, Fault.NO_ERROR))
        self._connection.closed(self)

    def leave(self) -> None:
        """This replica goes: a long stream in which nothing is asked ends."""
        if self.long and not self._calls and not self.over:
            self._end(code_of(503), "This replica leaves. Open the stream again.")
            self._connection.wake()

    # the end

    def abandon(self) -> None:
        """The client is gone, or has cancelled it."""
        self.over = True
        self.unsent.clear()
        self._connection.outbox.blocked.pop(self.id, None)
        self._drop_calls()
        self._settle()

    def _drop_calls(self) -> None:
        for call in self._calls:
            if call.response is None:
                call.over = True
                self._connection.server.abandoned(call)
                call.give_up()
        self._calls.clear()

    def _settle(self) -> None:
        self._calls.clear()
        self._chunks = []
        self._message = None
        self._size = 0
        if self._held:
            self._hold(0)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _unpacked(message: bytes, encoding: bytes, limit: int) -> bytes:
    """Raises `Refusal`."""
    wbits = _WBITS.get(encoding)
    if wbits is None:
        known = "identity, deflate, gzip"
        got = shown(encoding.decode("latin-1"))
        raise Refusal(501, f"grpc-encoding: expected {known}, got {got}.")
    unpacker = zlib.decompressobj(wbits)
    try:
        plain = unpacker.decompress(message, limit + 1)
    except zlib.error as error:
        raise Refusal(400, f"The message isn't {encoding.decode()}: {error}.") from None
    if len(plain) > limit:
        raise Refusal(413, f"The message: expected at most {limit} bytes, unpacked it has more.")
    if not unpacker.eof:
        raise Refusal(400, f"The message: expected whole {encoding.decode()} data, got a part.")
    return plain
