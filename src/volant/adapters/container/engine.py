"""The container engine's command line: podman's or docker's, whichever is here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volant.errors import InvalidInput, Unavailable, VolantError

ENGINES = ("podman", "docker")
_CALL_S = 60.0
_MINIMAL = ("catatonit", "tini", "docker-init")  # what podman may have as `--init`
_INIT_FOLDERS = ("/usr/libexec/podman", "/usr/lib/podman", "/usr/libexec", "/usr/bin")


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this engine can do on this machine.

    `user`: the options with which a container's files belong to who calls. `why_not`: why
    it can't bound memory or CPU time, if it can't.
    """

    podman: bool
    memory: bool = True
    cpu: bool = True
    init: bool = True
    user: tuple[str, ...] = ()
    why_not: str = ""


class Engine:
    """Calls one engine's program."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.name = Path(program).name
        self._lock = threading.Lock()
        self._abilities: Abilities | None = None

    def call(self, *words: str, timeout_s: float = _CALL_S) -> subprocess.CompletedProcess[str]:
        """One short call; its failure is in what it returns. Raises `Unavailable` when it
        doesn't come back."""
        try:
            return subprocess.run(
                [self.program, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(
                f"`{self.name} {words[0]}` didn't work: {error}.",
                f"See whether `{self.name} info` answers on this machine.",
                code="container.engine_failed",
            ) from error

    def state(self, container: str) -> Mapping[str, Any] | None:
        """The engine's words on a container's state; None when it has none of that name."""
        told = self.call("inspect", "--type", "container", "--format", "{{json .State}}", container)
        if told.returncode != 0:
            return None
        try:
            return json.loads(told.stdout)
        except ValueError:
            return None

    def has_image(self, image: str) -> bool:
        return self.call("image", "inspect", image).returncode == 0

    def remove(self, *containers: str) -> bool:
        """Kill and remove; one that isn't there is no failure."""
        if not containers:
            return True
        return self.call("rm", "--force", "--volumes", *containers).returncode == 0

    def abilities(self) -> Abilities:
        """Asked once. Raises `Unavailable` with the engine's words when it can't answer."""
        with self._lock:
            if self._abilities is None:
                self._abilities = self._ask()
            return self._abilities

    def _ask(self) -> Abilities:
        told = self.call("info", "--format", "{{json .}}")
        try:
            info = json.loads(told.stdout)
        except ValueError:
            info = {}
        if told.returncode != 0 or not info or info.get("ServerErrors"):
            words = engine_words(told.stderr.splitlines()) or "; ".join(
                info.get("ServerErrors") or ["no answer"]
            )
            raise Unavailable(
                f"{self.name} is installed but doesn't work: {words}",
                f"Mend it until `{self.name} info` answers; Docker's daemon has to run.",
                code="container.engine_failed",
            )
        return of_podman(info) if "host" in info else of_docker(info)


def find_engine(wanted: str | None, path: str | None = None) -> Engine:
    """The engine named `wanted` (a name or a path), else the first of `ENGINES` on PATH.

    Raises `InvalidInput` saying what to install.
    """
    for name in (wanted,) if wanted else ENGINES:
        program = shutil.which(name, path=path)
        if program is not None:
            return Engine(program)
    what = f"{wanted!r} isn't on PATH" if wanted else "neither podman nor docker is on PATH"
    raise InvalidInput(
        f"Steps with `image:` run in containers, but {what}.",
        "Install podman (Debian, Ubuntu: `apt install podman`; Fedora: `dnf install podman`)"
        " or Docker, on the machine of the server.",
        code="container.no_engine",
    )


def of_podman(info: Mapping[str, Any]) -> Abilities:
    """From `podman info`."""
    host = info["host"]
    rootless = bool(host.get("security", {}).get("rootless"))
    controllers: list[str] = host.get("cgroupControllers") or []
    version = str(host.get("cgroupVersion", "v2"))
    old = rootless and version == "v1"
    ids = f"{os.getuid()}:{os.getgid()}"
    user = ("--userns", "keep-id", "--user", ids) if rootless else ("--user", ids)
    return Abilities(
        podman=True,
        memory=not old and "memory" in controllers,
        cpu=not old and "cpu" in controllers,
        init=_has_init(),
        user=user,
        why_not=f"{'rootless ' if rootless else ''}podman with control groups {version}",
    )


def of_docker(info: Mapping[str, Any]) -> Abilities:
    """From `docker info`."""
    rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
    # Rootless Docker maps the container's root to who calls.
    ids = "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"
    return Abilities(
        podman=False,
        memory=bool(info.get("MemoryLimit", True)),
        cpu=bool(info.get("CpuCfsQuota", True)),
        user=("--user", ids),
        why_not=f"docker with control groups v{info.get('CgroupVersion', '?')}",
    )


def _has_init() -> bool:
    return any((Path(folder) / name).exists() for folder in _INIT_FOLDERS for name in _MINIMAL)


def engine_words(lines: Sequence[str]) -> str:
    """What the engine said of its failure: its lines that begin with `Error`, else its last."""
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if line.lower().startswith("error")]
    return " ".join(errors or said[-1:])


def no_image(engine: Engine, image: str, words: str) -> VolantError:
    """An image that can't be had is for the user to mend."""
    return InvalidInput(
        f"The image {image!r} can't be had: {words or 'the engine gave no reason'}",
        f"Check its name, with its registry, until `{engine.name} pull {image}` works on the"
        f" server's machine; a private registry wants `{engine.name} login` first, and an image"
        " of your own has to be built there.",
        code="container.no_image",
        details={"image": image, "engine": engine.name},
    )
