"""What a codeset wants installed: conda.yaml, requirements.txt or python_env.yaml, read as
text from outside. Nothing here reaches an index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from volant.bounded_yaml import read_yaml
from volant.errors import InvalidInput
from volant.training.mlproject import project_file, read_project

_FILES = ("conda.yaml", "conda.yml", "environment.yml", "requirements.txt", "python_env.yaml")
_MOST_LINES, _MOST_LINE, _MOST_DEPTH, _MOST_BYTES = 500, 400, 5, 1 << 20
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*"
    r"(?P<extras>\[[A-Za-z0-9,._ -]*\])?\s*"
    r"\(?(?P<spec>(?:(?:===|[<>=!~]=|<|>)\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)*)\)?"
    r"\s*(?P<marker>;[^\n]*)?"
)
_CONDA = re.compile(
    r"(?:[A-Za-z0-9_./-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)\s*(?P<spec>.*)", re.DOTALL
)
# Conda's name where the index has another.
_RENAMED = {
    "pytorch": "torch", "pytorch-cpu": "torch", "pytorch-gpu": "torch",
    "tensorflow-gpu": "tensorflow", "tensorflow-cpu": "tensorflow", "tensorflow-mkl": "tensorflow",
    "matplotlib-base": "matplotlib", "opencv": "opencv-python-headless",
    "py-opencv": "opencv-python-headless", "pytables": "tables", "py-xgboost": "xgboost",
    "py-xgboost-gpu": "xgboost", "msgpack-python": "msgpack", "python-graphviz": "graphviz",
    "dask-core": "dask", "seaborn-base": "seaborn", "lightning": "lightning",
}  # fmt: skip
# What conda has and no index of wheels does: compilers, drivers, libraries of the system.
_SYSTEM = re.compile(
    r"(?:cuda\S*|cudnn|cutensor|nccl|nomkl|mkl\S*|blas|openblas|lib\S+|_\S+|gcc\S*|gxx\S*|g\+\+\S*|"
    r"gfortran\S*|cxx-compiler|c-compiler|compilers|make|cmake|openssl|ca-certificates|zlib|xz|"
    r"sqlite|tk|readline|ncurses|ld_impl\S*|llvm-openmp|intel-openmp|openjdk|git|bzip2|git-lfs|"
    r"pytorch-cuda|pytorch-mutex|cpuonly|ffmpeg|graphviz|nodejs|tbb)"
)
_OWN = frozenset({"pip", "setuptools", "wheel"})
# What images to build upon have besides Python, by their own names.
_BROUGHT = {"tensorflow": "tensorflow", "pytorch": "torch"}
_IMAGE = re.compile(
    r"(?:.*/)?(?:intel-optimized-)?(?P<name>tensorflow|pytorch)(?::(?P<tag>[^@]*))?(?:@.*)?"
)
_RELEASE = re.compile(r"[0-9]+\.[0-9]+(?:\.[0-9]+)?(?=$|[-_+])")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`python` is a version specifier, None for any. `lines` are plain requirements;
    those of them in `conda` came from conda's own list. `changes` are what was given up
    already, each as a sentence's beginning: `was → is: why`."""

    source: str
    python: str | None
    lines: tuple[str, ...]
    conda: frozenset[str] = frozenset()
    changes: tuple[str, ...] = ()


def wanted_of(folder: Path, *, pip_first: bool = False) -> Wanted:
    """What the file that MLproject names wants, else the first of those there are.

    Raises `InvalidInput` for none, and for a line that would reach the file system, run
    code, or install from anywhere but the index.
    """
    name = _named(folder)
    if name is None:
        order = sorted(_FILES, key=lambda n: n != "requirements.txt") if pip_first else _FILES
        name = next((n for n in order if (folder / n).is_file()), None)
    if name is None:
        raise InvalidInput(
            "The codeset has neither conda.yaml, requirements.txt nor python_env.yaml.",
            "Add one of them beside MLproject; an empty requirements.txt needs nothing.",
            code="environment.missing",
        )
    reader = _Reader(folder)
    path = reader.inside(name)
    if path.suffix not in (".yaml", ".yml"):
        return Wanted(name, None, reader.requirements(name))
    try:
        body = read_yaml(path) or {}
        if not isinstance(body, dict):
            raise TypeError("it isn't a mapping")
        told = cast("dict[str, Any]", body)
        if isinstance(told.get("python"), str | int | float) or "build_dependencies" in told:
            return _of_python_env(name, told, reader)
        return _of_conda(name, told, reader)
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise _unreadable(name, error) from None


def with_base_image(wanted: Wanted, image: str) -> tuple[Wanted, str | None]:
    """With the library that an image to build upon would have brought, and what to tell of
    it: codesets for `intel/intel-optimized-tensorflow:2.5.0` don't name TensorFlow."""
    match = _IMAGE.fullmatch(image.strip().lower())
    if match is None:
        return wanted, None
    library = _BROUGHT[match["name"]]
    if library in {_called(line) for line in wanted.lines}:
        return wanted, None
    release = _RELEASE.match(match["tag"] or "")
    line = f"{library}=={release[0]}" if release else library
    return replace(wanted, lines=(*wanted.lines, line)), f"{line} is added: {image} has it"


def with_companions(wanted: Wanted) -> Wanted:
    """With TensorBoard beside TensorFlow and MLflow: MLflow's autologging of Keras writes
    through it, and TensorFlow brings it along no more since 2.21."""
    names = {_called(line) for line in wanted.lines}
    if not {"tensorflow", "mlflow"} <= names or "tensorboard" in names:
        return wanted
    told = "tensorflow → tensorflow, tensorboard: MLflow's autologging needs both"
    lines = (*wanted.lines, "tensorboard")
    return replace(wanted, lines=lines, changes=(*wanted.changes, told))


