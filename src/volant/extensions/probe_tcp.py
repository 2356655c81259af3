"""Services with protocols of their own, asked in these."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Generator
from typing import BinaryIO

from volant.extensions.probing import TIMEOUT_S, Found, Target, no_answer, not_let_in

_MOST = 1 << 20  # bytes of one answer
_SSL_REQUEST = 80877103  # PostgreSQL: a startup packet that asks for TLS
_PROTOCOL_3 = 196608
_API_VERSIONS = 18  # Kafka


@contextlib.contextmanager
def _connected(target: Target, *, tls: bool = False) -> Generator[BinaryIO]:
    """The connection as one file to write and read, whose failures are told."""
    try:
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(
                socket.create_connection((target.host, target.port), TIMEOUT_S)
            )
            if tls:
                context = ssl.create_default_context()
                peer = stack.enter_context(context.wrap_socket(peer, server_hostname=target.host))
            yield stack.enter_context(peer.makefile("rwb", buffering=0))  # pyright: ignore[reportReturnType]
    except (OSError, EOFError, struct.error) as error:
        reason = str(error) or type(error).__name__
        raise no_answer(target, reason) from None


def _exactly(file: BinaryIO, count: int) -> bytes:
    if not 0 <= count <= _MOST:
        raise EOFError("what it sends is not of this protocol")
    data = b""
    while len(data) < count:
        piece = file.read(count - len(data))
        if not piece:
            raise EOFError("it closed the connection")
        data += piece
    return data


def redis(target: Target) -> Found:
    """AUTH if there is a password, PING, and the version that INFO tells."""
    with _connected(target, tls=target.scheme == "rediss") as file:
        if target.password:
            who = [target.user] if target.user else []
            _redis_ok(target, _redis(file, "AUTH", *who, target.password))
        answer = _redis(file, "PING")
        _redis_ok(target, answer)
        if answer != b"+PONG":
            raise no_answer(target, "it doesn't answer PING with PONG")
        lines = _redis(file, "INFO", "server").decode("utf-8", "replace").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    version = facts.get("redis_version", "")
    return Found(version, f"Redis {version}".strip())


def _redis(file: BinaryIO, *words: str) -> bytes:
    """One command in RESP (https://redis.io/docs/latest/develop/reference/protocol-spec/)
    and its answer: a line, or a bulk string's content."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        parts.append(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()))
    file.write(b"".join(parts))
    line = b""
    while not line.endswith(b"\r\n"):
        line += _exactly(file, 1)
        if len(line) > 4096:
            raise EOFError("what it sends is not of this protocol")
    if not line.startswith(b"$"):
        return line[:-2]
    size = int(line[1:-2]) if line[1:-2].isdigit() else -1
    return _exactly(file, size + 2)[:-2] if size >= 0 else b""


def _redis_ok(target: Target, answer: bytes) -> None:
    if answer.startswith((b"-NOAUTH", b"-WRONGPASS", b"-ERR AUTH", b"-NOPERM")):
        raise not_let_in(target, answer[1:100].decode("utf-8", "replace"))
    if not answer.startswith(b"+"):
        raise no_answer(target, "what it sends is not of this protocol")


def postgres(target: Target) -> Found:
    """A whole login where psycopg is installed; else the server's first word."""
    try:
        import psycopg
    except ModuleNotFoundError:
        return _postgres_greeting(target)
    database = target.path.lstrip("/") or target.user or "postgres"
    try:
        with psycopg.connect(
            target.url,
            port=target.port,
            user=target.user or "postgres",
            password=target.password or None,
            dbname=database,
            connect_timeout=int(TIMEOUT_S),
            application_name="volant",
        ) as connection:
            number = connection.info.server_version
    except psycopg.OperationalError as error:
        return _postgres_refusal(target, str(error))
    version = f"{number // 10000}.{number % 10000}"
    return Found(version, f"PostgreSQL {version}")


def _postgres_refusal(target: Target, told: str) -> Found:
    _postgres_greeting(target)  # raises when it isn't a Postgres
    reason = told.strip().splitlines()[-1][:200] if told.strip() else "refused"
    if target.password:
        reason = reason.replace(target.password, "***")
    raise not_let_in(target, reason)


def _postgres_greeting(target: Target) -> Found:
    """What the server answers to a startup packet
    (https://www.postgresql.org/docs/current/protocol-flow.html)."""
    with _connected(target) as file:
        file.write(struct.pack("!ii", 8, _SSL_REQUEST))
        if _exactly(file, 1) == b"S":
            return Found("", "PostgreSQL, with TLS; the login was not tried")
    with _connected(target) as file:
        words = (
            "user",
            target.user or "postgres",
            "database",
            target.path.lstrip("/") or "postgres",
        )
        body = b"".join(word.encode() + b"\0" for word in words) + b"\0"
        file.write(struct.pack("!ii", 8 + len(body), _PROTOCOL_3) + body)
        kind = _exactly(file, 1)
        _exactly(file, struct.unpack("!i", _exactly(file, 4))[0] - 4)
    if kind not in (b"R", b"E"):
        raise no_answer(target, "what it sends is not of this protocol")
    return Found("", "PostgreSQL; the login was not tried")


def kafka(target: Target) -> Found:
    """ApiVersions, which every broker answers before any login
    (https://kafka.apache.org/protocol)."""
    client = b"volant"
    head = struct.pack("!hhih", _API_VERSIONS, 0, 1, len(client)) + client
    with _connected(target) as file:
        file.write(struct.pack("!i", len(head)) + head)
        answer = _exactly(file, struct.unpack("!i", _exactly(file, 4))[0])
        correlation, error, count = struct.unpack("!ihi", answer[:10])
    if correlation != 1 or error != 0 or count < 1 or len(answer) < 10 + 6 * count:
        raise no_answer(target, "what it sends is not of this protocol")
    return Found("", f"Kafka, {count} APIs; the login was not tried")
