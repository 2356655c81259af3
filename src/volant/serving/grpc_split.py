"""gRPC calls beside other revisions: each to the one that shall answer.

A call goes on as `POST /_volant/grpc/METHOD` over the revision's Unix socket, its message
as the body; the reply's status and text come back as headers. A shadow's copies go there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from volant.serving.compare import differing
from volant.serving.exchange import Exchange
from volant.serving.forward import Reply as Answered
from volant.serving.forward import Unreachable, request_bytes
from volant.serving.grpc_call import Reply, Respond
from volant.serving.grpc_messages import (
    REQUESTS,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from volant.serving.grpc_service import INFERS, refused
from volant.serving.grpc_tensors import outputs_of, parameters_of
from volant.serving.refusal import Refusal
from volant.serving.routes import GRPC_PATH, Service
from volant.serving.traffic import Route

if TYPE_CHECKING:
    from volant.serving.split import Split

_MESSAGE = b"grpc-message: "


def split_call(
    split: Split, service: Service, method: str, exchange: Exchange, respond: Respond
) -> None:
    """Answer here, or let the revision do it that shall."""
    found = None if exchange.internal else _key(method, exchange.body)
    if found is None:  # no revision's in particular, or one that can't be read
        service.call(method, exchange, respond)
        return
    version, parameters = found
    if version:
        route = split.named(version)
    elif method in INFERS:
        route = split.choose(exchange.headers, lambda: parameters)
    else:
        route = None
    if route is None:
        exchange.mark = split.mark
        if method in INFERS and not version:
            split.mirrored(exchange, _path(method), _DIFFERENCES[method])
        service.call(method, exchange, respond)
        return
    try:
        exchange.caller = service.authorize(exchange.headers.get(b"authorization", b""))
    except Refusal as refusal:
        respond(refused(refusal, stream=method == INFERS[1]))
        return
    _forward(split, service, (method, exchange, respond), route, by_name=bool(version))


def _forward(
    split: Split,
    service: Service,
    call: tuple[str, Exchange, Respond],
    route: Route,
    *,
    by_name: bool,
) -> None:
    """`by_name`: nobody else can answer for it."""
    method, exchange, respond = call

    def done(outcome: Answered | Unreachable) -> None:
        exchange.cancel = None
        if isinstance(outcome, Answered):
            exchange.quiet = True  # the one that answered has counted it
            exchange.mark = split.mark_of(route)
            respond(Reply(outcome.status, outcome.body, _text(outcome.headers)))
        elif by_name:
            refusal = Refusal(503, f"Version {route.version} can't answer now: {outcome.reason}.")
            respond(refused(refusal, stream=method == INFERS[1]))
        else:
            exchange.mark = split.mark
            split.came_back(exchange)
            service.call(method, exchange, respond)

    peer = b"x-forwarded-for: %s\r\n" % exchange.peer.encode("latin-1")
    headers = {k: v for k, v in exchange.headers.items() if k != b"x-forwarded-for"}
    request = request_bytes(b"POST", _path(method), headers, exchange.body, peer)
    split.pass_on(exchange, route, request, done)


def _path(method: str) -> bytes:
    return GRPC_PATH + method.rpartition("/")[2].encode()


def _unary(ours: tuple[bytes, bytes], theirs: Answered) -> str | None:
    read = ModelInferResponse.FromString
    return differing(outputs_of(read(ours[0])), outputs_of(read(theirs.body)))


def _streamed(ours: tuple[bytes, bytes], theirs: Answered) -> str | None:
    read = ModelStreamInferResponse.FromString
    here, there = read(ours[0]).infer_response, read(theirs.body).infer_response
    return differing(outputs_of(here), outputs_of(there))


_DIFFERENCES = dict(zip(INFERS, (_unary, _streamed), strict=True))


def _key(method: str, body: bytes) -> tuple[str, Mapping[str, Any]] | None:
    """The version that a message names, "" for none, and its parameters."""
    kind = REQUESTS.get(method)
    if kind is None:
        return None
    fields = kind.DESCRIPTOR.fields_by_name
    if "version" not in fields and "model_version" not in fields:
        return None
    try:
        message = kind.FromString(body)
    except Exception:  # whoever answers tells what is wrong
        return None
    if method in INFERS:
        return message.model_version, parameters_of(message.parameters)
    return message.version, {}


def _text(headers: bytes) -> str:
    for line in headers.split(b"\r\n"):
        if line.lower().startswith(_MESSAGE):
            return unquote(line[len(_MESSAGE) :].decode("latin-1"))
    return ""
