"""Every bound of a replica in one place, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may cost. Seconds are wall time, sizes are bytes."""

    head_bytes: int = 32 * 1024  # request line and headers together
    headers: int = 100
    body_bytes: int = 16 * 1024 * 1024
    connections: int = 8192
    pipelined: int = 64  # requests of one connection that wait for their answers
    head_s: float = 10.0  # first byte of a request to the end of its headers
    body_s: float = 30.0  # end of the headers to the end of the body
    idle_s: float = 75.0  # a kept connection without a request
    write_s: float = 30.0  # a client that doesn't read its answer
    linger_s: float = 2.0  # after an early refusal: let the client read it


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`queue_rows` wait at most; `batch_rows` are predicted together at most, except
    that one request is never split. A prediction that is expected to take longer than
    `inline_s` leaves the event loop for a thread."""

    queue_rows: int = 8192
    batch_rows: int = 1024
    inline_s: float = 0.003
