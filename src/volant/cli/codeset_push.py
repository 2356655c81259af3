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
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Source:
    """What a codeset is made of, looked at: `files` of a plain folder, None where `folder` is
    a repository that has a commit. `named` is what its user calls it."""

    named: str
    folder: Path
    files: Sequence[Path] | None = None


@contextmanager
def looked_at(out: Output, location: str, *, history: bool = True) -> Generator[Source]:
    """What is at `location`, an address's clone until the end of the block. It is looked at
    before anything is made of it, so that what is refused leaves nothing behind.

    Raises `InvalidInput` for a location that is none, or that has nothing to register;
    what git's failure was.
    """
    if is_address(location):
        shown = re.sub(r"//[^/@]*@", "//", location)
        with tempfile.TemporaryDirectory(prefix="volant-clone-") as folder:
            out.note(f"Cloning {shown} …")
            _git(("clone", "--quiet", "--bare", "--", location, folder), None)
            yield _with_commit(Source(shown, Path(folder)), "Push a commit there first.")
        return
    folder = Path(location)
    if not folder.is_dir():
        raise InvalidInput(
            f"There is no folder {location}.",
            "Give a folder, or the address of a git repository.",
            code="no_location",
        )
    if not (history and (folder / ".git").exists()):
        yield _plain(folder)
        return
    found = _with_commit(
        Source(location, folder),
        "Commit first, or give --no-history to register the files as they are.",
    )
    changed = _git(("status", "--porcelain"), folder).splitlines()
    if changed:
        files = "1 file isn't" if len(changed) == 1 else f"{len(changed)} files aren't"
        out.note(f"{files} committed in {folder}; what was committed is registered.")
    yield found


def _plain(folder: Path) -> Source:
    files = chosen(folder)
    if not files:
        raise InvalidInput(f"{folder} has no file.", "Give the folder with the code.")
    return Source(str(folder), folder, files)


def _with_commit(source: Source, fix: str) -> Source:
    try:
        _git(("rev-parse", "--verify", "--quiet", "HEAD"), source.folder)
    except _GitFailed as error:
        if error.said.strip():  # of a commit that isn't there it says nothing
            raise
        raise InvalidInput(
            f"The repository {source.named} has no commit.", fix, code="no_commit"
        ) from None
    return source


@contextmanager
def undone(client: Client, out: Output, codeset: Mapping[str, Any]) -> Generator[None]:
    """A codeset that was made just now goes again when what shall fill it fails. One that
    somebody has filled meanwhile, and one that is a mirror, stays."""
    try:
        yield
    except BaseException:
        path = _path(codeset)
        try:
            found = client.get(path)
            if found["head"] is None and found["origin"] is None:
                client.delete(path)
        except VolantError:  # told is what went wrong first
            out.note(
                f"The codeset {codeset['project']}/{codeset['name']} stays, without a version;"
                " it is filled when you register again."
            )
        raise


def send(
    client: Client,
    out: Output,
    codeset: Mapping[str, Any],
    source: Source,
    *,
    message: str = "",
    force: bool = False,
) -> dict[str, Any]:
    """Bring the source into the codeset; returns the codeset as it is then.

    Raises `Conflict` when the codeset has versions that the source doesn't.
    """
    if source.files is None:
        return _pushed(client, codeset, source, force)
    with tempfile.TemporaryDirectory(prefix="volant-pack-") as scratch:
        archive = Path(scratch) / "code.tar.gz"
        pack_into(source.folder, source.files, archive)
        with progress(archive.stat().st_size, out) as advance:
            return client.send(f"{_path(codeset)}/archive", archive, advance, message=message)


def _pushed(
    client: Client, codeset: Mapping[str, Any], source: Source, force: bool
) -> dict[str, Any]:
    """Push what HEAD is there, with its history and the tags."""
    url, folder = str(codeset["url"]), source.folder
    branch = codeset["branch"] if codeset["head"] else _branch(folder) or codeset["branch"]
    words = ("push", "--quiet", "--no-verify", *(("--force",) if force else ()))
    refs = (f"HEAD:refs/heads/{branch}", "refs/tags/*:refs/tags/*")
    try:
        _git((*words, url, *refs), folder, _login(url, client.token))
    except _GitFailed as error:
        if "rejected" in error.said or "fetch first" in error.said:
            raise Conflict(
                f"The codeset {codeset['project']}/{codeset['name']} has versions that aren't"
                f" in {source.named}.",
                "Pull them first, or give --force to go on from what is here.",
                code="codeset.diverged",
                details={"git": error.said},
            ) from error
        raise
    return client.get(_path(codeset))


def _path(codeset: Mapping[str, Any]) -> str:
    return f"/codesets/{named(codeset['project'])}/{named(codeset['name'])}"


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
