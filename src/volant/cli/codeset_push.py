"""A folder, a repository or an address of one, on its way into a codeset.

A repository goes with its history, pushed by the user's own git with the user's own
rights elsewhere; a plain folder goes as an archive, and needs no git on this side.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from volant.cli.client import Client, named
from volant.cli.output import Output
from volant.cli.pack import chosen, pack_into
from volant.cli.upload import progress
from volant.errors import Conflict, InvalidInput, Unavailable, VolantError

_SCP = re.compile(r"[\w.-]+@[\w.-]+:.+")


def is_address(location: str) -> bool:
    """Whether a location is an address and not a folder."""
    return "://" in location or (
        _SCP.fullmatch(location) is not None and not Path(location).exists()
    )


def send(
    client: Client,
    out: Output,
    codeset: Mapping[str, Any],
    location: str,
    *,
    message: str = "",
    history: bool = True,
    force: bool = False,
) -> dict[str, Any]:
    """Bring what is at `location` into the codeset; returns the codeset as it is then.

    Raises `InvalidInput` for a location that is none, `Conflict` when the codeset has
    versions that `location` doesn't.
    """
    if is_address(location):
        with tempfile.TemporaryDirectory(prefix="volant-clone-") as folder:
            out.note(f"Cloning {re.sub(r'//[^/@]*@', '//', location)} …")
            _git(("clone", "--quiet", "--bare", "--", location, folder), None)
            return _pushed(client, codeset, Path(folder), force)
    folder = Path(location)
    if not folder.is_dir():
        raise InvalidInput(
            f"There is no folder {location}.",
            "Give a folder, or the address of a git repository.",
            code="no_location",
        )
    if history and (folder / ".git").exists():
        changed = _git(("status", "--porcelain"), folder).splitlines()
        if changed:
            files = "1 file isn't" if len(changed) == 1 else f"{len(changed)} files aren't"
            out.note(f"{files} committed in {folder}; what was committed is registered.")
        return _pushed(client, codeset, folder, force)
    return _archived(client, out, codeset, folder, message)


def _archived(
    client: Client, out: Output, codeset: Mapping[str, Any], folder: Path, message: str
) -> dict[str, Any]:
    files = chosen(folder)
    if not files:
        raise InvalidInput(f"{folder} has no file.", "Give the folder with the code.")
    with tempfile.TemporaryDirectory(prefix="volant-pack-") as scratch:
        archive = Path(scratch) / "code.tar.gz"
        pack_into(folder, files, archive)
        with progress(archive.stat().st_size, out) as advance:
            path = f"/codesets/{named(codeset['project'])}/{named(codeset['name'])}/archive"
            return client.send(path, archive, advance, message=message)


def _pushed(
    client: Client, codeset: Mapping[str, Any], folder: Path, force: bool
) -> dict[str, Any]:
    """Push what HEAD is there, with its history and the tags."""
    url = str(codeset["url"])
    branch = codeset["branch"] if codeset["head"] else _branch(folder) or codeset["branch"]
    try:
        _git(("rev-parse", "--verify", "--quiet", "HEAD"), folder)
    except VolantError:
        raise InvalidInput(
            f"The repository {folder} has no commit.",
            "Commit first, or give --no-history to register the files as they are.",
            code="no_commit",
        ) from None
    words = ("push", "--quiet", "--no-verify", *(("--force",) if force else ()))
    refs = (f"HEAD:refs/heads/{branch}", "refs/tags/*:refs/tags/*")
    try:
        _git((*words, url, *refs), folder, _login(url, client.token))
    except _GitFailed as error:
        if "rejected" in error.said or "fetch first" in error.said:
            raise Conflict(
                f"The codeset {codeset['project']}/{codeset['name']} has versions that aren't"
                f" in {folder}.",
                "Pull them first, or give --force to go on from what is here.",
                code="codeset.diverged",
                details={"git": error.said},
            ) from error
        raise
    return client.get(f"/codesets/{named(codeset['project'])}/{named(codeset['name'])}")


def _branch(folder: Path) -> str:
    """The branch that is checked out there; empty when none is."""
    try:
        return _git(("symbolic-ref", "--quiet", "--short", "HEAD"), folder).strip()
    except VolantError:
        return ""


def _login(url: str, token: str) -> dict[str, str]:
    """What gives the token to this server and to no other, and to no other program."""
    basic = base64.b64encode(f"volant:{token}".encode()).decode()
    config = {f"http.{url}.extraHeader": f"Authorization: Basic {basic}"}
    if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
        config[f"http.{url}.proxy"] = ""  # a proxy can't reach this machine's loopback
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    env = {"GIT_CONFIG_COUNT": str(first + len(config)), "GIT_TERMINAL_PROMPT": "0"}
    for place, (key, value) in enumerate(config.items(), first):
        env |= {f"GIT_CONFIG_KEY_{place}": key, f"GIT_CONFIG_VALUE_{place}": value}
    return env


class _GitFailed(VolantError):
    """The user's git ended badly; `said` is what it printed."""

    def __init__(self, verb: str, said: str) -> None:
        lines = "; ".join(line for line in said.splitlines() if line.strip())
        super().__init__(
            f"git {verb} failed: {lines or 'it said nothing'}.".replace("..", "."),
            "Do what git says, then register it again.",
            code="git_failed",
        )
        self.said = said


def _git(words: tuple[str, ...], folder: Path | None, more: Mapping[str, str] | None = None) -> str:
    program = shutil.which("git")
    if program is None:
        raise Unavailable(
            "The program git isn't on this machine's PATH.",
            "Install it, or give --no-history to register a folder's files as they are.",
            code="git_missing",
        )
    done = subprocess.run(
        [program, *words],
        cwd=folder,
        env={**os.environ, **(more or {})},
        stdin=subprocess.DEVNULL if more else None,  # a clone may ask for a password
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise _GitFailed(words[0], done.stderr)
    return done.stdout
