"""Granian's own interface, RSGI: `rsgi.py PORT FOLDER`."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.serving.layers.core import Core

_HEAD = [("content-type", "application/json")]
_core: list[Core] = []


async def app(scope: Any, proto: Any) -> None:
    if not _core:
        _core.append(Core(os.environ["BENCH_PACKAGE"]))
    status, answer = await _core[0].awaited(await proto())
    proto.response_bytes(status, _HEAD, answer)


def granian(target: str, interface: str, port: int) -> None:
    """One worker, one thread of its runtime, uvloop, HTTP/1.1 and no log."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    Granian(
        target,
        address="127.0.0.1",
        port=port,
        interface=Interfaces(interface),
        workers=1,
        runtime_threads=1,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        log_access=False,
    ).serve()


if __name__ == "__main__":
    found, os.environ["BENCH_PACKAGE"] = sys.argv[1:3]
    granian("benchmarks.serving.layers.rsgi:app", "rsgi", int(found))
