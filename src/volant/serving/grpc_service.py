"""The methods of `inference.GRPCInferenceService`, and of gRPC's health checks.

A method is a plain function of a message, whoever received it: `Methods.call` answers a
call of this replica's own port as well as one that another replica sent on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from volant import __version__
from volant.serving.exchange import Exchange
from volant.serving.grpc_call import Reply, Respond, code_of
from volant.serving.grpc_frames import percent
from volant.serving.grpc_messages import (
    HEALTH,
    REQUESTS,
    SERVICE,
    ModelStreamInferResponse,
    filled,
    message,
)
from volant.serving.grpc_tensors import Shaper, parse, query_of
from volant.serving.metadata import config, metadata
from volant.serving.query import Answer, Query
from volant.serving.refusal import Refusal, nearest, shown
from volant.serving.routes import GRPC_PATH

if TYPE_CHECKING:
    from volant.serving.routes import Service

EXTENSIONS = ("model_repository", "model_configuration", "statistics")
INFERS = (f"/{SERVICE}/ModelInfer", f"/{SERVICE}/ModelStreamInfer")
"""The methods that predict; the second's requests are a stream."""

_INFER, _STREAM = INFERS
_LOAD = f"/{SERVICE}/RepositoryModelLoad"
_UNLOAD = f"/{SERVICE}/RepositoryModelUnload"
_CHECK = f"/{HEALTH}/Check"
_OPEN = frozenset({f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady", _CHECK})


class Methods:
    def __init__(self, served: Service) -> None:
        self._served = served
        self._shaper = Shaper(served.names[0], served.version, served.model)
        simple: dict[str, Callable[[Any], Any]] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._about_server,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._about_model,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
        }
        self._simple = {f"/{SERVICE}/{name}": method for name, method in simple.items()}
        self._simple[_CHECK] = self._check

    def call(self, path: str, exchange: Exchange, respond: Respond) -> None:
        """Answer the message in the exchange's body, now or later. `rows` and `cancel` of
        the exchange are set; `respond` is called once."""
        exchange.quiet = path in _OPEN or self._served.absent is not None
        try:
            if path not in _OPEN:
                exchange.caller = self._served.authorize(
                    exchange.headers.get(b"authorization", b"")
                )
            if path in (_INFER, _STREAM):
                self._infer(exchange, respond, stream=path == _STREAM)
                return
            if path in (_LOAD, _UNLOAD):
                self._set_loaded(path, exchange, respond)
                return
            method = self._simple.get(path)
            if method is None:
                raise self._unknown(path)
            respond(Reply(200, method(_read(path, exchange.body)).SerializeToString()))
        except Refusal as refusal:
            respond(refused(refusal, stream=path == _STREAM))

    def _unknown(self, path: str) -> Refusal:
        known = [name for name in REQUESTS if name != _CHECK]
        names = [name.rpartition("/")[2] for name in known]
        return Refusal(
            501,
            f"Method: expected one of {SERVICE} ({', '.join(names)}), got {shown(path)}."
            + nearest(path, known),
        )

    # predictions

    def _infer(self, exchange: Exchange, respond: Respond, *, stream: bool) -> None:
        served = self._served
        request = parse(exchange.body)
        request_id = request.id
        try:
            self._known(request.model_name, request.model_version)
            served.check_loaded()
            query, raw = query_of(request, served.model, len(exchange.body))
        except Refusal as refusal:
            respond(refused(refusal, stream=stream, request_id=request_id))
            return
        exchange.rows = query.rows
        query.asked = exchange.started
        query.caller = exchange.caller or exchange.peer
        query.copy = exchange.copy

        def done(query: Query, outcome: Answer | Exception) -> None:
            if not isinstance(outcome, Answer):
                served.failed += 1
                if isinstance(outcome, Refusal):
                    respond(refused(outcome, stream=stream, request_id=request_id))
                else:
                    served.broke(exchange, outcome)
                return
            try:
                response = self._shaper.response(query, outcome, raw=raw)
                if stream:
                    response = ModelStreamInferResponse(infer_response=response)
                body = response.SerializeToString()
            except Exception as error:
                served.broke(exchange, error)
                return
            respond(Reply(200, body))

        work = served.infer(query, done)

        def cancel() -> None:
            work.cancelled = True

        exchange.cancel = cancel

    def _known(self, model: str, version: str) -> None:
        """Raises `Refusal` (404)."""
        names = self._served.names
        if model not in names:
            raise Refusal(
                404,
                f"Model: expected {shown(names[0])}, got {shown(model)}." + nearest(model, names),
            )
        if version and version != self._served.version:
            versions = self._served.versions
            raise Refusal(
                404,
                f"Version of {shown(names[0])}: expected {' or '.join(versions)} (what "
                f"serves), got {shown(version)}.",
            )

    # reads

    def _live(self, request: Any) -> Any:
        return message("inference.ServerLiveResponse")(live=True)

    def _ready(self, request: Any) -> Any:
        return message("inference.ServerReadyResponse")(ready=self._served.ready())

    def _check(self, request: Any) -> Any:
        if request.service not in ("", SERVICE, HEALTH):
            raise Refusal(404, f"Service: expected {shown(SERVICE)}, got {shown(request.service)}.")
        status = 1 if self._served.ready() else 2
        return message("grpc.health.v1.HealthCheckResponse")(status=status)

    def _about_server(self, request: Any) -> Any:
        response = message("inference.ServerMetadataResponse")
        return response(name="volant", version=__version__, extensions=EXTENSIONS)

    def _model_ready(self, request: Any) -> Any:
        self._known(request.name, request.version)
        return message("inference.ModelReadyResponse")(ready=self._served.ready())

    def _about_model(self, request: Any) -> Any:
        self._known(request.name, request.version)
        self._served.check_loaded()
        about = metadata(request.name, self._served.versions, self._served.model)
        return _filled("inference.ModelMetadataResponse", about)

    def _config(self, request: Any) -> Any:
        self._known(request.name, request.version)
        self._served.check_loaded()
        about = config(request.name, self._served.model)
        return _filled("inference.ModelConfigResponse", {"config": about})

    def _statistics(self, request: Any) -> Any:
        if request.name:
            self._known(request.name, request.version)
        self._served.check_loaded()
        about = {"model_stats": [self._served.statistics()]}
        return _filled("inference.ModelStatisticsResponse", about)

    # the repository

    def _index(self, request: Any) -> Any:
        models = self._served.index(only_ready=request.ready)
        return _filled("inference.RepositoryIndexResponse", {"models": models})

    def _set_loaded(self, path: str, exchange: Exchange, respond: Respond) -> None:
        request = _read(path, exchange.body)
        loaded = path == _LOAD
        name = self._named(request)
        if loaded and len(UnknownFieldSet(request)):  # Triton's parameters
            raise Refusal(400, "Load: expected no parameters (models come from the registry).")
        kind = "inference.RepositoryModel" + ("LoadResponse" if loaded else "UnloadResponse")
        did = {"isLoaded": True} if loaded else {"isUnloaded": True}
        response = message(kind)(model_name=name, **did)

        def done(refusal: Refusal | None) -> None:
            if refusal is None:
                respond(Reply(200, response.SerializeToString()))
            else:
                respond(refused(refusal, stream=False))

        self._served.set_loaded(exchange, done, loaded=loaded)

    def _named(self, request: Any) -> str:
        # KServe's first field is the model's name, Triton's is a repository's.
        name = request.model_name or request.repository_name
        self._known(name, "")
        return name


def _read(path: str, body: bytes) -> Any:
    try:
        return REQUESTS[path].FromString(body)
    except DecodeError as error:
        raise Refusal(
            400, f"The message: expected the one of {path}, got other bytes: {error}."
        ) from None


def _filled(name: str, about: dict[str, Any]) -> Any:
    return filled(message(name)(), about)


def refused(refusal: Refusal, *, stream: bool, request_id: str = "") -> Reply:
    """The reply that says no. A long stream goes on after a fault of one of its requests:
    its answer tells it."""
    if not stream:
        return Reply(refusal.status, b"", refusal.text)
    response = ModelStreamInferResponse(error_message=refusal.text)
    response.infer_response.id = request_id
    return Reply(refusal.status, response.SerializeToString(), refusal.text)


def answer_internal(call: Callable[[str, Exchange, Respond], None], exchange: Exchange) -> None:
    """Answer `POST /_volant/grpc/METHOD`, whose body is the message: its reply's status
    and text are headers."""
    name = exchange.path[len(GRPC_PATH) :].decode("latin-1")

    def respond(reply: Reply) -> None:
        headers = b"grpc-status: %d\r\ngrpc-message: %b\r\n" % (
            code_of(reply.status),
            percent(reply.text),
        )
        exchange.content_type = b"content-type: application/grpc\r\n"
        exchange.answer(reply.status, reply.body, headers)

    call(f"/{SERVICE}/{name}", exchange, respond)
