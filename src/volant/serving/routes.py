"""The Open Inference Protocol's addresses, for one model version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from urllib.parse import quote, unquote_to_bytes

import orjson

from volant import __version__
from volant.serving.batching import Batcher
from volant.serving.description import Description
from volant.serving.http import Exchange
from volant.serving.oip import Answer, Formatter, Query, metadata, parse
from volant.serving.refusal import Refusal, nearest, shown
from volant.serving.replica_spec import Assignment

Route = Callable[[Exchange], None]

_READ = (b"GET", b"HEAD")
_JSON_TYPES = (b"application/json", b"text/json", b"text/plain", b"application/octet-stream")


class Service:
    """Answers each exchange. `alive` and `ready` are open to anyone; the rest asks for
    a token when the assignment has any."""

    def __init__(
        self,
        assignment: Assignment,
        model: Description,
        batcher: Batcher,
        ready: Callable[[], bool],
        broke: Callable[[Exchange, Exception], None],
    ) -> None:
        self._assignment = assignment
        self._model = model
        self._tokens = assignment.token_sha256
        self._batcher = batcher
        self._ready = ready
        self._broke = broke
        self._format = Formatter(assignment.model, assignment.version, model)
        self._names = dict.fromkeys((assignment.model, assignment.deployment))
        self._server = orjson.dumps(
            {"name": "volant", "version": __version__, "extensions": list[str]()}
        )
        self._metadata = orjson.dumps(metadata(assignment.model, assignment.version, model))
        self._reads: dict[bytes, tuple[Route, bool]] = {
            b"/v2": (self._about_server, True),
            b"/v2/health/live": (self._live, False),
            b"/v2/health/ready": (self._readiness, False),
        }
        self._infers: set[bytes] = set()
        for name in self._names:
            at = b"/v2/models/" + quote(name, safe="").encode()
            for path in (at, at + b"/versions/" + assignment.version.encode()):
                self._reads[path] = (self._about_model, True)
                self._reads[path + b"/ready"] = (self._model_ready, True)
                self._infers.add(path + b"/infer")

    def allow_tokens(self, sha256: Iterable[str] | None) -> None:
        """Only these may predict from now on; None lets anyone."""
        self._tokens = None if sha256 is None else frozenset(sha256)

    def handle(self, exchange: Exchange) -> None:
        """Answer now, or when the prediction is there."""
        try:
            self._dispatch(exchange)
        except Refusal as refusal:
            exchange.refuse(refusal)

    def _dispatch(self, exchange: Exchange) -> None:
        path = exchange.path
        if path in self._infers and exchange.method == b"POST":
            self._authorize(exchange)
            self._infer(exchange)
            return
        path = _plain(path)
        if path in self._infers:
            _allow(exchange, (b"POST",))
            self._authorize(exchange)
            self._infer(exchange)
            return
        found = self._reads.get(path)
        if found is None:
            raise self._unknown(path)
        route, guarded = found
        _allow(exchange, _READ)
        if guarded:
            self._authorize(exchange)
        route(exchange)

    # reads

    def _about_server(self, exchange: Exchange) -> None:
        exchange.answer(200, self._server)

    def _live(self, exchange: Exchange) -> None:
        exchange.answer(200, b'{"live":true}')

    def _readiness(self, exchange: Exchange) -> None:
        ready = self._ready()
        exchange.answer(200 if ready else 503, b'{"ready":%s}' % (b"true" if ready else b"false"))

    def _about_model(self, exchange: Exchange) -> None:
        exchange.answer(200, self._metadata)

    def _model_ready(self, exchange: Exchange) -> None:
        exchange.answer(200, orjson.dumps({"name": self._assignment.model, "ready": self._ready()}))

    # predictions

    def _infer(self, exchange: Exchange) -> None:
        headers = exchange.headers
        kind = headers.get(b"content-type")
        if kind is not None and kind.partition(b";")[0].strip().lower() not in _JSON_TYPES:
            raise Refusal(
                415,
                f"Content-Type: expected application/json, got {shown(kind.decode('latin-1'))}.",
            )
        if b"content-encoding" in headers:
            got = headers[b"content-encoding"].decode("latin-1")
            raise Refusal(415, f"Content-Encoding: expected none, got {shown(got)}.")
        if b"inference-header-content-length" in headers:
            raise Refusal(415, "Expected tensors as JSON, got the binary data extension.")
        if not exchange.body:
            raise Refusal(400, 'Expected a JSON body {"inputs": […]}, got none.')
        query = parse(exchange.body, self._model)
        exchange.rows = query.rows

        def done(query: Query, outcome: Answer | Exception) -> None:
            self._predicted(exchange, query, outcome)

        work = self._batcher.submit(query, done)

        def cancel() -> None:
            work.cancelled = True

        exchange.cancel = cancel

    def _predicted(self, exchange: Exchange, query: Query, outcome: Answer | Exception) -> None:
        if isinstance(outcome, Refusal):
            exchange.refuse(outcome)
        elif isinstance(outcome, Exception):
            self._broke(exchange, outcome)
        else:
            exchange.answer(200, self._format.body(query, outcome))

    # refusals

    def _authorize(self, exchange: Exchange) -> None:
        known = self._tokens
        if known is None:
            return
        scheme, _, secret = exchange.headers.get(b"authorization", b"").partition(b" ")
        digest = hashlib.sha256(secret.strip()).hexdigest()
        if scheme.lower() != b"bearer" or digest not in known:
            got = "another one" if secret else "none"
            raise Refusal(
                401,
                f"Expected a known token (Authorization: Bearer …), got {got}.",
                b"www-authenticate: Bearer\r\n",
            )

    def _unknown(self, path: bytes) -> Refusal:
        parts = path.decode("utf-8", "replace").strip("/").split("/")
        names = list(self._names)
        if parts[:2] == ["v2", "models"] and len(parts) > 2 and parts[2] not in names:
            return Refusal(
                404,
                f"Model: expected {shown(names[0])}, got {shown(parts[2])}."
                + nearest(parts[2], names),
            )
        if len(parts) > 4 and parts[3] == "versions" and parts[4] != self._assignment.version:
            return Refusal(
                404,
                f"Version of {shown(names[0])}: expected {self._assignment.version} (the one "
                f"that serves), got {shown(parts[4])}.",
            )
        return Refusal(
            404,
            f"Expected an address of the Open Inference Protocol, got {shown('/'.join(parts))}.",
        )


def _plain(path: bytes) -> bytes:
    """The path alone, its escapes in one canonical form."""
    path = path.partition(b"?")[0]
    if path.startswith(b"http://"):  # absolute form, RFC 9112, 3.2.2
        path = b"/" + path[7:].partition(b"/")[2]
    if b"%" in path:
        path = quote(unquote_to_bytes(path), safe="/~").encode()
    return path.rstrip(b"/") or b"/"


def _allow(exchange: Exchange, methods: tuple[bytes, ...]) -> None:
    if exchange.method not in methods:
        allowed = b", ".join(methods)
        raise Refusal(
            405,
            f"Method: expected {allowed.decode()}, got {exchange.method.decode('latin-1')}.",
            b"allow: %s\r\n" % allowed,
        )
