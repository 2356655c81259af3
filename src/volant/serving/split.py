"""A live replica with other revisions beside it: each request to the one that shall
answer, and copies to a shadow.

While there are none, `HttpServer.handle` is the service's own and nothing here runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from volant.serving.compare import difference
from volant.serving.counters import Counters
from volant.serving.forward import Call, Done, Forwarder, Reply, Unreachable, request_bytes
from volant.serving.http import SHADOW_HEADER, Exchange
from volant.serving.http_server import HttpServer
from volant.serving.inflate import inflated
from volant.serving.limits import ForwardLimits
from volant.serving.paths import SAFE, plain
from volant.serving.refusal import Refusal
from volant.serving.replica_spec import Assignment
from volant.serving.routes import Service
from volant.serving.traffic import Route, Traffic

REVISION = b"x-volant-revision: %d\r\n"
_JSON_LENGTH = b"inference-header-content-length"
_SAMPLE_S = 1.0  # between two differences that are logged

Log = Callable[[dict[str, Any]], None]
# An answer's body and headers, and a shadow's: where they differ in words, None if nowhere.
# Raises `ValueError` and the like for what is no answer.
Difference = Callable[[tuple[bytes, bytes], Reply], str | None]


class Split:
    """What one replica knows of the other revisions."""

    def __init__(
        self, assignment: Assignment, server: HttpServer, service: Service, log: Log
    ) -> None:
        self._version = assignment.version
        self._server = server
        self._service = service
        self._log = log
        self._limits = ForwardLimits()
        self._mark = REVISION % assignment.revision
        self._traffic: Traffic | None = None
        self._forwarders: dict[str, Forwarder] = {}
        self._counts: dict[int, Counter[str]] = {}
        self.counted = 0  # grows with whatever `counts` tells
        self._copies = 0  # under way
        self._logged_at = 0.0
        names = dict.fromkeys((assignment.model, assignment.deployment))
        self._names = {quote(name, safe=SAFE).encode() for name in names}
        self._shared = {b"/v2/models/%s/infer" % name for name in self._names}
        self._shared |= {b"/v1/models/%s:predict" % name for name in self._names}

    def set(self, message: Mapping[str, Any] | None) -> None:
        """These are the others from now on. What is under way goes on."""
        routes = (message or {}).get("routes")
        self._traffic = Traffic(message) if message is not None and routes else None
        wanted = {route.socket for route in self._routes()}
        for path in self._forwarders.keys() - wanted:
            self._forwarders.pop(path).close()
        versions = {self._version, *(route.version for route in self._routes())}
        self._service.show_versions(sorted(versions, key=_by_number))
        split = self._traffic is not None
        self._server.handle = self.handle if split else self._service.handle
        self._server.call = self.call if split else self._service.call

    def close(self) -> None:
        """The replica ends."""
        for forwarder in self._forwarders.values():
            forwarder.close()

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """For each other revision, see `tally.ROUTE_COUNTS`."""
        return {str(revision): dict(counts) for revision, counts in self._counts.items()}

    def _routes(self) -> Iterable[Route]:
        return self._traffic.routes if self._traffic is not None else ()

    # requests

    def handle(self, exchange: Exchange) -> None:
        """Answer, or let the revision do it that shall."""
        traffic = self._traffic
        if traffic is None or exchange.internal:  # it was sent here: no further
            self._service.handle(exchange)
            return
        try:
            path = exchange.path if exchange.path in self._shared else plain(exchange.path)
            if path in self._shared and exchange.method == b"POST":
                route = traffic.choose(exchange.headers, lambda: _parameters(exchange))
                if route is None:
                    self._here(exchange)
                else:
                    self._forward(exchange, route, by_name=False)
                return
            route = self.named(_version_in(path, self._names))
            if route is None:
                exchange.mark = self._mark
                self._service.handle(exchange)
            else:
                self._forward(exchange, route, by_name=True)
        except Refusal as refusal:
            exchange.refuse(refusal)

    def call(self, method: str, exchange: Exchange, respond: Callable[[Any], None]) -> None:
        """As `handle`, for a gRPC call; see `grpc_service.Methods.call`."""
        from volant.serving.grpc_split import split_call  # only who is asked pays for it

        split_call(self, self._service, method, exchange, respond)

    @property
    def mark(self) -> bytes:
        """The header line of this replica's revision."""
        return self._mark

    def mark_of(self, route: Route) -> bytes:
        """The header line of another revision."""
        return REVISION % route.revision

    def named(self, version: str | None) -> Route | None:
        """Where a request goes that names `version`; None: here."""
        if version is None or version == self._version or self._traffic is None:
            return None
        return self._traffic.versions.get(version)

    def choose(
        self, headers: Mapping[bytes, bytes], parameters: Callable[[], Mapping[str, Any] | None]
    ) -> Route | None:
        """Where a request goes that names no version, whatever its wire; None: here."""
        if self._traffic is None:
            return None
        return self._traffic.choose(headers, parameters)

    def send(self, route: Route, request: bytes, done: Done) -> Call:
        """Pass `request` on, and count how it went. `done` is called once, on the loop,
        unless the call is cancelled."""

        def counted(outcome: Reply | Unreachable) -> None:
            reached = isinstance(outcome, Reply)
            self._count(route, "forwarded" if reached else "unreached")
            if reached:
                self.counters.forwarded(route.revision)
                self._server.passed_on += 1
            else:
                self.counters.unreached(route.revision)
            done(outcome)

        return self._forwarder(route).send(request, counted)

    def pass_on(self, exchange: Exchange, route: Route, request: bytes, done: Done) -> None:
        """As `send`, for a request whose client may give up: having waited for long, it
        wasn't served, and that is the other revision's failure."""
        self._server.away(exchange)
        call = self.send(route, request, done)

        def cancel() -> None:
            waited = self._server.loop.time() - call.started
            if call.done is not None and waited >= self._server.limits.gave_up_s:
                self._count(route, "unreached")
                self.counters.unreached(route.revision)
            call.cancel()

        if call.done is not None:  # else it came back at once
            exchange.cancel = cancel

    def came_back(self, exchange: Exchange) -> None:
        """It couldn't be passed on: this replica answers it."""
        self._server.back(exchange)

    @property
    def counters(self) -> Counters:
        return self._server.counters

    def _forward(self, exchange: Exchange, route: Route, *, by_name: bool) -> None:
        """`by_name`: nobody else can answer for it."""
        exchange.caller = self._service.authorize(exchange.headers.get(b"authorization", b""))

        def done(outcome: Reply | Unreachable) -> None:
            exchange.cancel = None
            if isinstance(outcome, Reply):
                exchange.quiet = True  # the one that answered has counted it
                exchange.mark = REVISION % route.revision
                exchange.content_type = outcome.content_type
                exchange.answer(outcome.status, outcome.body, outcome.headers)
            elif by_name:
                exchange.refuse(
                    Refusal(
                        503,
                        f"Version {route.version} can't answer now: {outcome.reason}.",
                        b"retry-after: 1\r\n",
                    )
                )
            else:
                self.came_back(exchange)
                self._here(exchange)

        # The protocol gives a head without its body by itself.
        method = b"GET" if exchange.method == b"HEAD" else exchange.method
        extra = b"x-forwarded-for: %s\r\n" % exchange.peer.encode("latin-1")
        headers = {k: v for k, v in exchange.headers.items() if k != b"x-forwarded-for"}
        request = request_bytes(method, exchange.path, headers, exchange.body, extra)
        self.pass_on(exchange, route, request, done)

    def _here(self, exchange: Exchange) -> None:
        exchange.mark = self._mark
        self.mirrored(exchange, exchange.path, _difference)
        self._service.handle(exchange)

    def _forwarder(self, route: Route) -> Forwarder:
        found = self._forwarders.get(route.socket)
        if found is None:
            loop: asyncio.AbstractEventLoop = self._server.loop
            found = self._forwarders[route.socket] = Forwarder(route.socket, loop, self._limits)
        return found

    def _count(self, route: Route, name: str) -> None:
        self._counts.setdefault(route.revision, Counter())[name] += 1
        self.counted += 1

    # shadows

    def mirrored(self, exchange: Exchange, path: bytes, difference: Difference) -> None:
        """Once `exchange` is answered, a shadow gets a copy at `path`, if there is one and
        it is its turn."""
        shadow = self._traffic.shadow() if self._traffic is not None else None
        if shadow is not None:
            exchange.after = lambda answered: self._mirror(answered, shadow, path, difference)

    def _mirror(
        self, exchange: Exchange, route: Route, path: bytes, difference: Difference
    ) -> None:
        """Send a copy of what was answered just now, if there is room for it."""
        status, ours, headers = exchange.response or (0, b"", b"")
        if status != 200:
            return
        limits = self._limits
        if self._copies >= limits.copies or len(exchange.body) + len(ours) > limits.copy_bytes:
            self._drop(route)
            return
        kept = {k: v for k, v in exchange.headers.items() if k != SHADOW_HEADER}
        request = request_bytes(
            exchange.method, path, kept, exchange.body, SHADOW_HEADER + b": 1\r\n"
        )
        request_id = exchange.headers.get(b"x-request-id", b"").decode("latin-1")

        def done(outcome: Reply | Unreachable) -> None:
            self._copies -= 1
            if isinstance(outcome, Unreachable):
                self._count(route, "unreached")
                self.counters.unreached(route.revision)
                return
            self._count(route, "mirrored")
            self._compare(route, lambda: difference((ours, headers), outcome), outcome, request_id)

        self._copies += 1
        self._forwarder(route).send(request, done)

    def _drop(self, route: Route) -> None:
        self._count(route, "dropped")
        self.counters.dropped(route.revision)

    def _compare(
        self, route: Route, differs: Callable[[], str | None], theirs: Reply, request_id: str
    ) -> None:
        if theirs.status >= 500:
            self._count(route, "failed")
        if len(theirs.body) > self._limits.copy_bytes:
            return
        found: str | None
        if theirs.status != 200:
            found = f"the answer: 200 and {theirs.status}"
        else:
            try:
                found = differs()
            except Exception as error:  # nobody waits for it
                found = f"the answer can't be compared: {type(error).__name__}"
        self._count(route, "compared")
        self.counters.shadowed(route.revision, differs=found is not None)
        if found is None:
            return
        self._count(route, "differed")
        now = self._server.loop.time()
        if now - self._logged_at >= _SAMPLE_S:
            self._logged_at = now
            self._log(
                {
                    "shadow": route.revision,
                    "version": route.version,
                    "differs": found,
                    "request_id": request_id[:128],
                }
            )


