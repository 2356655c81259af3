"""A bare ASGI function, for uvicorn and granian: `asgi.py uvicorn|granian PORT FOLDER`."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.serving.layers.core import Core

_JSON = (b"content-type", b"application/json")
_core: list[Core] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if not _core:
        _core.append(Core(os.environ["BENCH_PACKAGE"]))
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    status, answer = await _core[0].awaited(body)
    head = [_JSON, (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    server, port, os.environ["BENCH_PACKAGE"] = sys.argv[1:4]
    if server == "uvicorn":
        import uvicorn

        uvicorn.run(
            app,
            port=int(port),
            loop="uvloop",
            http="httptools",
            lifespan="off",
            access_log=False,
            log_level="warning",
        )
    else:
        from benchmarks.serving.layers.rsgi import granian

        granian("benchmarks.serving.layers.asgi:app", "asginl", int(port))
