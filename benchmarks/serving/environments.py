"""An environment a peer, made by uv from its pinned `peers/NAME.txt`, kept for the next run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("VOLANT_BENCH_CACHE") or ROOT / ".bench")


class NotInstalled(Exception):
    """The peer's packages can't be had; the text is the reason."""


def python_of(name: str, pins: Path | None = None, *, install: bool = True) -> Path:
    """The interpreter of `name`'s environment, which is made first where it must be."""
    pins = pins or PINS / f"{name}.txt"
    folder = CACHE / "env" / name
    python, stamp = folder / "bin" / "python", folder / "pins.sha256"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if not install:
        raise NotInstalled("its environment isn't made yet")
    print(f"  installing {name} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--compile-bytecode", "--python", str(python), "-r", str(pins))
    stamp.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        raise NotInstalled("uv isn't here")
    try:
        done = subprocess.run(
            [found, *arguments, "--quiet"],
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled("its installation took over 15 minutes") from None
    if done.returncode:
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        raise NotInstalled(last[:200])


def version(name: str) -> str:
    """The pinned version of the peer itself."""
    package = {"fastapi": "fastapi", "ray": "ray"}.get(name, name)
    for line in (PINS / f"{name}.txt").read_text().splitlines():
        found, _, pinned = line.partition("==")
        if found.partition("[")[0].lower() == package:
            return pinned.split()[0]
    return "?"
