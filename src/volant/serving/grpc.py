"""gRPC on a deployment's port: HTTP/2 (RFC 9113) for one purpose.

A connection begins as any other does; when its first bytes are HTTP/2's preface, it is
handed over to a `GrpcConnection`. That has a reader for the client's frames, an outbox
for ours, and the streams between them. What is to be sent in one turn of the loop is
written at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from volant.serving.grpc_frames import (
    INITIAL_WINDOW,
    LARGEST_WINDOW,
    MAX_FRAME,
    MAX_HEADER_LIST,
    MAX_STREAMS,
    PING,
    WINDOW,
    ConnectionFault,
    Fault,
    frame,
    goaway,
    settings,
    window_update,
)
from volant.serving.grpc_outbox import Outbox
from volant.serving.grpc_reader import FAREWELL, Reader
from volant.serving.grpc_stream import Stream
from volant.serving.refusal import Refusal

if TYPE_CHECKING:
    from volant.serving.http_server import HttpServer


class GrpcConnection(asyncio.Protocol):
    """One client. It leaves in two steps, RFC 9113, 6.8: it says that it will, and when
    the client must have heard it (its ping came back), which stream was the last."""

    def __init__(self, server: HttpServer, *, internal: bool, peer: str) -> None:
        self.server = server
        self.internal = internal
        self.peer = peer
        self.loop = server.loop
        self.limits = server.limits
        self.outbox = Outbox()
        self.held = 0  # bytes of messages that aren't whole
        self._transport: asyncio.Transport | None = None
        self.streams: dict[int, Stream] = {}
        self.deaf = False  # nothing more is read; the end is near
        self.final = False  # the client was told which stream is the last
        self._reader = Reader(self)
        self._rest = b""
        self._waking = False
        self._reading = False  # `data_received` is at work and will write
        self._leaving_since: float | None = None
        self._since = self.loop.time()
        self._stalled_since: float | None = None
        self._blocked_since: float | None = None

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with a connection whose preface was read; `data` came after it."""
        self._transport = transport
        transport.set_protocol(self)
        bounds = self.limits.grpc
        self.outbox.frames.append(
            settings(
                {
                    MAX_STREAMS: bounds.streams,
                    INITIAL_WINDOW: self.limits.body_bytes + bounds.frame_bytes,
                    MAX_FRAME: bounds.frame_bytes,
                    MAX_HEADER_LIST: self.limits.head_bytes,
                }
            )
            + window_update(0, bounds.held_bytes - WINDOW)
        )
        self.data_received(data)

    # asyncio's side

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        if self._rest:
            data = self._rest + data
        self._reading = True
        try:
            self._rest = data[self._reader.read(data) :]
        except ConnectionFault as fault:
            self._break(fault)
        finally:
            self._reading = False
        self._write()

    def eof_received(self) -> bool:
        """A client that only half-closed still gets its answers."""
        for stream in list(self.streams.values()):
            if not stream.ended:
                self.forget(stream)
        self.final = True
        self._write()
        return bool(self.streams)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.deaf = True
        self._rest = b""
        for stream in list(self.streams.values()):
            stream.abandon()
        self.streams.clear()
        self.server.gone(self)

    def pause_writing(self) -> None:
        self._stalled_since = self.loop.time()
        self.outbox.held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._stalled_since = None
        self.outbox.held = False
        if self._transport is not None:
            self._transport.resume_reading()
        self.unblock()
        self._write()

    # out

    def wake(self) -> None:
        """Something waits in the outbox: write it at the end of this turn."""
        if not self._waking and not self._reading:
            self._waking = True
            self.loop.call_soon(self._woken)

    def _woken(self) -> None:
        self._waking = False
        self._write()

    def _write(self) -> None:
        if self._transport is None:
            return
        if self.outbox.frames:
            self._transport.write(self.outbox.take())
        if not self.outbox.blocked:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = self.loop.time()
        if self.final and not self.streams and not self.deaf:
            self._hang_up()

    def unblock(self) -> None:
        """Send on what waited for room, each in its turn."""
        outbox = self.outbox
        before = len(outbox.frames)
        for stream in list(outbox.blocked.values()):
            if outbox.window <= 0 or outbox.held:
                break
            # Last in the queue from now on, if it isn't done with it.
            outbox.blocked.pop(stream.id, None)
            outbox.blocked[stream.id] = stream
            self.streams[stream.id].push()
        if len(outbox.frames) > before:
            self._blocked_since = None

    # streams

    def touch(self) -> None:
        """The client does something, or has its answer."""
        self._since = self.loop.time()

    def hold(self, more: int) -> bool:
        """Count bytes of messages that aren't whole; whether there is room for them."""
        self.held += more
        self.server.held_bytes += more
        return more <= 0 or (
            self.held <= self.limits.grpc.held_bytes
            and self.server.held_bytes <= self.limits.held_bytes
        )

    def closed(self, stream: Stream) -> None:
        """Its answer is out."""
        self.streams.pop(stream.id, None)
        self.touch()
        self._reader.pardon()
        if self._leaving_since is None and self.server.wants_close():
            self.leave()

    def forget(self, stream: Stream) -> None:
        """Nobody wants its answer."""
        stream.abandon()
        self.streams.pop(stream.id, None)
        self.touch()

    # the end

    def leave(self) -> None:
        """Say that this replica takes no new streams soon; those that are here or under
        way are answered."""
        if self._leaving_since is None and not self.deaf:
            self._leaving_since = self.loop.time()
            self.outbox.frames.append(goaway(LARGEST_WINDOW, Fault.NO_ERROR))
            self.outbox.frames.append(frame(PING, 0, 0, FAREWELL))
            self.wake()

    def say_last(self) -> None:
        if self._leaving_since is None or self.final:
            return
        self.final = True
        self.outbox.frames.append(goaway(self._reader.last, Fault.NO_ERROR))
        for stream in list(self.streams.values()):
            stream.leave()
        self.wake()

    def _break(self, fault: ConnectionFault) -> None:
        """The client's fault ends everything."""
        for stream in list(self.streams.values()):
            stream.abandon()
        self.streams.clear()
        self.outbox.frames.append(goaway(self._reader.last, fault.fault, fault.text))
        self._rest = b""
        self.final = True

    def _hang_up(self) -> None:
        """Our side first, so that a client that still sends reads what it was told, and
        no reset."""
        self.deaf = True
        self._since = self.loop.time()
        if self._transport is not None:
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self.loop.call_later(self.limits.linger_s, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now: float, idle_s: float, idle_since: float) -> None:
        """Once a second: end what took too long. `idle_since` is the earliest time that
        an idle connection counts from."""
        limits = self.limits
        self._reader.controls = 0
        stuck = self._stalled_since or self._blocked_since
        if stuck is not None and now - stuck > limits.write_s:
            self._abort()
            return
        if self.deaf:
            return
        if (
            self._reader.unfinished or not self._reader.greeted
        ) and now - self._since > limits.head_s:
            self._break(ConnectionFault(Fault.ENHANCE_YOUR_CALM, "Headers that never end."))
        for stream in list(self.streams.values()):
            if stream.partial and now - stream.since > limits.body_s:
                stream.refuse(
                    Refusal(408, f"Expected the whole message within {limits.body_s:g} s.")
                )
        if self._leaving_since is not None:
            if now - self._leaving_since > limits.grpc.farewell_s:
                self.say_last()
                for stream in list(self.streams.values()):
                    stream.leave()
        elif self.server.draining or (
            not self.streams and now - max(self._since, idle_since) > idle_s
        ):
            self.leave()
        self._write()
