"""What one HTTP/2 connection sends, in pieces that the other side has room for."""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import Protocol

from volant.serving.grpc_frames import (
    BEGIN,
    DATA,
    END,
    LARGEST_WINDOW,
    SMALLEST_FRAME,
    WINDOW,
    frame,
)

_DATA_HEAD = Struct(">HBBBIBI")  # a DATA frame's head, and a message's after it
_ID = Struct(">I")


class Sending(Protocol):
    """A stream's sending half: its window, the data that waits for it, and its end."""

    id: int
    window: int
    unsent: deque[memoryview]
    trailers: bytes | None


class Outbox:
    """Frames wait here until the connection's next write. `window` is the connection's,
    `first_window` a new stream's; `max_frame` is the largest that the other side takes.
    """

    __slots__ = ("blocked", "first_window", "frames", "held", "max_frame", "window")

    def __init__(self) -> None:
        self.window = WINDOW
        self.first_window = WINDOW
        self.max_frame = SMALLEST_FRAME
        self.held = False  # the socket is full: nothing but small frames
        self.frames: list[bytes] = []
        self.blocked: dict[int, Sending] = {}

    def unary(self, stream: Sending, message: bytes) -> bool:
        """The usual answer, whole: headers, one message, OK. False when there is no room
        for it, and then nothing is sent."""
        size = len(message) + 5
        if size > self.window or size > stream.window or size > self.max_frame or self.held:
            return False
        self.window -= size
        number = _ID.pack(stream.id)
        head = _DATA_HEAD.pack(size >> 8, size & 255, DATA, 0, stream.id, 0, size - 5)
        self.frames.append(
            b"".join(
                (
                    BEGIN.before,
                    number,
                    BEGIN.after,
                    head,
                    message,
                    END.before,
                    number,
                    END.after,
                )
            )
        )
        return True

    def pump(self, stream: Sending) -> bool:
        """Send what there is room for; whether all of it is out."""
        unsent = stream.unsent
        while unsent:
            data = unsent[0]
            size = min(len(data), self.window, stream.window, self.max_frame)
            if size <= 0 or self.held:
                self.blocked[stream.id] = stream
                return False
            self.frames.append(frame(DATA, 0, stream.id, bytes(data[:size])))
            self.window -= size
            stream.window -= size
            if size == len(data):
                unsent.popleft()
            else:
                unsent[0] = data[size:]
        self.blocked.pop(stream.id, None)
        if stream.trailers is None:
            return False
        self.frames.append(stream.trailers)
        return True

    def grow(self, credit: int) -> bool:
        """More room on the connection; False when that is more than there can be."""
        self.window += credit
        return self.window <= LARGEST_WINDOW

    def take(self) -> bytes:
        """All that can be written now."""
        frames, self.frames = self.frames, []
        return frames[0] if len(frames) == 1 else b"".join(frames)
