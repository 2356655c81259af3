"""`volant up`: bind, start the platform, serve, and stop all of it on a signal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from volant import __version__
from volant.durable import write_whole
from volant.settings import Settings
from volant.web import serverlog
from volant.web.api.app_sessions import AppSessions
from volant.web.api.verbs import Platform
from volant.web.front import Front
from volant.web.git.door import routes as git_routes
from volant.web.listener import BACKLOG, RECORD, Address, bind, check
from volant.web.mlflow.door import routes as mlflow_routes
from volant.web.wire import HttpProtocol

GRACE_S = 10  # for answers that are on their way when the server stops


class RunningPlatform(Platform, Protocol):
    """A platform with a life of its own beside the API."""

    def start(self) -> None: ...

    def close(self) -> None: ...


class _Server(uvicorn.Server):
    """uvicorn that tells when it accepts."""

    def __init__(self, config: uvicorn.Config, accepting: Callable[[], None]) -> None:
        super().__init__(config)
        self._accepting = accepting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._accepting()


def serve(
    platform: RunningPlatform,
    listener: socket.socket,
    address: Address,
    home: Path,
    *,
    ready: Callable[[str], None],
    doors: Sequence[BaseRoute] = (),
) -> None:
    """Start `platform` and serve it until SIGINT, SIGTERM or SIGHUP; then close it.

    `home/server.json` tells local clients where we are for as long as we accept.
    `ready` is called with our URL once requests are answered. A signal before that
    ends the start; one that comes while all is being closed is heard, and changes nothing.
    `doors` are the routes of other protocols, which answer before the API is built.
    """
    url = address.url(listener.getsockname()[1])
    record = home / RECORD

    def accepting() -> None:
        write_record(record, url)
        ready(url)

    def api() -> ASGIApp:
        # Imported when it is asked for: see `Front`.
        from volant.web.api.app import create_app
        from volant.web.api.app_page import pages

        sessions = AppSessions()
        late = (*doors, *pages(platform, sessions))
        app = create_app(platform, hosts=address.names(), doors=late, sessions=sessions)
        app.state.leaving = lambda: server.should_exit  # an endless answer ends with us
        return app

    front = Front(doors, api, address.names())
    server = _Server(_config(front, address), accepting)
    with _signals(server) as signals:
        try:
            platform.start()
            signals.starting = False
            if not signals.asked:
                server.run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            signals.starting = False
            listener.close()
            remove_record(record)
            platform.close()


def _config(app: Any, address: Address) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,  # the edge writes one of its own, with principal and request id
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
    )


class _Signals:
    """What we were asked by signals. uvicorn hears them while it serves, and repeats
    them to us at its end."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server
        self.starting = True
        self.asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        first = not self.asked
        self.asked = True
        self._server.should_exit = True
        if self.starting and first:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _signals(server: uvicorn.Server) -> Generator[_Signals]:
    signals = _Signals(server)
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, signals) for each in heard}
    try:
        yield signals
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def write_record(record: Path, url: str) -> None:
    """Tell local clients where we are: all of it at once, or nothing."""
    facts = {
        "pid": os.getpid(),
        "url": url,
        "started_at": datetime.now(UTC).isoformat(),
        "version": __version__,
    }
    write_whole(record, json.dumps(facts) + "\n", lasting=False)


def remove_record(record: Path) -> None:
    """Take our own record away, never another server's."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if json.loads(record.read_text()).get("pid") == os.getpid():
            record.unlink()


def run(
    settings: Settings, address: Address, *, terminal: bool, ready: Callable[[str], None]
) -> None:
    """All of `volant up`: check the address, bind it, open the platform, serve it.

    Args:
        settings: The platform's.
        address: Where to listen.
        terminal: Whether warnings also go to standard error.
        ready: Called with the URL once requests are answered.

    Raises `Conflict` for a port or a home in use, `InvalidInput` for an address that
    can't or mustn't be used, and what `open_platform` and `start` raise.
    """
    from volant.app import open_platform

    check(address)
    home = settings.home.expanduser().absolute()
    listener = bind(address, home)
    try:
        platform = open_platform(settings)
    except BaseException:
        listener.close()
        raise
    # The lock is ours now, so a record that lies here is a dead server's.
    (home / RECORD).unlink(missing_ok=True)
    serverlog.configure(home / "logs" / "server.log", terminal=terminal)
    doors = (*mlflow_routes(platform), *git_routes(platform))
    serve(platform, listener, address, home, ready=ready, doors=doors)
