"""What a replica answers at which address: the Open Inference Protocol's V2 and V1, and
Triton's model repository extension, for one model version."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from volant import __version__
from volant.serving import v1
from volant.serving.answers import Formatter
from volant.serving.asks import Asks
from volant.serving.batching import Batcher, Done, Work
from volant.serving.binary import json_length
from volant.serving.description import Description
from volant.serving.exchange import OCTETS, Exchange
from volant.serving.inflate import inflated
from volant.serving.limits import HttpLimits
from volant.serving.metadata import config, index, metadata, statistics, v1_status
from volant.serving.oip import parse
from volant.serving.openapi import document
from volant.serving.paths import SAFE, plain, unknown
from volant.serving.query import Answer, Query
from volant.serving.refusal import Refusal, shown
from volant.serving.replica_spec import Assignment

if TYPE_CHECKING:
    from volant.serving.grpc_service import Methods

Handler = Callable[[Exchange], None]

GRPC_PATH = b"/_volant/grpc/"
"""Under it another replica asks a gRPC method, by its name alone."""

READ = (b"GET", b"HEAD")
POST = (b"POST",)
_JSON = b"application/json"
# A body that isn't JSON gets a 400 with the place in any case; these are what clients of
# the protocols send with one that is. `curl -d` says that it sends a form.
_TYPES = frozenset(
    (
        _JSON,
        b"text/json",
        b"text/plain",
        b"application/octet-stream",
        b"application/x-www-form-urlencoded",
    )
)
EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration", "statistics")


@dataclass(frozen=True, slots=True)
class Route:
    """What answers at one address. `guarded`: only who may predict may ask. `loaded`: the
    model must be."""

    handle: Handler
    methods: tuple[bytes, ...]
    guarded: bool = True
    loaded: bool = False


class Service:
    """Answers each exchange. Health checks are open to anyone; the rest asks for a token
    when the assignment has any."""

    def __init__(
        self,
        assignment: Assignment,
        model: Description,
        batcher: Batcher,
        ready: Callable[[], bool],
        broke: Callable[[Exchange, Exception], None],
    ) -> None:
        self._assignment = assignment
        self.model = model
        self._tokens = assignment.token_sha256
        self._batcher = batcher
        self._ready = ready
        self.broke = broke
        self._format = Formatter(assignment.model, assignment.version, model)
        self.version = assignment.version
        self.names = tuple(dict.fromkeys((assignment.model, assignment.deployment)))
        self._limit = HttpLimits().body_bytes
        self.asks: Asks | None = None  # the control plane, if there is one to ask
        self.absent: str | None = None  # why there is no model
        self.failed = 0  # predictions
        self._methods: Methods | None = None  # gRPC's, once one is asked
        self.versions: tuple[str, ...] = ()
        self._metadata = b""
        self._routes: dict[bytes, Route] = {}
        self._infers: set[bytes] = set()
        self.show_versions((assignment.version,))
        self._lay_out()

    def add(
        self,
        path: str,
        handle: Handler,
        methods: tuple[bytes, ...] = READ,
        *,
        guarded: bool = True,
        loaded: bool = False,
    ) -> None:
        """Answer at `path` too."""
        self._routes[path.encode()] = Route(handle, methods, guarded, loaded)

    def allow_tokens(self, sha256: Iterable[str] | None) -> None:
        """Only these may predict from now on; None lets anyone."""
        self._tokens = None if sha256 is None else frozenset(sha256)

    def ready(self) -> bool:
        """Whether the deployment predicts."""
        return self.absent is None and self._ready()

    def withdraw(self) -> None:
        """The model is unloaded: predict no more than what waits already."""
        self.absent = "It was unloaded."
        self._infers = set()  # so that all are looked at one by one

    def check_loaded(self) -> None:
        """Raises `Refusal` (503) when the model isn't."""
        if self.absent is None:
            return
        name = self.names[0]
        state, _ = self.state()
        if state == "LOADING":
            raise Refusal(503, f"The model {name} is being loaded.", b"retry-after: 1\r\n")
        raise Refusal(
            503,
            f"The model {name} isn't loaded. {self.absent} To load it: "
            f"POST /v2/repository/models/{quote(name, safe=SAFE)}/load",
        )

    def state(self) -> tuple[str, str]:
        """The model's, in the words of the repository index, and the reason."""
        if self.absent is not None:
            loading = self.asks is not None and self.asks.loading
            return ("LOADING", "") if loading else ("UNAVAILABLE", self.absent)
        return ("READY", "") if self.ready() else ("UNAVAILABLE", "The replica is leaving.")

    def show_versions(self, versions: Sequence[str]) -> None:
        """The versions that the deployment answers for, as the metadata tells them."""
        self.versions = tuple(versions)
        self._metadata = orjson.dumps(metadata(self._assignment.model, versions, self.model))

    def _lay_out(self) -> None:
        self.add("/", self._alive, guarded=False)
        self.add("/v2", self._about_server)
        self.add("/v2/health/live", self._live, guarded=False)
        self.add("/v2/health/ready", self._readiness, guarded=False)
        self.add("/v2/models", self._list)
        self.add("/v2/models/stats", self._statistics, loaded=True)
        self.add("/v2/repository/index", self._index, POST)
        self.add("/v1/models", self._list)
        self.add("/openapi.json", self._openapi, loaded=True)
        for name in self.names:
            quoted = quote(name, safe=SAFE)
            self.add(f"/v2/repository/models/{quoted}/load", self._load, POST)
            self.add(f"/v2/repository/models/{quoted}/unload", self._unload, POST)
            for versioned in ("", f"/versions/{quote(self._assignment.version, safe=SAFE)}"):
                at = f"/v2/models/{quoted}{versioned}"
                self.add(at, self._about_model, loaded=True)
                self.add(f"{at}/ready", self._model_ready)
                self.add(f"{at}/config", self._config, loaded=True)
                self.add(f"{at}/stats", self._statistics, loaded=True)
                self.add(f"{at}/infer", self._infer, POST, loaded=True)
                self._infers.add(f"{at}/infer".encode())
                self.add(f"/v1/models/{quoted}{versioned}", self._v1_status)
                predict = f"/v1/models/{quoted}{versioned}:predict"
                self.add(predict, self._predict_v1, POST, loaded=True)

    # dispatch

    def handle(self, exchange: Exchange) -> None:
        """Answer now, or when the prediction is there."""
        try:
            if exchange.path in self._infers and exchange.method == b"POST":
                if self._tokens is not None:
                    self._authorize(exchange)
                self._infer(exchange)
            else:
                self._dispatch(exchange)
        except Refusal as refusal:
            exchange.refuse(refusal)

    def _dispatch(self, exchange: Exchange) -> None:
        path = plain(exchange.path)
        if path == b"*" and exchange.method == b"OPTIONS":
            _allowed(exchange, (*READ, *POST))
            return
        route = self._routes.get(path)
        if route is None and exchange.internal and path.startswith(GRPC_PATH):
            from volant.serving.grpc_service import answer_internal

            answer_internal(self.call, exchange)
            return
        if route is None:
            raise unknown(path, self.names, self.versions)
        if exchange.method == b"OPTIONS":
            _allowed(exchange, route.methods)
            return
        if exchange.method not in route.methods:
            raise _not_allowed(exchange, route.methods)
        if route.guarded:
            self._authorize(exchange)
        else:
            exchange.quiet = True
        if route.loaded and self.absent is not None:
            exchange.quiet = True  # no failure of its revision
            self.check_loaded()
        route.handle(exchange)

    # reads

    def _alive(self, exchange: Exchange) -> None:
        about = {"status": "alive", "name": "volant", "openapi": "/openapi.json"}
        exchange.answer(200, orjson.dumps(about))

    def _about_server(self, exchange: Exchange) -> None:
        about = {"name": "volant", "version": __version__, "extensions": EXTENSIONS}
        exchange.answer(200, orjson.dumps(about))

    def _live(self, exchange: Exchange) -> None:
        exchange.answer(200, b'{"live":true}')

    def _readiness(self, exchange: Exchange) -> None:
        ready = self.ready()
        exchange.answer(200 if ready else 503, b'{"ready":%s}' % (b"true" if ready else b"false"))

    def _list(self, exchange: Exchange) -> None:
        exchange.answer(200, orjson.dumps({"models": self.names}))

    def _about_model(self, exchange: Exchange) -> None:
        exchange.answer(200, self._metadata)

    def _model_ready(self, exchange: Exchange) -> None:
        ready = self.ready()
        exchange.quiet = not ready  # an answer and no error
        body = orjson.dumps({"name": self._assignment.model, "ready": ready})
        exchange.answer(200 if ready else 503, body)

    def _config(self, exchange: Exchange) -> None:
        exchange.answer(200, orjson.dumps(config(self._assignment.model, self.model)))

    def _statistics(self, exchange: Exchange) -> None:
        exchange.answer(200, orjson.dumps({"model_stats": [self.statistics()]}))

    def statistics(self) -> dict[str, object]:
        """What this replica counted, in Triton's words."""
        assignment = self._assignment
        return statistics(assignment.model, assignment.version, self._batcher.totals, self.failed)

    def _v1_status(self, exchange: Exchange) -> None:
        states = {"READY": "AVAILABLE", "LOADING": "LOADING"}
        state = states.get(self.state()[0], "UNLOADING" if self.absent is None else "END")
        about = v1_status(self._assignment.model, self.versions, state)
        exchange.answer(200, orjson.dumps(about))

    def _openapi(self, exchange: Exchange) -> None:
        assignment = self._assignment
        exchange.answer(200, orjson.dumps(document(self.names, assignment.version, self.model)))

    # the repository

    def _index(self, exchange: Exchange) -> None:
        only_ready = _parameters(exchange).get("ready")
        if only_ready is not None and type(only_ready) is not bool:
            raise Refusal(400, f'"ready": expected true or false, got {shown(only_ready)}.')
        exchange.answer(200, orjson.dumps(self.index(only_ready=bool(only_ready))))

    def index(self, *, only_ready: bool) -> list[dict[str, Any]]:
        """The repository index."""
        state, reason = self.state()
        if only_ready and state != "READY":
            return []
        return index(self.names, self.versions, state, reason)

    def _load(self, exchange: Exchange) -> None:
        parameters = _parameters(exchange).get("parameters")
        if parameters is not None and parameters != {}:
            raise Refusal(
                400,
                "Load: expected no parameters (models come from the registry), "
                f"got {shown(parameters)}.",
            )
        self._ask_for(exchange, loaded=True)

    def _unload(self, exchange: Exchange) -> None:
        _parameters(exchange)
        self._ask_for(exchange, loaded=False)

    def _ask_for(self, exchange: Exchange, *, loaded: bool) -> None:
        def done(refusal: Refusal | None) -> None:
            if refusal is None:
                exchange.answer(200, b"{}")
            else:
                exchange.refuse(refusal)

        self.set_loaded(exchange, done, loaded=loaded)

    def set_loaded(
        self, exchange: Exchange, done: Callable[[Refusal | None], None], *, loaded: bool
    ) -> None:
        """Have the whole deployment's model loaded, or unloaded until it is loaded again.
        `done` is called once, unless the client goes before: with None when it is done.
        Raises `Refusal`."""
        if loaded and self.ready():
            done(None)
            return
        if self.asks is None:
            raise Refusal(503, "Load and unload: expected a control plane, got none.")
        token = None
        if self._tokens is not None:
            token = self._known(exchange.headers.get(b"authorization", b""))
        left = False

        def leave() -> None:
            nonlocal left
            left = True

        def answered(refusal: Refusal | None) -> None:
            if refusal is not None and loaded and self.absent is not None:
                self.absent = refusal.text
            if not left:
                done(refusal)

        exchange.cancel = leave
        self.asks.ask(loaded=loaded, token=token, done=answered)

    # predictions

    def call(self, method: str, exchange: Exchange, respond: Callable[[Any], None]) -> None:
        """Answer a gRPC call; see `grpc_service.Methods.call`."""
        if self._methods is None:
            from volant.serving.grpc_service import Methods  # only who is asked pays for it

            self._methods = Methods(self)
        self._methods.call(method, exchange, respond)

    def infer(self, query: Query, respond: Done) -> Work:
        """Predict, whatever the wire that `query` came on. `respond` is called once, on
        the loop; setting the work's `cancelled` keeps what is still queued from the model.
        Raises `Refusal` (503) when too much waits already."""
        return self._batcher.submit(query, respond)

    def _infer(self, exchange: Exchange) -> None:
        body, length = self._body(exchange)
        if not body:
            raise Refusal(400, 'Expected a JSON body {"inputs": […]}, got none.')
        query = parse(body, self.model, length)
        self._ask(exchange, query, self._answer)

    def _predict_v1(self, exchange: Exchange) -> None:
        body, length = self._body(exchange)
        if length is not None:
            raise Refusal(
                400, "Inference-Header-Content-Length: expected none at Protocol V1, got one."
            )
        if not body:
            raise Refusal(400, 'Expected a JSON body {"instances": […]}, got none.')
        query, columnar = v1.parse(body, self.model)

        def respond(exchange: Exchange, query: Query, answer: Answer) -> None:
            exchange.answer(200, v1.body(query, answer, self.model, columnar=columnar))

        self._ask(exchange, query, respond)

    def _body(self, exchange: Exchange) -> tuple[bytes, int | None]:
        """The body as it was meant, and the length of its JSON part when binary tensors
        follow. Raises `Refusal` (4xx)."""
        headers = exchange.headers
        kind = headers.get(b"content-type")
        if kind is not None and kind != _JSON:
            _check_type(kind)
        body = exchange.body
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            body = inflated(body, encoding, self._limit)
        length = headers.get(b"inference-header-content-length")
        return body, None if length is None else json_length(length, len(body))

    def _ask(
        self,
        exchange: Exchange,
        query: Query,
        respond: Callable[[Exchange, Query, Answer], None],
    ) -> None:
        exchange.rows = query.rows
        query.asked = exchange.started
        if self._batcher.log is not None:
            query.caller = exchange.caller or exchange.peer
        query.copy = exchange.copy

        def done(query: Query, outcome: Answer | Exception) -> None:
            if isinstance(outcome, Answer):
                try:
                    respond(exchange, query, outcome)
                except Exception as error:
                    self.broke(exchange, error)
                return
            self.failed += 1
            if isinstance(outcome, Refusal):
                exchange.refuse(outcome)
            else:
                self.broke(exchange, outcome)

        exchange.cancel = self.infer(query, done).cancel

    def _answer(self, exchange: Exchange, query: Query, answer: Answer) -> None:
        if not query.binary_outputs:
            exchange.answer(200, self._format.body(query, answer))
            return
        body, length = self._format.frame(query, answer)
        exchange.content_type = OCTETS
        exchange.answer(200, body, b"inference-header-content-length: %d\r\n" % length)

    # refusals

    def _authorize(self, exchange: Exchange) -> None:
        if self._tokens is not None:
            exchange.caller = self.authorize(exchange.headers.get(b"authorization", b""))

    def authorize(self, credentials: bytes) -> str:
        """Who asks: the mark of the token in `credentials` (`Bearer …`), empty where none
        is asked for. Raises `Refusal` (401) for one that may not predict."""
        return "" if self._tokens is None else f"token:{self._known(credentials)[:12]}"

    def _known(self, credentials: bytes) -> str:
        """The SHA-256 of the token in `credentials`. Raises `Refusal` (401)."""
        known = self._tokens or frozenset()
        scheme, _, secret = credentials.partition(b" ")
        digest = hashlib.sha256(secret.strip()).hexdigest()
        if scheme.lower() != b"bearer" or digest not in known:
            got = "another one" if secret else "none"
            raise Refusal(
                401,
                f"Expected a known token (Authorization: Bearer …), got {got}.",
                b"www-authenticate: Bearer\r\n",
            )
        return digest


