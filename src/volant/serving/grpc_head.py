"""A request's header block to what a call needs of it.

A client that repeats itself sends the same few bytes each time, all references to the
table that both sides keep. What such bytes meant is remembered for as long as the table
stays as it is, so that the usual call decodes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from volant.serving.grpc_frames import ConnectionFault, Fault

_REMEMBERED = 64
_REQUIRED = (b":method", b":scheme", b":path")
_PSEUDO = frozenset({*_REQUIRED, b":authority"})
_OF_CONNECTIONS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class Head:
    """`fault` says what is malformed, and then the rest means nothing. `timeout_s` is
    None without a deadline."""

    headers: dict[bytes, bytes]
    path: bytes = b""
    method: bytes = b""
    is_grpc: bool = False
    timeout_s: float | None = None
    encoding: bytes = b"identity"
    fault: str = ""


class Heads:
    """One connection's decoder."""

    __slots__ = ("_decoder", "_known")

    def __init__(self, head_bytes: int) -> None:
        self._decoder = Decoder(head_bytes)
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """Raises `ConnectionFault`."""
        known = self._known.get(block)
        if known is not None:
            return known
        pairs, same_table = self._decode(block)
        head = _head(pairs)
        if same_table:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = head
        return head

    def read_trailers(self, block: bytes) -> bool:
        """Whether they are well-formed. Raises `ConnectionFault`."""
        pairs, _ = self._decode(block)
        return not any(name.startswith(b":") or name != name.lower() for name, _ in pairs)

    def _decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """The headers, and whether the table is what it was."""
        table = self._decoder.header_table
        before = _mark(table)
        try:
            pairs = [(bytes(h[0]), bytes(h[1])) for h in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFault(
                Fault.ENHANCE_YOUR_CALM,
                f"The headers: expected at most {self._decoder.max_header_list_size} bytes.",
            ) from None
        except HPACKError as error:
            raise ConnectionFault(
                Fault.COMPRESSION_ERROR, f"Headers that can't be decoded: {error}."
            ) from None
        # An entry is a tuple of its own, and a new one comes first: identity tells.
        after = _mark(table)
        same = before[0] is after[0] and before[1:] == after[1:]
        if not same:
            self._known.clear()
        return pairs, same


def _mark(table: HeaderTable) -> tuple[object, int, int]:
    entries = table.dynamic_entries
    return (entries[0] if entries else None, len(entries), table.maxsize)


def _head(pairs: list[tuple[bytes, bytes]]) -> Head:
    fault = _malformed(pairs)
    if fault:
        return Head({}, fault=fault)
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        # Of a repeated header the values are one list, RFC 9110, 5.3.
        headers[name] = headers[name] + b", " + value if name in headers else value
    timeout = headers.get(b"grpc-timeout")
    kind = headers.get(b"content-type", b"")
    return Head(
        headers={n: v for n, v in headers.items() if n[:1] != b":"},
        path=headers[b":path"],
        method=headers[b":method"],
        is_grpc=kind.startswith(b"application/grpc")
        and kind[16:].partition(b";")[0] in (b"", b"+proto"),
        timeout_s=None if timeout is None else _seconds(timeout),
        encoding=headers.get(b"grpc-encoding", b"identity").strip().lower(),
    )


def _malformed(pairs: list[tuple[bytes, bytes]]) -> str:
    """RFC 9113, 8.2 and 8.3, as far as it concerns a server; empty when all is well."""
    seen: set[bytes] = set()
    plain = False
    for name, value in pairs:
        if name[:1] == b":":
            if plain or name not in _PSEUDO or name in seen:
                return f"a misplaced {name.decode('latin-1')}"
            seen.add(name)
        else:
            plain = True
            if not name or name != name.lower() or name in _OF_CONNECTIONS:
                return f"a header {name.decode('latin-1')!r}"
            if name == b"te" and value != b"trailers":
                return "a te that isn't trailers"
            if name == b"grpc-timeout" and _seconds(value) is None:
                return f"a grpc-timeout {value.decode('latin-1')!r}"
    missing = [name.decode() for name in _REQUIRED if name not in seen]
    return f"no {missing[0]}" if missing else ""


def _seconds(timeout: bytes) -> float | None:
    """At most eight digits and a unit; None for anything else."""
    digits, unit = timeout[:-1], timeout[-1:]
    if not digits.isdigit() or len(digits) > 8 or unit not in _SECONDS:
        return None
    return int(digits) * _SECONDS[unit]
