"""Who we are to a registry: the environment's word, or what `podman login` and
`docker login` left in their files."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.errors import InvalidInput, Unauthenticated

_HELPER_S = 30
_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
_NO_USER = "<token>"  # as docker's helpers write it; the secret is an identity token


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password, or an identity token. `source` says where they were found."""

    username: str
    password: str
    source: str
    identity_token: str = ""

    def basic(self) -> str:
        """The value of an `Authorization` header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"

    def __repr__(self) -> str:  # a password has no business in a log
        return f"Credentials({self.username!r}, source={self.source!r})"


def credentials_for(
    registry: str, repository: str = "", environ: Mapping[str, str] | None = None
) -> Credentials | None:
    """Those for `registry`, or None for nobody.

    In this order: `VOLANT_REGISTRY_USERNAME` and `VOLANT_REGISTRY_PASSWORD`; the file
    that `REGISTRY_AUTH_FILE` names; podman's `auth.json`; docker's `config.json`
    (`DOCKER_CONFIG` names its folder), with the credential helpers that it names.

    Raises `InvalidInput` for a file that can't be read, `Unauthenticated` when a helper
    fails.
    """
    env = os.environ if environ is None else environ
    username, password = env.get("VOLANT_REGISTRY_USERNAME"), env.get("VOLANT_REGISTRY_PASSWORD")
    if username and password is not None:
        return Credentials(username, password, "VOLANT_REGISTRY_USERNAME")
    for path in _files(env):
        body = _read(path, named=str(path) == env.get("REGISTRY_AUTH_FILE"))
        found = _helped(body, registry, path, env) or _stored(body, registry, repository, path)
        if found is not None:
            return found
    return None


def _files(env: Mapping[str, str]) -> Iterator[Path]:
    if named := env.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
        return  # whoever names a file means that one
    home = Path(env.get("HOME") or Path.home())
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    yield Path(runtime) / "containers" / "auth.json"
    yield Path(f"/run/containers/{os.getuid()}/auth.json")
    yield Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    yield Path(env.get("DOCKER_CONFIG") or home / ".docker") / "config.json"


def _read(path: Path, *, named: bool) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8") or "{}")
    except FileNotFoundError:
        if not named:
            return {}
        raise InvalidInput(
            f"REGISTRY_AUTH_FILE names {path}, which isn't there.",
            "Log in with `podman login`, or unset it.",
            code="oci.auth_file",
        ) from None
    except PermissionError:
        return {}  # another user's: docker and podman pass over it, too
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} can't be read: {error}.",
            "Log in again with `podman login` or `docker login`.",
            code="oci.auth_file",
        ) from error
    return body if isinstance(body, dict) else {}


def _keys(registry: str) -> tuple[str, ...]:
    return (registry, f"https://{registry}", f"http://{registry}", f"https://{registry}/")


def _stored(
    body: Mapping[str, Any], registry: str, repository: str, path: Path
) -> Credentials | None:
    """podman keeps some for a namespace (`host/team`): the longest one that fits wins."""
    auths = body.get("auths")
    if not isinstance(auths, dict):
        return None
    parts = repository.split("/") if repository else []
    spaces = [f"{registry}/{'/'.join(parts[:n])}" for n in range(len(parts), 0, -1)]
    for key in (*spaces, *_keys(registry)):
        entry = auths.get(key)
        if not isinstance(entry, dict):
            continue
        token = str(entry.get("identitytoken") or "")
        username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            username, password = _pair(str(entry["auth"]), path, key)
        if username or token:
            return Credentials(username, password, str(path), token)
    return None


def _pair(encoded: str, path: Path, key: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        if not colon:
            raise ValueError
    except (binascii.Error, ValueError):
        raise InvalidInput(
            f"The entry {key} of {path} isn't a user name and a password in base64.",
            f"Log in again: podman login {key}",
            code="oci.auth_file",
        ) from None
    return username, password.rstrip("\0")


def _helped(
    body: Mapping[str, Any], registry: str, path: Path, env: Mapping[str, str]
) -> Credentials | None:
    helpers = body.get("credHelpers")
    name = helpers.get(registry) if isinstance(helpers, dict) else None
    name = name or body.get("credsStore")
    if not isinstance(name, str) or not name:
        return None
    if _HELPER.fullmatch(name) is None:
        raise InvalidInput(
            f"{path} names the credential helper {name!r}.", "Correct it.", code="oci.auth_file"
        )
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=registry,
            capture_output=True,
            text=True,
            timeout=_HELPER_S,
            check=False,
            env=dict(env),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unauthenticated(
            f"{path} names the credential helper {program}, which can't be run: {error}.",
            "Install it, or log in with `podman login`.",
            code="oci.credential_helper",
        ) from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        if "not found" in said:
            return None  # it has nothing for this registry
        raise Unauthenticated(
            f"{program} failed: {said[:300] or f'exit code {done.returncode}'}",
            f"Log in to {registry} again.",
            code="oci.credential_helper",
        )
    try:
        told = json.loads(done.stdout)
        username, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError):
        raise Unauthenticated(
            f"{program} didn't answer as a credential helper does.", "Update it."
        ) from None
    token = secret if username == _NO_USER else ""
    return Credentials(username, "" if token else secret, program, token)
