"""Every bound of a replica in one place, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What one HTTP/2 connection may cost beside what `HttpLimits` says."""

    streams: int = 256  # at once
    frame_bytes: int = 64 * 1024
    held_bytes: int = 64 * 1024 * 1024  # of messages that aren't whole, all streams' together
    continuations: int = 16  # frames of one header block
    resets: int = 1000  # calls cancelled by the client, less those that were answered
    controls: int = 10_000  # frames a second that ask for nothing
    farewell_s: float = 1.0  # how long a leaving replica waits for the client to know


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may cost. Seconds are wall time, sizes are bytes."""

    head_bytes: int = 32 * 1024  # request line and headers together
    headers: int = 100
    body_bytes: int = 16 * 1024 * 1024
    held_bytes: int = 256 * 1024 * 1024  # of bodies that are under way, all clients' together
    connections: int = 8192
    pipelined: int = 64  # requests of one connection that wait for their answers
    head_s: float = 10.0  # first byte of a request to the end of its headers
    body_s: float = 30.0  # end of the headers to the end of the body
    idle_s: float = 75.0  # a kept connection without a request
    gave_up_s: float = 10.0  # a client that waited so long in vain wasn't served
    write_s: float = 30.0  # a client that doesn't read its answer
    linger_s: float = 2.0  # after an early refusal: let the client read it
    grpc: GrpcLimits = GrpcLimits()


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`queue_rows` and `queue_bytes` of requests wait at most; `batch_rows` and
    `batch_bytes` are predicted together at most, except that one request is never split.
    A prediction that is expected to take longer than
    `inline_s` leaves the event loop for a thread."""

    queue_rows: int = 8192
    batch_rows: int = 1024
    queue_bytes: int = 256 * 1024 * 1024
    batch_bytes: int = 16 * 1024 * 1024
    inline_s: float = 0.003


@dataclass(frozen=True, slots=True)
class ForwardLimits:
    """Of requests to one other revision: connections to it, requests that wait for one of
    them, and seconds to connect and to the whole answer, which may include the start of
    its first replica. `copies` are sent to a shadow at the same time at most, none with a
    body or an answer of more than `copy_bytes`."""

    connections: int = 64
    waiting: int = 1024
    connect_s: float = 5.0
    answer_s: float = 30.0
    sweep_s: float = 0.5
    copies: int = 32
    copy_bytes: int = 1024 * 1024
