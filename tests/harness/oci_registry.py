"""A small container registry in this process: the push and pull parts of the OCI
distribution spec 1.1, with what tests want to go wrong. A real one is in the service tests.

`Registry.calls` lists each request as (method, path); `faults` are asked before a request
is answered.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "ada", "open sesame"
_BLOB = re.compile(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})")
_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([0-9a-f]+)")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/(.+)")


def sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class Registry:
    """`auth` is none, basic or bearer. A fault is called with the handler; it answers by
    itself and returns True, or changes nothing and returns False."""

    def __init__(self, auth: str = "none", *, chunked: bool = True, mounts: bool = True) -> None:
        self.auth = auth
        self.chunked = chunked
        self.mounts = mounts
        self.blobs: dict[str, dict[str, bytes]] = {}  # repository → digest → content
        self.manifests: dict[str, dict[str, tuple[bytes, str]]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.tokens: dict[str, set[str]] = {}
        self.faults: list[Callable[[Handler], bool]] = []
        self.calls: list[tuple[str, str]] = []
        self.sent = 0  # bytes of blobs that came in
        self.host = ""

    def named(self, method: str, part: str) -> int:
        """How many requests of that kind there were."""
        return sum(1 for m, path in self.calls if m == method and part in path)

    def once(self, method: str, part: str, act: Callable[[Handler], None], times: int = 1) -> None:
        """Let the next such requests go wrong by `act`."""
        left = [times]

        def fault(handler: Handler) -> bool:
            if left[0] and handler.command == method and part in handler.path:
                left[0] -= 1
                act(handler)
                return True
            return False

        self.faults.append(fault)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, **headers: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self.answer(status, body, **headers)

    def hang_up(self) -> None:
        """Break the connection without an answer."""
        self.close_connection = True
        self.connection.close()

    def body(self, limit: int | None = None) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length if limit is None else min(limit, length))

    # dispatch

    def handle_one(self) -> None:
        registry = self.registry
        registry.calls.append((self.command, self.path))
        if urlsplit(self.path).path == "/token":
            self._token()
            return
        if not self._allowed():
            return
        if any(fault(self) for fault in list(registry.faults)):
            return
        path = urlsplit(self.path).path
        if match := _UPLOADS.fullmatch(path):
            self._begin(match[1])
        elif match := _UPLOAD.fullmatch(path):
            self._upload(match[1], match[2])
        elif match := _BLOB.fullmatch(path):
            self._blob(match[1], match[2])
        elif match := _MANIFEST.fullmatch(path):
            self._manifest(match[1], match[2])
        else:
            self.refuse(404, "NOT_FOUND")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_one

    def _allowed(self) -> bool:
        said, auth = self.headers.get("Authorization", ""), self.registry.auth
        if auth == "none":
            return True
        if auth == "basic":
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if said == f"Basic {pair}":
                return True
            self.body()
            self.refuse(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="here"')
            return False
        actions = self.registry.tokens.get(said.removeprefix("Bearer "), set())
        wanted = "pull" if self.command in ("GET", "HEAD") else "push"
        if wanted in actions:
            return True
        self.body()
        repository = self.path.removeprefix("/v2/").partition("/blobs")[0].partition("/man")[0]
        scope = f"repository:{repository}:{'pull' if wanted == 'pull' else 'pull,push'}"
        challenge = f'Bearer realm="http://{self.registry.host}/token",service="s",scope="{scope}"'
        self.refuse(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
        return False

    def _token(self) -> None:
        said = self.headers.get("Authorization", "").removeprefix("Basic ")
        if said and base64.b64decode(said).decode() != f"{USER}:{PASSWORD}":
            self.refuse(401, "UNAUTHORIZED")
            return
        query = parse_qs(urlsplit(self.path).query)
        actions = {a for scope in query["scope"] for a in scope.rpartition(":")[2].split(",")}
        token = secrets.token_hex(8)
        # Nobody may read, and who is known may write.
        self.registry.tokens[token] = actions if said else actions & {"pull"}
        self.answer(200, json.dumps({"token": token}).encode())

    # blobs

    def _begin(self, repository: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        digest, source = query.get("mount", [""])[0], query.get("from", [""])[0]
        content = self.registry.blobs.get(source, {}).get(digest)
        if content is not None and self.registry.mounts:
            self.registry.blobs.setdefault(repository, {})[digest] = content
            self.answer(201, Location=f"/v2/{repository}/blobs/{digest}")
            return
        upload = secrets.token_hex(8)
        self.registry.uploads[upload] = bytearray()
        self.answer(202, Location=f"/v2/{repository}/blobs/uploads/{upload}?state=1")

    def _upload(self, repository: str, upload: str) -> None:
        registry, have = self.registry, self.registry.uploads.get(upload)
        if have is None:
            self.body()
            self.refuse(404, "BLOB_UPLOAD_UNKNOWN")
            return
        where = f"/v2/{repository}/blobs/uploads/{upload}?state={secrets.token_hex(2)}"
        if self.command == "GET":
            self.answer(204, Location=where, Range=f"0-{max(0, len(have) - 1)}")
            return
        content = self.body()
        registry.sent += len(content)
        if self.command == "PATCH":
            start = int(self.headers["Content-Range"].partition("-")[0])
            if not registry.chunked:
                self.refuse(405, "UNSUPPORTED")
            elif start != len(have):
                self.refuse(416, "BLOB_UPLOAD_INVALID")
            else:
                have += content
                self.answer(202, Location=where, Range=f"0-{len(have) - 1}")
            return
        have += content
        digest = parse_qs(urlsplit(self.path).query)["digest"][0]
        del registry.uploads[upload]
        if sha256(bytes(have)) != digest:
            self.refuse(400, "DIGEST_INVALID")
            return
        registry.blobs.setdefault(repository, {})[digest] = bytes(have)
        self.answer(201, Location=f"/v2/{repository}/blobs/{digest}")

    def _blob(self, repository: str, digest: str) -> None:
        content = self.registry.blobs.get(repository, {}).get(digest)
        if content is None:
            self.refuse(404, "BLOB_UNKNOWN")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and int(wanted[1]) < len(content):
            start = int(wanted[1])
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], Content_Range=span)
            return
        self.answer(200, content, Docker_Content_Digest=digest)

    # manifests

    def _manifest(self, repository: str, target: str) -> None:
        known = self.registry.manifests.setdefault(repository, {})
        if self.command == "PUT":
            body = self.body()
            document = json.loads(body)
            held = self.registry.blobs.get(repository, {})
            named = [
                e["digest"] for e in [document.get("config"), *document.get("layers", [])] if e
            ]
            if any(digest not in held for digest in named):
                self.refuse(400, "MANIFEST_BLOB_UNKNOWN")
                return
            digest = sha256(body)
            known[target] = known[digest] = (body, self.headers["Content-Type"])
            self.answer(201, Docker_Content_Digest=digest)
        elif target not in known:
            self.refuse(404, "MANIFEST_UNKNOWN")
        else:
            body, kind = known[target]
            self.answer(200, body, Docker_Content_Digest=sha256(body), Content_Type=kind)


@contextmanager
def running(registry: Registry) -> Iterator[Registry]:
    """The registry on a free port of loopback, as `registry.host`."""
    handler = type("Bound", (Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