def _check_type(kind: bytes) -> None:
    media = kind.partition(b";")[0].strip().lower()
    if media not in _TYPES and not media.endswith(b"+json"):
        raise Refusal(
            415, f"Content-Type: expected application/json, got {shown(kind.decode('latin-1'))}."
        )


def _parameters(exchange: Exchange) -> dict[str, object]:
    """The JSON object of a request that may have none."""
    if not exchange.body:
        return {}
    try:
        body = orjson.loads(exchange.body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body isn't JSON: {error}. Expected an object or none.") from None
    if type(body) is not dict:
        raise Refusal(400, f"The body: expected a JSON object or none, got {shown(body)}.")
    return body


def _words(methods: tuple[bytes, ...]) -> bytes:
    return b"allow: %s\r\n" % b", ".join((*methods, b"OPTIONS"))


def _allowed(exchange: Exchange, methods: tuple[bytes, ...]) -> None:
    """RFC 9110, 9.3.7."""
    exchange.answer(200, b"{}", _words(methods))


def _not_allowed(exchange: Exchange, methods: tuple[bytes, ...]) -> Refusal:
    got = exchange.method.decode("latin-1")
    return Refusal(
        405, f"Method: expected {b', '.join(methods).decode()}, got {got}.", _words(methods)
    )
