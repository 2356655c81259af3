"""Environments of models and codesets that bring their own requirements: one folder a set
of them.

`<root>/<key>` holds a virtual environment with the requirements. A model's has also what a
replica imports, and a link to this Volant, so that its interpreter runs our replicas. It is
built beside its name under a lock and renamed when it is whole: what stands there under
its key can be used. `<root>/<key>.log` is the installer's output.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import volant
from volant.errors import InvalidInput, NotFound, ResourceExhausted, Unavailable

READY = "ready.json"
_TAIL = 15  # lines of the log that an error shows
# Where packages come from: what the server tells pip holds for uv, which has its own words.
_PLACES = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
}
_CHECK = "import numpy, orjson, httptools, uvloop, volant.serving.replica"


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an environment is for: in it a replica must run (`serves`), or its
    requirements are a lock, and nothing is added to them. The rest is how errors tell."""

    serves: bool
    owner: str
    again: str
    code: str


MODEL = Purpose(True, "model", "register the model again", "model.environment")
CODESET = Purpose(False, "codeset", "run the step again", "environment.install")


def python_of(root: Path, key: str) -> Path:
    """The interpreter of a built environment. Raises `NotFound`."""
    folder = root / key
    if not (folder / READY).is_file():
        raise NotFound(
            f"The model's own environment {key} isn't in {root}.",
            "Register the model again: that builds it.",
            code="model.environment_missing",
        )
    return folder / "bin" / "python"


def build(root: Path, key: str, requirements: Sequence[str], purpose: Purpose = MODEL) -> Path:
    """The environment's folder, built if it isn't there. Two who ask at once get the same:
    the second waits.

    Raises `InvalidInput` when the requirements can't be installed together (with the end
    of the installer's output), `ResourceExhausted` on a full disk, `Unavailable` when the
    folder can't be written.
    """
    folder = root / key
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{key}.lock"):
            if (folder / READY).is_file():
                if purpose.serves:
                    _link_volant(folder)
                return folder
            _sweep(root, key)
            draft = root / f".draft-{key}-{secrets.token_hex(4)}"
            try:
                with (root / f"{key}.log").open("w", encoding="utf-8") as log:
                    _install(draft, requirements, log, purpose)
                (draft / READY).write_text(json.dumps({"requirements": list(requirements)}))
                shutil.rmtree(folder, ignore_errors=True)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        if error.errno in (28, 122):  # no space left; quota exceeded
            raise ResourceExhausted(
                f"No space is left for the {purpose.owner}'s environment under {root}.",
                f"Free some space and {purpose.again}.",
                code="disk_full",
            ) from error
        raise Unavailable(
            f"The {purpose.owner}'s environment can't be built under {root}:"
            f" {error.strerror or error}.",
            "Check that the folder may be written.",
        ) from error
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Generator[None]:
    """Alone among all processes that ask for the same file."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _sweep(root: Path, key: str) -> None:
    """What a build that died left; we hold the lock, so nobody builds there now."""
    for draft in root.glob(f".draft-{key}-*"):
        shutil.rmtree(draft, ignore_errors=True)


def _install(draft: Path, requirements: Sequence[str], log: IO[str], purpose: Purpose) -> None:
    wanted = draft.with_name(f"{draft.name}.txt")
    wanted.write_text("\n".join([*requirements, ""]))
    python = str(draft / "bin" / "python")
    alone = () if purpose.serves else ("--no-deps",)
    installer = uv()
    commands = (
        [
            [installer, "venv", "--quiet", "--no-project", "--python", sys.executable, str(draft)],
            [
                *(installer, "pip", "install", "--python", python, "--compile-bytecode"),
                *(*alone, "-r", str(wanted)),
            ],
        ]
        if installer
        else [
            [sys.executable, "-m", "venv", str(draft)],
            [python, "-m", "pip", "install", *alone, "-r", str(wanted)],
        ]
    )
    if not requirements:
        commands.pop()
    try:
        for command in commands:
            _run(command, log, requirements, purpose)
        if purpose.serves:
            _link_volant(draft)
            _run([python, "-P", "-c", _CHECK], log, requirements, purpose)
    finally:
        wanted.unlink(missing_ok=True)


def uv() -> str | None:
    """uv beside this interpreter, or on the path; without it pip does the same, slower."""
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def places() -> dict[str, str]:
    """The server's indexes, in uv's words."""
    told = {uv: os.environ[pip] for pip, uv in _PLACES.items() if os.environ.get(pip)}
    # pip's lists are divided by spaces, uv's links by commas.
    return {k: ",".join(v.split()) if k == "UV_FIND_LINKS" else v for k, v in told.items()}


def _run(
    command: Sequence[str], log: IO[str], requirements: Sequence[str], purpose: Purpose = MODEL
) -> None:
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    begun = log.tell()
    code = subprocess.call(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**places(), **os.environ},
    )
    if code == 0:
        return
    with Path(log.name).open(encoding="utf-8", errors="replace") as said:
        said.seek(begun)
        tail = said.read().strip().splitlines()[-_TAIL:]
    if any("No space left" in line for line in tail):
        raise OSError(28, "No space left on device")
    raise InvalidInput(
        f"The {purpose.owner}'s environment can't be installed:"
        f" {tail[-1] if tail else f'exit code {code}'}",
        f"Correct its requirements, then {purpose.again}; `details` has the log's end.",
        code=purpose.code,
        details={"log": tail, "requirements": list(requirements)},
    )


def _link_volant(folder: Path) -> None:
    """Our package, and nothing else of where it is installed, importable in `folder`."""
    packages = next(iter(sorted((folder / "lib").glob("python*/site-packages"))))
    link, target = packages / "volant", Path(volant.__file__).parent
    if link.is_symlink() and link.readlink() == target:
        return
    fresh = packages / f".volant-{secrets.token_hex(4)}"
    fresh.symlink_to(target)
    fresh.replace(link)
