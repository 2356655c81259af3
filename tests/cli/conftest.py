from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvicorn

from volant.cli.main import main
from volant.web.api.app import create_app


def _plain():
    """The plain platform, which the tests of the API and of its client share."""
    folder = str(Path(__file__).parents[1] / "web")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("plain_platform")


class Serving:
    """One server in a thread for the whole module; each test puts its platform in."""

    def __init__(self):
        self.app = None
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self, interface="asgi3", lifespan="off", ws="none", log_config=None, access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

    def close(self):
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def serving():
    server = Serving()
    yield server
    server.close()


@pytest.fixture
def platform(serving, tmp_path):
    """A fresh platform behind the running server."""
    fresh = _plain().PlainPlatform(tmp_path / "plain")
    serving.app = create_app(fresh)
    return fresh


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in ("VOLANT_SERVER_URL", "VOLANT_TOKEN", "VOLANT_PORT", "VOLANT_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VOLANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    time.tzset()


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def bare(capsys):
    """Runs `volant` in this process, with no server set."""

    def call(*args):
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        told = capsys.readouterr()
        return Result(left.value.code or 0, told.out, told.err)

    return call


@pytest.fixture
def volant(bare, serving, platform, monkeypatch):
    """Runs `volant` in this process against the plain platform, as its admin."""
    monkeypatch.setenv("VOLANT_SERVER_URL", serving.url)
    monkeypatch.setenv("VOLANT_TOKEN", "vol_admin")
    return bare


class Endpoint(ThreadingHTTPServer):
    """A deployment's address: answers the sum of each row's numbers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests = []
        self.refusal = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body, self.headers.get("Authorization")))
        if self.server.refusal:
            self._answer(400, {"error": self.server.refusal})
            return
        rows = body["inputs"][0]["shape"][0]
        first = body["inputs"][0]["data"]
        outputs = [
            {"name": "prediction", "datatype": "FP64", "shape": [rows], "data": first},
            {
                "name": "probabilities",
                "datatype": "FP64",
                "shape": [rows, 2],
                "data": [0.25, 0.75] * rows,
            },
        ]
        self._answer(200, {"model_name": "wine-quality", "outputs": outputs})

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint(platform):
    server = Endpoint()
    platform.deployments.url = server.url
    yield server
    server.shutdown()
    server.server_close()
