"""The git program, called so that nothing of this machine's users gets into it.

Its environment is made from nothing: no configuration of the system or of a user, no
hooks, no prompts, no helpers. What it may speak to is on a list.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from volant.errors import ResourceExhausted, Unavailable, VolantError

TIMEOUT_S = 60.0
# Of the environment, what the network may need; git alone decides nothing by it.
_NETWORK = (
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK"),
)
# Mistakes that old programs wrote into good repositories; all others are refused.
_BENIGN = ("zeroPaddedFilemode", "missingSpaceBeforeDate", "badTimezone")
CONFIG: Mapping[str, str] = {
    "safe.directory": "*",  # the home may belong to another user than ours
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.autocrlf": "false",
    "core.fsync": "loose-object,pack,pack-metadata,reference",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "transfer.fsckObjects": "true",
    "transfer.hideRefs": "refs/volant",
    "receive.denyDeletes": "false",
    "receive.denyDeleteCurrent": "refuse",
    "receive.unpackLimit": "100",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowReachableSHA1InWant": "true",
    "protocol.version": "2",
    **{f"{side}.fsck.{name}": "ignore" for side in ("receive", "fetch") for name in _BENIGN},
}
NO_PROTOCOL = ""
_ELSEWHERE = ("ls-remote", "fetch")  # what they say is of another machine's repository
OUTSIDE = "https:http:ssh:git"  # never file: or ext:, which would read or run here


class GitFailed(VolantError):
    """A git program ended badly; `stderr` is what it said."""

    def __init__(self, verb: str, code: int, stderr: str) -> None:
        told = "; ".join(line for line in stderr.splitlines() if line.strip())[-2000:]
        fix = "Look at what git says; `git fsck` in the repository tells whether it is sound."
        if verb in _ELSEWHERE:
            fix = (
                "Look at what git says: whether the address and the login are right, whether this"
                " machine reaches that host, and whether the repository there is sound."
            )
        super().__init__(
            f"git {verb} failed: {told or f'exit code {code}'}.".replace("..", "."),
            fix,
            code="codeset.git_failed",
            details={"exit_code": code},
        )
        self.exit_code = code
        self.stderr = stderr


class Git:
    """Runs git. `home` is a folder without any user's files."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def environment(
        self,
        config: Mapping[str, str] | None = None,
        *,
        protocols: str = NO_PROTOCOL,
        more: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """All that a git program gets to see of the world."""
        settings = {**CONFIG, **(config or {})}
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_OPTIONAL_LOCKS": "0",
        }
        for place, (key, value) in enumerate(settings.items()):
            env[f"GIT_CONFIG_KEY_{place}"] = key
            env[f"GIT_CONFIG_VALUE_{place}"] = value
        if protocols:
            env |= {name: os.environ[name] for name in _NETWORK if name in os.environ}
        return {**env, **(more or {})}

    def run(
        self,
        *words: str,
        repo: Path | None = None,
        data: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """What `git WORDS` printed. Raises `GitFailed`, or `Unavailable` without git or
        when it takes too long."""
        verb = next((word for word in words if not word.startswith("-")), "")
        process = self.start(
            words,
            repo=repo,
            env=env,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            try:
                out, err = process.communicate(data, timeout=timeout_s)
            except BaseException as error:
                stop(process)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise Unavailable(
                        f"git {verb} took longer than {timeout_s:.0f} s.",
                        "Try again; for a large repository the first time takes longest.",
                        code="codeset.git_timeout",
                    ) from None
                raise
        if process.returncode != 0:
            raise failed(verb, process.returncode, err.decode("utf-8", "replace"))
        return out

    def start(
        self,
        words: Sequence[str],
        *,
        repo: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """A git program, in a process group of its own."""
        at = [] if repo is None else [f"--git-dir={repo}"]
        try:
            return subprocess.Popen(
                [executable(), *at, *words],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(env) if env is not None else self.environment(),
                cwd=self._home,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(
                f"git can't be started: {error.strerror}.", "Try again when there is more memory."
            ) from error


def executable() -> str:
    """Where git is. Raises `Unavailable` when this machine has none."""
    found = shutil.which("git")
    if found is None:
        raise Unavailable(
            "The program git isn't on this machine's PATH; codesets are git repositories.",
            "Install it (Debian, Ubuntu: apt-get install git), then try again.",
            code="git_missing",
        )
    return found


def failed(verb: str, code: int, stderr: str) -> VolantError:
    """The error for a git program's bad end; a full disk has one of its own."""
    if "No space left on device" in stderr or "Disk quota exceeded" in stderr:
        return ResourceExhausted(
            f"git {verb}: the disk is full.", "Free some space, then try again.", code="disk_full"
        )
    return GitFailed(verb, code, stderr)


def stop(process: subprocess.Popen[Any]) -> None:
    """End a git program and those that it started, unless it has ended."""
    if process.poll() is not None:  # its number may be another's by now
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
