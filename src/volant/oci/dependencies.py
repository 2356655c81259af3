"""What a model's server needs to be installed in an image, at the versions that it was
proven with, as wheels for the image's Python and C library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from volant.errors import InvalidInput, ResourceExhausted
from volant.oci.base import PLATFORMS, Base

# What a replica imports; gRPC on its port wants hpack and protobuf.
_SERVER = ("httptools", "hpack", "numpy", "orjson", "protobuf", "uvloop")
_RUNTIME: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime",),
    "onnx-text": ("onnxruntime", "tokenizers"),
    "native": ("lightgbm", "scikit-learn"),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "mlflow": ("mlflow-skinny", "pandas"),
    "torch": ("torch",),
    "transformers": ("transformers", "torch"),
    "tensorflow": ("tensorflow",),
    "openvino": ("openvino",),
    "code": (),
}
_PICKLED = ("native", "mlflow")  # what may hold Python's own byte code
_GLIBCS = (17, 28, *range(31, 41))  # minor versions that uv has a platform for
_OLDEST_GLIBC = 28
_OLDEST_PYTHON = 11
_TAIL = 8  # lines of the installer's output that an error shows
_INSTALL_S = 1800
_DROPPED = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels are chosen for. `python` is the minor version of Python 3, `glibc` that
    of glibc 2, `program` the interpreter's path in the image."""

    machine: str
    python: int
    glibc: int
    program: str

    @property
    def uv_platform(self) -> str:
        known = max(minor for minor in _GLIBCS if minor <= self.glibc)
        return f"{self.machine}-manylinux_2_{known}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Requirements, and versions that hold wherever one is needed that they don't name."""

    lines: tuple[str, ...]
    constraints: tuple[str, ...]


def target_of(base: Base, kind: str, name: str) -> Target:
    """Check that what we install can run on the base image.

    Raises `InvalidInput` for one without Python 3.11 or later, without glibc 2.28 or later,
    or with another Python than pickles were made with.
    """
    found = base.findings
    machine = PLATFORMS.get(base.architecture)
    if machine is None:
        raise InvalidInput(
            f"{name} is for {base.architecture}.",
            f"Images are made for {' and '.join(PLATFORMS)}.",
            code="oci.platform",
        )
    if found.glibc is None or found.glibc < (2, _OLDEST_GLIBC):
        old = f"glibc 2.{found.glibc[1]}" if found.glibc else "no C library"
        raise InvalidInput(
            f"{name} has {'musl' if found.musl else old}; the libraries' wheels need glibc "
            f"2.{_OLDEST_GLIBC} or later.",
            "Give --base an image of Debian, Ubuntu or the like, such as python:3.11-slim.",
            code="oci.base",
        )
    program, minor = _python(base, name)
    here = sys.version_info.minor
    if kind in _PICKLED and minor != here:
        raise InvalidInput(
            f"{name} has Python 3.{minor}, and this model was pickled by Python 3.{here}.",
            f"Give --base an image with Python 3.{here}.",
            code="oci.base",
        )
    return Target(machine, minor, found.glibc[1], program)


def _python(base: Base, name: str) -> tuple[str, int]:
    """The interpreter that the image's own PATH finds first, of those new enough; the one
    of our own version before others."""
    told = (base.config.get("config") or {}).get("Env") or []
    path = next((one[5:] for one in told if str(one).startswith("PATH=")), "")
    order = [folder.strip("/") for folder in path.split(":")]

    def rank(item: tuple[str, int]) -> tuple[bool, int, int]:
        folder = item[0].rpartition("/")[0]
        place = order.index(folder) if folder in order else len(order)
        return item[1] != sys.version_info.minor, place, -item[1]

    usable = {p: minor for p, minor in base.findings.pythons.items() if minor >= _OLDEST_PYTHON}
    if not usable:
        has = ", ".join(f"3.{minor}" for minor in sorted(set(base.findings.pythons.values())))
        raise InvalidInput(
            f"{name} has {f'only Python {has}' if has else 'no Python'}.",
            f"Give --base an image with Python 3.{_OLDEST_PYTHON} or later, such as "
            "python:3.11-slim.",
            code="oci.base",
        )
    program, minor = min(usable.items(), key=rank)
    return f"/{program}", minor


