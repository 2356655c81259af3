"""Where the server listens: the address's rules, and the bound socket."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.errors import Conflict, InvalidInput, Unavailable

BACKLOG = 2048
RECORD = "server.json"  # in the home: where the server that runs on it is
# "Every address" is none that a client can ask: on this machine, loopback is.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


@dataclass(frozen=True)
class Address:
    """Where to listen. `port` 0 lets the system choose one."""

    host: str = "127.0.0.1"
    port: int = 8400
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def scheme(self) -> str:
        """`https` with TLS, else `http`."""
        return "https" if self.tls_cert else "http"

    def url(self, port: int) -> str:
        """What a client on this machine asks."""
        host = _ANY.get(self.host, self.host)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def names(self) -> frozenset[str] | None:
        """Host headers to answer: on loopback its own names, elsewhere any."""
        if not self.loopback:
            return None
        own = f"[{self.host}]" if ":" in self.host else self.host.lower()
        return frozenset({"127.0.0.1", "localhost", "[::1]", own})


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine's loopback; a name other than localhost doesn't."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(address: Address) -> None:
    """Refuse an address that would send tokens over a network in the clear.

    Raises `InvalidInput`.
    """
    if not 0 <= address.port <= 65535:
        raise InvalidInput(f"{address.port} is not a port.", "Give one from 0 to 65535.")
    if (address.tls_cert is None) != (address.tls_key is None):
        raise InvalidInput(
            "TLS needs a certificate and its key.", "Give both --tls-cert and --tls-key."
        )
    for file in (address.tls_cert, address.tls_key):
        if file is not None and not file.is_file():
            raise InvalidInput(f"There is no file {file}.", "Give a PEM file that exists.")
    if address.loopback or address.tls_cert or address.insecure:
        return
    raise InvalidInput(
        f"{address.host} can be reached from other machines, and without TLS tokens would"
        " travel in the clear.",
        "Give --tls-cert and --tls-key; or --insecure if something in front speaks TLS.",
        code="insecure_bind",
    )


def bind(address: Address, home: Path) -> socket.socket:
    """A listening socket at `address`.

    Raises `Conflict` when the port is taken, naming the Volant that holds it if one
    does; `InvalidInput` when the host isn't an address of this machine; `Unavailable`
    for anything else, like a port that needs privileges.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise _taken(address, home) from error
        if error.errno in (errno.EADDRNOTAVAIL, None) or isinstance(error, socket.gaierror):
            raise InvalidInput(
                f"{address.host!r} is not an address of this machine.",
                "Give one with --host; 127.0.0.1 is this machine alone.",
            ) from error
        raise Unavailable(
            f"Can't listen on {address.host} port {address.port}: {error.strerror}.",
            "Choose another port with --port.",
        ) from error
    return listener


def _taken(address: Address, home: Path) -> Conflict:
    where = f"Port {address.port} on {address.host}"
    other = "Choose another with --port N."
    details: dict[str, Any] = {"host": address.host, "port": address.port}
    own = _server_of(home)
    if own and str(own.get("url", "")).endswith(f":{address.port}"):
        pid = own.get("pid", "unknown")
        return Conflict(
            f"{where} is held by the Volant that runs on {home} already (pid {pid}).",
            "Use that one, or stop it with `volant down`.",
            code="home_in_use",
            details={**details, "pid": pid},
        )
    version = _volant_at(address)
    holder = f"another Volant ({version})" if version else "another program"
    fix = f"{other} To stop that Volant: volant down --home ITS_HOME" if version else other
    return Conflict(f"{where} is held by {holder}.", fix, code="port_in_use", details=details)


def _server_of(home: Path) -> dict[str, Any]:
    try:
        return json.loads((home / RECORD).read_text())
    except (OSError, ValueError):
        return {}


def _volant_at(address: Address) -> str | None:
    """The version of the Volant that answers at `address`, if one does."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=1)
    try:
        connection.request("GET", "/api/v1/health")
        health = json.loads(connection.getresponse().read(4096))
        return str(health["version"]) if health["status"] == "ok" else None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
