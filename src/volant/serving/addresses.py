"""Ports for deployments, and how their addresses are written."""

from __future__ import annotations

import secrets
import socket

from volant.errors import Unavailable

# Below the range from which Linux takes the ports of outgoing connections (32768 and
# up), so that a stored port isn't lost to one of those while Volant is down.
FIRST_PORT, PORTS = 20000, 10000


def free_port(host: str, taken: set[int]) -> int:
    """A port on `host` that nobody listens on and that isn't in `taken`. The search
    starts anywhere: a platform that is down for a moment shall not lose its port to a
    deployment of the same name elsewhere. Raises `Unavailable` when there is none."""
    start = secrets.randbelow(PORTS)
    for i in range(PORTS):
        port = FIRST_PORT + (start + i) % PORTS
        if port not in taken and _is_free(host, port):
            return port
    raise Unavailable(
        f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} on {host} is free.",
        "End what listens there, or let Volant listen on another address.",
    )


def url_of(host: str, port: int) -> str:
    """`http://host:port`."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