def wanted_for(runtime: Mapping[str, Any], requirement_files: Iterable[Path]) -> Wanted:
    """What the version's server imports. `runtime` is the version's; the files are the
    `requirements.txt` that lie among the model's.

    A model with an environment of its own brings its list. Any other has been proven in
    Volant's environment, whose versions it gets.
    """
    kind = str(runtime.get("kind") or "onnx")
    proven = {_name(name): str(v) for name, v in (runtime.get("libraries") or {}).items()}
    environment = runtime.get("environment") or {}
    lines = {name: name for name in (*_SERVER, *_RUNTIME.get(kind, ()))}
    if environment.get("kind") == "own":
        lines |= {_name(line): line for line in environment.get("requirements") or ()}
        constraints: dict[str, str] = {}
    else:
        for path in requirement_files:
            lines |= {_name(line): _name(line) for line in _lines(path)}
        constraints = {
            _name(one.metadata["Name"]): one.version
            for one in distributions()
            if one.metadata["Name"] and _name(one.metadata["Name"]) != "volant"
        }
    constraints |= proven
    # A build's own label (2.6+cpu) isn't in the index.
    held = {name: version.partition("+")[0] for name, version in constraints.items()}
    return Wanted(
        tuple(sorted(lines.values())),
        tuple(f"{name}=={version}" for name, version in sorted(held.items())),
    )


def _name(line: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[\s=<>!~;]", line.strip())[0]).lower()


def _lines(path: Path) -> list[str]:
    stripped = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("-")]


def install(wanted: Wanted, target: Target, folder: Path, workdir: Path) -> None:
    """Fetch wheels and lay them into `folder`; nothing is compiled or run.

    Raises `InvalidInput` with the end of the installer's output when that can't be.
    """
    requirements, constraints = workdir / "requirements.txt", workdir / "constraints.txt"
    requirements.write_text("\n".join([*wanted.lines, ""]))
    constraints.write_text("\n".join([*wanted.constraints, ""]))
    command = _command(target, folder)
    command += ["--constraint", str(constraints), "--requirement", str(requirements)]
    try:
        done = subprocess.run(
            command,
            cwd=workdir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_S,
            check=False,
        )
        said, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired:
        said, code = f"it took longer than {_INSTALL_S} s", 1
    if code != 0:
        raise _failed(said, target)
    _cleaned(folder)


def _command(target: Target, folder: Path) -> list[str]:
    python = f"3.{target.python}"
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv:
        return [
            *(uv, "pip", "install", "--quiet", "--python", sys.executable),
            *("--target", str(folder), "--only-binary", ":all:", "--link-mode", "copy"),
            *("--python-version", python, "--python-platform", target.uv_platform),
        ]
    tags = [f"manylinux_2_{minor}_{target.machine}" for minor in range(17, target.glibc + 1)]
    return [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(folder), "--only-binary", ":all:", "--no-compile"),
        *("--implementation", "cp", "--python-version", python),
        *(
            word
            for tag in (*tags, f"manylinux2014_{target.machine}")
            for word in ("--platform", tag)
        ),
    ]


def _cleaned(folder: Path) -> None:
    """Without what tells of this machine, and commands whose first line names its Python."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)
    for info in folder.glob("*.dist-info"):
        for name in _DROPPED:
            (info / name).unlink(missing_ok=True)
    for cache in list(folder.rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)


def _failed(said: str, target: Target) -> InvalidInput | ResourceExhausted:
    tail = [line for line in said.strip().splitlines() if line.strip()][-_TAIL:]
    if "No space left" in said:
        return ResourceExhausted(
            "No space is left for what the image needs.", "Free some and try again."
        )
    return InvalidInput(
        f"What the model needs can't be had for Python 3.{target.python} and glibc "
        f"2.{target.glibc} on {target.machine}: {tail[-1].strip() if tail else 'no reason given'}",
        "Check the index that uv or pip uses, and the model's requirements; `details` has more.",
        code="oci.requirements",
        details={"log": list[str](tail)},
    )


def lock_of(folder: Path) -> Sequence[str]:
    """What was installed, `name==version` each."""
    found = (info.name.removesuffix(".dist-info") for info in folder.glob("*.dist-info"))
    return sorted("{}=={}".format(*name.rsplit("-", 1)) for name in found)
