"""What one HTTP/2 client sends, frame by frame: each is checked, counted and acted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from volant.serving.grpc_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_WINDOW,
    MAX_FRAME,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SMALLEST_FRAME,
    WINDOW_UPDATE,
    ConnectionFault,
    Fault,
    frame,
    plain_answer,
    read_settings,
    reset,
    unpadded,
    window_update,
)
from volant.serving.grpc_head import Head, Heads
from volant.serving.grpc_stream import Stream

if TYPE_CHECKING:
    from volant.serving.grpc import GrpcConnection

FAREWELL = b"farewell"
"""The ping between the two halves of leaving."""

_LONG = frozenset({b"/inference.GRPCInferenceService/ModelStreamInfer"})  # requests are streams
_SIZES = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_NOT_GRPC = orjson.dumps(
    {
        "error": "Over HTTP/2 only gRPC is spoken here (content-type: application/grpc). "
        "Ask the REST API over HTTP/1.1."
    }
)


class Reader:
    """`last` is the highest stream that the client began; `controls` counts frames since
    the last sweep that ask for nothing."""

    def __init__(self, connection: GrpcConnection) -> None:
        self.last = 0
        self.controls = 0
        self.greeted = False  # the client's settings came
        self.unfinished = 0  # the stream of a header block that isn't whole
        self._connection = connection
        self._outbox = connection.outbox
        self._streams = connection.streams
        self._bounds = connection.limits.grpc
        self._head_bytes = connection.limits.head_bytes
        self._heads = Heads(self._head_bytes)
        self._block: list[bytes] = []
        self._block_flags = 0
        self._credit = 0  # bytes received, not given back to the connection's window
        self._resets = self._bounds.resets

    def pardon(self) -> None:
        """A call was answered: one that is cancelled is forgiven."""
        if self._resets < self._bounds.resets:
            self._resets += 1

    def read(self, data: bytes) -> int:
        """Handle the whole frames in `data`; returns where the rest begins."""
        at, end = 0, len(data)
        most = self._bounds.frame_bytes
        while end - at >= 9 and not self._connection.deaf:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if size > most:
                raise ConnectionFault(
                    Fault.FRAME_SIZE_ERROR, f"A frame: expected at most {most} bytes, got {size}."
                )
            stop = at + 9 + size
            if stop > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            number = int.from_bytes(data[at + 5 : at + 9]) & LARGEST_WINDOW
            payload = data[at + 9 : stop]
            at = stop
            if self.unfinished and (kind != CONTINUATION or number != self.unfinished):
                raise ConnectionFault(Fault.PROTOCOL_ERROR, "Another frame inside of headers.")
            if kind == DATA:
                self._data(flags, number, payload)
            elif kind == HEADERS:
                self._headers(flags, number, payload)
            else:
                self._control(kind, flags, number, payload)
        return at

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._credit += size
        if self._credit >= self._bounds.held_bytes // 2:
            self._outbox.frames.append(window_update(0, self._credit))
            self._credit = 0
        stream = self._streams.get(number)
        if stream is None:
            self._known(number)
            return  # it ended here before its client knew
        if stream.ended:
            self._reset(stream, Fault.STREAM_CLOSED)
            return
        if flags:
            payload = unpadded(payload, flags)
        last = bool(flags & END_STREAM)
        if payload:
            stream.feed(payload, last=last)
        elif not last:
            self._idle_frame()
        if last:
            stream.finish()

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if number % 2 == 0:
            raise ConnectionFault(Fault.PROTOCOL_ERROR, f"HEADERS on stream {number}.")
        if flags & ~(END_STREAM | END_HEADERS):
            payload = unpadded(payload, flags)
            if flags & HAS_PRIORITY:
                if len(payload) < 5:
                    raise ConnectionFault(Fault.FRAME_SIZE_ERROR, "HEADERS that are too short.")
                payload = payload[5:]
        if flags & END_HEADERS:
            self._whole_block(flags, number, payload)
        else:
            self._block = [payload]
            self.unfinished, self._block_flags = number, flags
            self._connection.touch()

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if not self.unfinished:
            raise ConnectionFault(Fault.PROTOCOL_ERROR, "CONTINUATION without HEADERS.")
        self._block.append(payload)
        size = sum(map(len, self._block))
        if size > self._head_bytes or len(self._block) > self._bounds.continuations:
            raise ConnectionFault(
                Fault.ENHANCE_YOUR_CALM,
                f"The headers: expected at most {self._head_bytes} bytes in "
                f"{self._bounds.continuations} frames, got {size} in {len(self._block)}.",
            )
        if flags & END_HEADERS:
            block, self._block, self.unfinished = b"".join(self._block), [], 0
            self._whole_block(self._block_flags, number, block)

    def _whole_block(self, flags: int, number: int, block: bytes) -> None:
        stream = self._streams.get(number)
        if stream is not None or number <= self.last:
            good = self._heads.read_trailers(block)
            if stream is None:
                return  # it ended here before its client knew
            if not good or not flags & END_STREAM or stream.ended:
                self._reset(stream, Fault.PROTOCOL_ERROR)
            else:
                stream.finish()
            return
        head = self._heads.read(block)
        self.last = number
        if self._connection.final or len(self._streams) >= self._bounds.streams:
            self._refuse(number, Fault.REFUSED_STREAM)
        elif head.fault:
            self._refuse(number, Fault.PROTOCOL_ERROR)
        else:
            self._open(flags, number, head)

    def _open(self, flags: int, number: int, head: Head) -> None:
        if not head.is_grpc or head.method != b"POST":
            self._idle_frame()
            self._outbox.frames.append(plain_answer(number, 415, _NOT_GRPC))
            if not flags & END_STREAM:
                self._outbox.frames.append(reset(number, Fault.NO_ERROR))
            return
        stream = Stream(self._connection, number, head, head.path in _LONG)
        self._streams[number] = stream
        if flags & END_STREAM:
            stream.finish()

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == CONTINUATION:
            self._continuation(flags, number, payload)
            return
        self._idle_frame()
        size = len(payload)
        expected = _SIZES.get(kind, size)
        if size != expected:
            raise ConnectionFault(
                Fault.FRAME_SIZE_ERROR, f"Frame type {kind}: expected {expected} bytes, got {size}."
            )
        if kind in (SETTINGS, PING, GOAWAY) and number:
            raise ConnectionFault(Fault.PROTOCOL_ERROR, f"Frame type {kind} on a stream.")
        if kind == SETTINGS:
            self._settings(flags, payload)
        elif kind == WINDOW_UPDATE:
            self._window(number, int.from_bytes(payload) & LARGEST_WINDOW)
        elif kind == PING:
            self._ping(flags, payload)
        elif kind == RST_STREAM:
            self._cancelled(number)
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(Fault.PROTOCOL_ERROR, "PUSH_PROMISE from a client.")

    def _idle_frame(self) -> None:
        """Frames that ask for nothing cost us more than their sender."""
        self.controls += 1
        if self.controls > self._bounds.controls:
            raise ConnectionFault(Fault.ENHANCE_YOUR_CALM, "Too many frames that ask for nothing.")

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            if payload:
                raise ConnectionFault(Fault.FRAME_SIZE_ERROR, "An acknowledgement with settings.")
            return
        self.greeted = True
        for name, value in read_settings(payload):
            if name == INITIAL_WINDOW:
                if value > LARGEST_WINDOW:
                    raise ConnectionFault(Fault.FLOW_CONTROL_ERROR, f"A window of {value}.")
                grown = value - self._outbox.first_window
                self._outbox.first_window = value
                for stream in self._streams.values():
                    stream.window += grown
            elif name == MAX_FRAME:
                if not SMALLEST_FRAME <= value < 1 << 24:
                    raise ConnectionFault(Fault.PROTOCOL_ERROR, f"A largest frame of {value}.")
                self._outbox.max_frame = value
        self._outbox.frames.append(frame(SETTINGS, ACK, 0))
        self._connection.unblock()

    def _window(self, number: int, credit: int) -> None:
        if number == 0:
            if credit == 0:
                raise ConnectionFault(Fault.PROTOCOL_ERROR, "A window's update of 0.")
            if not self._outbox.grow(credit):
                raise ConnectionFault(Fault.FLOW_CONTROL_ERROR, "A window that is too large.")
        else:
            stream = self._streams.get(number)
            if stream is None:
                self._known(number)
                return
            stream.window += credit
            if credit == 0 or stream.window > LARGEST_WINDOW:
                self._reset(stream, Fault.FLOW_CONTROL_ERROR if credit else Fault.PROTOCOL_ERROR)
                return
        self._connection.unblock()

    def _ping(self, flags: int, payload: bytes) -> None:
        if not flags & ACK:
            self._outbox.frames.append(frame(PING, ACK, 0, payload))
        elif payload == FAREWELL:
            self._connection.say_last()

    def _cancelled(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            self._known(number)
            return
        self._resets -= 1
        if self._resets < 0:
            raise ConnectionFault(Fault.ENHANCE_YOUR_CALM, "Too many calls that are cancelled.")
        self._connection.forget(stream)

    def _known(self, number: int) -> None:
        if number == 0 or number % 2 == 0 or number > self.last:
            raise ConnectionFault(Fault.PROTOCOL_ERROR, f"Stream {number} never began.")

    def _reset(self, stream: Stream, fault: Fault) -> None:
        self._connection.forget(stream)
        self._refuse(stream.id, fault)

    def _refuse(self, number: int, fault: Fault) -> None:
        self._idle_frame()
        self._outbox.frames.append(reset(number, fault))
