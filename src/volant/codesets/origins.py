"""Where a mirror is fetched from: an address that may be asked, and who we are there."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from volant.codesets.git import OUTSIDE, failed, stop
from volant.codesets.repository import Repository
from volant.durable import write_whole
from volant.errors import InvalidInput, ResourceExhausted, Unavailable

FETCH_S = 1800.0
_ASK_S = 60.0
_LOOK_S = 0.5
_SCHEMES = ("https", "http", "ssh", "git")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:[\w./~-]+")
_HEAD = re.compile(r"ref: refs/heads/(\S+)\tHEAD")
_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password or token."""

    user: str
    password: str

    def __repr__(self) -> str:  # a password has no business in a log
        return f"Login({self.user!r})"


def origin_of(url: str) -> tuple[str, Login | None]:
    """`url` without the user's name and password, and these. Raises `InvalidInput` for what
    isn't the address of a repository elsewhere."""
    if _SCP.fullmatch(url) and "::" not in url:
        return url, None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused(url) from None
    odd = any(ord(each) <= 32 or ord(each) == 127 for each in url)
    if parts.scheme not in _SCHEMES or not host or odd or host.startswith("-") or len(url) > 2000:
        raise _refused(url)
    if parts.scheme == "ssh":
        return url, None
    place = f"[{host}]" if ":" in host else host
    plain = urlunsplit((parts.scheme, f"{place}:{port}" if port else place, parts.path, "", ""))
    if not parts.password and not parts.username:
        return plain, None
    return plain, Login(unquote(parts.username or "git"), unquote(parts.password or ""))


def _refused(url: str) -> InvalidInput:
    shown = re.sub(r"//[^/@]*@", "//…@", url[:200])
    return InvalidInput(
        f"{shown!r} isn't the address of a git repository that can be mirrored.",
        "Give one like https://github.com/OWNER/NAME.git (https, http, ssh or git).",
        code="codeset.origin",
    )


class Logins:
    """Logins of mirrors, a file each that only we can read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _file(self, project: str, name: str) -> Path:
        return self._root / project / name

    def keep(self, project: str, name: str, login: Login) -> None:
        """Store it, in the form in which git asks for it."""
        if any(ord(each) < 32 for each in login.user + login.password):
            raise InvalidInput("The login has a character that can't be in one.", "Correct it.")
        file = self._file(project, name)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = f"username={login.user}\npassword={login.password}\n"
        write_whole(file, text, mode=0o600)

    def forget(self, project: str, name: str) -> None:
        self._file(project, name).unlink(missing_ok=True)

    def config(self, project: str, name: str, url: str) -> Mapping[str, str]:
        """What makes git use the login, at this origin's host and nowhere else."""
        file = self._file(project, name)
        if not file.is_file():
            return {}
        parts = urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        asked = f'!f() {{ test "$1" = get && cat {shlex.quote(str(file))}; }}; f'
        return {f"credential.{place}.helper": asked}


def fetch(
    repository: Repository,
    url: str,
    config: Mapping[str, str],
    *,
    max_bytes: int,
    stopped: Callable[[], bool],
) -> str | None:
    """All branches and tags of `url` into the repository, as they are there; returns the
    name of the branch that is the default there.

    Raises `GitFailed`, `Unavailable` when it takes too long or `stopped` says so,
    `ResourceExhausted` when the repository would be larger than `max_bytes`.
    """
    git = repository.git
    settings = {**config, "http.lowSpeedLimit": "100", "http.lowSpeedTime": "120"}
    env = git.environment(settings, protocols=OUTSIDE)
    told = git.run("ls-remote", "--symref", "--", url, "HEAD", env=env, timeout_s=_ASK_S)
    words = ("fetch", "--quiet", "--prune", "--no-write-fetch-head", "--", url, *_REFS)
    with tempfile.TemporaryFile() as said:
        process = git.start(words, repo=repository.path, env=env, stderr=said)
        with process:
            try:
                _await(process, repository, max_bytes, stopped)
            except BaseException:
                stop(process)
                raise
        if process.returncode != 0:
            said.seek(0)
            text = said.read(10_000).decode("utf-8", "replace")
            raise failed("fetch", process.returncode, text)
    found = _HEAD.search(told.decode("utf-8", "replace"))
    return found[1] if found else None


def _await(
    process: subprocess.Popen[bytes],
    repository: Repository,
    max_bytes: int,
    stopped: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + FETCH_S
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S)
            return
        if repository.size() > max_bytes:
            raise ResourceExhausted(
                f"The repository has more than {max_bytes:,} bytes, all that it may have.",
                "Mirror a smaller one, or raise VOLANT_CODESET_BYTES.",
                code="codeset.full",
            )
        if time.monotonic() > deadline or stopped():
            raise Unavailable(
                f"Fetching was given up after {FETCH_S + time.monotonic() - deadline:.0f} s.",
                "It is tried again by itself.",
                code="codeset.slow",
            )