def _called(line: str) -> str:
    match = _REQUIREMENT.fullmatch(line)
    return re.sub(r"[-_.]+", "-", match["name"]).lower() if match else line


def _named(folder: Path) -> str | None:
    return read_project(folder).environment if project_file(folder) is not None else None


def _listed(body: dict[str, Any], key: str) -> list[Any]:
    """The list under `key`, empty when nothing stands there. Raises `TypeError`."""
    found = body.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise TypeError(f"{key} is no list but {_shown(found)}")
    return cast("list[Any]", found)


def _shown(value: Any) -> str:
    return "a mapping" if isinstance(value, dict) else repr(value)[:80]


def _of_python_env(name: str, body: dict[str, Any], reader: _Reader) -> Wanted:
    lines = [str(line) for line in _listed(body, "dependencies")]
    python = str(body["python"]) if body.get("python") is not None else None
    return Wanted(name, _python(python), reader.all(lines, name))


def _of_conda(name: str, body: dict[str, Any], reader: _Reader) -> Wanted:
    python: str | None = None
    lines: list[str] = []
    conda: set[str] = set()
    changes: list[str] = []
    for entry in _listed(body, "dependencies"):
        if isinstance(entry, dict):
            pip = _listed(cast("dict[str, Any]", entry), "pip")
            lines += reader.all([str(line) for line in pip], name)
            continue
        match = _CONDA.fullmatch(str(entry).strip())
        if match is None:
            raise _refused(name, str(entry))
        called, spec = match["name"].lower(), _spec(match["spec"])
        if called == "python":
            python = spec
        elif _SYSTEM.fullmatch(called):
            changes.append(f"{entry} → nothing: conda alone has it, and no index of wheels")
        elif called not in _OWN:
            plain = _RENAMED.get(called, called)
            if plain != called:
                changes.append(f"{called} → {plain}: its name outside conda")
            line = plain + spec
            if _REQUIREMENT.fullmatch(line) is None:
                raise _refused(name, str(entry))
            lines.append(line)
            conda.add(line)
    return Wanted(name, _python(python), _bounded(lines, name), frozenset(conda), tuple(changes))


def _spec(text: str) -> str:
    """Conda's `=1.2=build`, `1.2`, `>=1,<2` as the index writes them; `=1.2` is any 1.2."""
    parts: list[str] = []
    for raw in text.replace(" ", "").split(","):
        one = re.sub(r"^(=?=?[0-9][^=<>!~]*)=.*$", r"\1", raw)
        if not one or one == "*":
            continue
        if re.match(r"=(?!=)|[0-9]", one):
            version = one.lstrip("=")
            one = f"=={version}" if version.endswith("*") else f"=={version}.*"
        parts.append(one)
    return ",".join(parts)


def _python(spec: str | None) -> str | None:
    if not spec:
        return None
    return _spec(spec) or None


class _Reader:
    """Reads requirement files of one folder, and those that they include."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def inside(self, name: str) -> Path:
        """The file, if it lies in the folder. Raises `InvalidInput`."""
        path = self._folder / name
        if not path.resolve().is_relative_to(self._folder):
            raise InvalidInput(
                f"{name[:120]!r} leads out of the codeset.",
                "Name a file of the codeset.",
                code="environment.path",
            )
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise InvalidInput(
                f"The codeset has no file {name[:120]!r} that could be read.",
                "Correct its name in MLproject or in the file that includes it.",
                code="environment.missing",
            )
        return path

    def requirements(self, name: str, depth: int = 0) -> tuple[str, ...]:
        """The lines of a requirements file."""
        if depth > _MOST_DEPTH:
            raise InvalidInput(
                f"{name} is included by itself.", "Remove the -r line.", code="environment.file"
            )
        try:
            text = self.inside(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(name, error) from None
        return self.all(re.sub(r"\\\r?\n", " ", text).splitlines(), name, depth)

    def all(self, lines: Iterable[str], where: str, depth: int = 0) -> tuple[str, ...]:
        """Plain requirements; `-r FILE` is the lines of that file."""
        found: list[str] = []
        for raw in lines:
            line = re.sub(r"(^|\s)#.*$", "", raw).strip()
            line = re.sub(r"\s--hash[= ]\S+", "", line).strip()  # the lock has its own
            if not line:
                continue
            included = re.fullmatch(r"(?:-r|--requirement)[ =]?\s*(\S+)", line)
            if included is not None:
                beside = (Path(where).parent / included[1]).as_posix()
                found += self.requirements(beside, depth + 1)
            elif _REQUIREMENT.fullmatch(line) is None or len(line) > _MOST_LINE:
                raise _refused(where, line)
            else:
                found.append(line)
        return _bounded(found, where)


def _bounded(lines: Sequence[str], where: str) -> tuple[str, ...]:
    if len(lines) > _MOST_LINES:
        raise InvalidInput(
            f"{where} has over {_MOST_LINES} lines.",
            "Name only what the code imports.",
            code="environment.file",
        )
    return tuple(dict.fromkeys(lines))


def _refused(where: str, line: str) -> InvalidInput:
    return InvalidInput(
        f"{where} has the line {line[:120]!r}, which isn't a plain requirement.",
        "Write a name with its versions, such as numpy==2.2.1. Options, URLs and paths would"
        " install what no index vouches for; which index is asked, the server's PIP_INDEX_URL"
        " and PIP_EXTRA_INDEX_URL say.",
        code="environment.line",
    )


def _unreadable(name: str, error: Exception) -> InvalidInput:
    return InvalidInput(
        f"{name} can't be read: {str(error)[:300]}.",
        "Write it in UTF-8 as pip or conda do: one requirement a line, or a list of them under"
        " dependencies.",
        code="environment.file",
    )
