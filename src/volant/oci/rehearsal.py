"""A model loaded from an image's own files, where this machine can stand for the image."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import volant
from volant.errors import InvalidInput
from volant.oci.artifact import Bundle
from volant.oci.dependencies import Target

_PATIENCE_S = 300
# Isolated, and without site-packages: only the image's libraries and Volant are found.
_START = """\
import runpy, sys
sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]
runpy.run_module("volant.serving.standalone", run_name="__main__")
"""


def stands_for(target: Target) -> bool:
    """Whether this machine has the image's kind of processor and its Python."""
    here = (sys.platform, platform.machine(), sys.version_info.minor)
    return here == ("linux", target.machine, target.python)


def rehearse(bundle: Bundle, libraries: Path, workdir: Path) -> None:
    """Load the model with what the image will have, and have it predict.

    Raises `InvalidInput` when it doesn't load.
    """
    code, record = workdir / "app", workdir / "record.json"
    code.mkdir(exist_ok=True)
    link = code / "volant"  # Volant may be installed among libraries that must not be found
    if not link.is_symlink():
        link.symlink_to(Path(volant.__file__).parent)
    record.write_bytes(bundle.record)
    command = [sys.executable, "-B", "-I", "-S", "-c", _START, str(code), str(libraries)]
    command += [str(bundle.folder), "--record", str(record), "--check"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _failed([f"it took longer than {_PATIENCE_S} s"]) from None
    if done.returncode != 0:
        raise _failed(done.stderr.strip().splitlines()[-5:])


def _failed(tail: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"The model can't be loaded with what the image would have: {_reason(tail)}",
        "Put what it imports into a requirements.txt beside it, and register it again.",
        code="oci.rehearsal",
        details={"log": list(tail)},
    )


def _reason(tail: Sequence[str]) -> str:
    last = tail[-1] if tail else "no reason given"
    try:
        return str(json.loads(last)["error"])
    except (ValueError, KeyError, TypeError):
        return last[:300]