def _version_in(path: bytes, names: set[bytes]) -> str | None:
    """The version that a path names, `/v2/models/NAME/versions/V/…` or V1's."""
    parts = path.split(b"/", 6)
    if len(parts) < 6 or parts[2] != b"models" or parts[4] != b"versions" or parts[3] not in names:
        return None
    return parts[5].partition(b":")[0].decode("latin-1")


def _parameters(exchange: Exchange) -> Mapping[str, Any] | None:
    """The request's `parameters`, None when they can't be read: whoever answers tells."""
    try:
        body = exchange.body
        encoding = exchange.headers.get(b"content-encoding")
        if encoding is not None:
            body = inflated(body, encoding, 16 * 1024 * 1024)
        length = exchange.headers.get(_JSON_LENGTH)
        read = orjson.loads(body if length is None else body[: int(length)])
    except (ValueError, Refusal):
        return None
    found: Any = read.get("parameters") if isinstance(read, dict) else None
    return found if isinstance(found, dict) else None


def _difference(ours: tuple[bytes, bytes], theirs: Reply) -> str | None:
    body, headers = ours
    lengths = _json_length(headers, body), _json_length(theirs.headers, theirs.body)
    return difference(body, lengths[0], theirs.body, lengths[1])


def _json_length(headers: bytes, body: bytes) -> int:
    """How much of an answer is JSON, from its header lines."""
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == _JSON_LENGTH and value.strip().isdigit():
            return int(value)
    return len(body)


def _by_number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdigit() else 0, version)
