"""Codesets behind a real server, for git as its client."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import uvicorn
from starlette.applications import Starlette

from volant.access.desk import AccessDesk
from volant.adapters.system import SortableIds, SystemClock
from volant.codesets.desk import CodesetDesk
from volant.codesets.mirrors import Mirrors
from volant.domain.event import CODESET_PUSHED
from volant.domain.principal import Role
from volant.web.api.edge import Edge
from volant.web.git.door import routes


class Served:
    """In a thread of this process."""

    def __init__(self, store, folder):
        clock, ids = SystemClock(), SortableIds()
        self.store = store
        self.access = AccessDesk(tokens=store.tokens, audit=store.audit, clock=clock, ids=ids)
        self.tokens = {role: self.access.issue(role.name.lower(), role)[1] for role in Role}
        self.limits = {}
        self.desk = CodesetDesk(
            store.codesets,
            folder / "codesets",
            clock,
            ids,
            url=lambda: self.url,
            ensure_project=lambda name: None,
        )
        self.desk.recover()
        self.mirrors = Mirrors(self.desk, folder / "codesets", clock)
        self.workbench = SimpleNamespace(
            codesets=self.desk, mirrors=self.mirrors, projects=SimpleNamespace(within=self.within)
        )
        app = Edge(Starlette(routes=list(routes(self))))
        config = uvicorn.Config(app, log_config=None, lifespan="off", loop="uvloop")
        self._server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True
        )
        self._thread.start()

    def within(self, project, principal):
        return self.limits.get((project, principal.name), principal)

    def address(self, role=Role.DEVELOPER, name="code", token=None):
        secret = token or self.tokens[role]
        return f"http://any:{secret}@127.0.0.1:{self.port}/git/p/{name}.git"

    def heads(self):
        events = reversed(self.store.events.page(100)[0])
        return [event.data["after"] for event in events if event.type == CODESET_PUSHED]

    def close(self):
        self.mirrors.close()
        self._server.should_exit = True
        self._thread.join(30)
