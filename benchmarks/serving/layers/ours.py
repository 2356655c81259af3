"""Volant's own protocol on httptools and uvloop: `ours.py PORT FOLDER`."""

from __future__ import annotations

import asyncio
import socket
import sys

import uvloop

from benchmarks.serving.layers.core import Core
from volant.serving.http import Exchange
from volant.serving.http_server import HttpServer
from volant.serving.limits import HttpLimits


async def main(port: int, folder: str) -> None:
    core = Core(folder)
    server = HttpServer(asyncio.get_running_loop(), HttpLimits(), print)

    def handle(exchange: Exchange) -> None:
        core.predict(exchange.body, exchange.answer)

    server.handle = handle
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    listening.setblocking(False)
    server.accept_on(listening)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
