"""A real Postgres server of a test's own: made in a folder, gone at the end.

Postgres refuses to run as root, so there it runs as the user `postgres` (or, without
one, `nobody`). It listens on a free loopback port and trusts whoever connects.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
# Durability is what these lose: a test's server never survives its host anyway.
_FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "max_connections=200")


def find_postgres() -> Path | None:
    """The folder of the newest `initdb` on this machine, or None."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    found = [
        binary.parent
        for place in _PLACES
        for binary in Path("/").glob(f"{place.lstrip('/')}/initdb")
    ]
    return max(found, key=lambda folder: _major(folder.parent.name), default=None)


def _major(name: str) -> int:
    digits = "".join(character for character in name if character.isdigit())
    return int(digits) if digits else 0


class PostgresServer:
    """A running server; `new_database` gives each test a database of its own."""

    def __init__(self, binaries: Path, port: int) -> None:
        self._binaries = binaries
        self.port = port

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://volant@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; returns its URL."""
        name = f"t_{secrets.token_hex(6)}"
        command = [self._binaries / "createdb", "-h", "127.0.0.1", "-p", str(self.port)]
        subprocess.run([*command, "-U", "volant", name], check=True, capture_output=True)
        return self.url(name)


@contextmanager
def postgres_server() -> Generator[PostgresServer]:
    """Start a server; it is stopped and its folder removed at the end.

    Raises `FileNotFoundError` when no Postgres is installed (see `find_postgres`), and
    `subprocess.CalledProcessError` when it doesn't start.
    """
    binaries = find_postgres()
    if binaries is None:
        raise FileNotFoundError("no initdb on this machine")
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="volant-pg-"))
    data = folder / "data"
    data.mkdir()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
        os.chown(data, user.pw_uid, user.pw_gid)
    server = PostgresServer(binaries, _free_port())

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, "-D", data, *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )

    try:
        run("initdb", "-U", "volant", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = ["-p", str(server.port), "-h", "127.0.0.1", "-k", str(folder), *_FAST]
        run("pg_ctl", "start", "-w", "-t", "60", "-l", f"{folder}/log", "-o", " ".join(options))
        try:
            yield server
        finally:
            run("pg_ctl", "stop", "-m", "immediate", "-w")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> pwd.struct_passwd | None:
    """Whom to run it as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
