"""What a model wants installed, and whether this interpreter has it."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from volant.bounded_yaml import read_yaml
from volant.errors import InvalidInput

# What a replica imports beside the model's own libraries.
REPLICA = ("numpy", "orjson", "httptools", "uvloop", "h2", "protobuf")
# What a runtime imports, where the model's own list doesn't name it.
RUNTIME: dict[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime",),
    "onnx-text": ("onnxruntime", "tokenizers"),
    "native": ("scikit-learn",),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
    "mlflow": ("mlflow", "pandas"),
    "torch": ("torch",),
    "transformers": ("transformers", "torch"),
    "tensorflow": ("tensorflow",),
    "openvino": ("openvino",),
    "code": (),
}
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[A-Za-z0-9,._ -]*\])?"
    r"\s*(?P<spec>(?:(?:===|[<>=!~]=|<|>)\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)*)(?:;.*)?"
)
_PIN = re.compile(r"^===?\s*([0-9]+)")
_MLFLOW = frozenset({"mlflow", "mlflow-skinny", "mlflow-tracing", "cloudpickle"})
_MOST_LINES = 500


def requirements_of(folder: Path) -> tuple[str, ...] | None:
    """The lines of requirements.txt, else of python_env.yaml or conda.yaml; None when the
    model brings no such file.

    Raises `InvalidInput` for a line that isn't a plain requirement: options, URLs and
    paths would install what nobody sees in the list.
    """
    path = folder / "requirements.txt"
    if path.is_file():
        return normal(path.read_text(encoding="utf-8").splitlines(), path.name)
    for name, lines in (("python_env.yaml", _of_python_env), ("conda.yaml", _of_conda)):
        path = folder / name
        if path.is_file():
            try:
                body = read_yaml(path) or {}
                return normal(lines(body), name)
            except (OSError, AttributeError, TypeError, ValueError) as error:
                raise InvalidInput(
                    f"{name} can't be read: {error}.", "Mend it, then register the model again."
                ) from None
    return None


def _of_python_env(body: Any) -> list[str]:
    return [str(d) for d in _listed(body, "dependencies") if not str(d).startswith("-r ")]


def _of_conda(body: Any) -> list[str]:
    lines: list[str] = []
    for entry in _listed(body, "dependencies"):
        if isinstance(entry, dict):
            lines += [str(line) for line in _listed(entry, "pip")]
        elif re.split(r"[=<>! ]", str(entry))[0] not in ("python", "pip"):
            # conda writes one equals sign where pip writes two
            lines.append(re.sub(r"(?<![=<>!~])=(?!=)", "==", str(entry)))
    return lines


def _listed(body: Any, key: str) -> list[Any]:
    found = body.get(key)
    if found is not None and not isinstance(found, list):
        raise TypeError(f"{key} must be a list")
    return cast("list[Any]", found or [])


def normal(lines: Iterable[str], where: str) -> tuple[str, ...]:
    """Sorted, without comments and doubles, names in lower case."""
    found: set[str] = set()
    for raw in lines:
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidInput(
                f"{where} has the line {line[:120]!r}, which isn't a plain requirement.",
                "Write a name with its versions, such as numpy==2.2.1; no options, URLs or paths.",
                code="model.requirements",
            )
        name = canonical(match["name"])
        found.add(name + line[len(match["name"]) :].replace(" ", ""))
    if len(found) > _MOST_LINES:
        raise InvalidInput(f"{where} has over {_MOST_LINES} lines.", "Name only what it imports.")
    return tuple(sorted(found))


def canonical(name: str) -> str:
    """As the package index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(line: str) -> str:
    """The distribution's name of a normal line."""
    match = _LINE.fullmatch(line)
    return canonical(match["name"]) if match else line


def unmet(lines: Sequence[str], kind: str) -> list[str]:
    """Which of them this interpreter can't meet: not installed, or pinned to another major
    version. What only MLflow's own loader needs counts for that runtime alone."""
    missing: list[str] = []
    for line in lines:
        name = name_of(line)
        if name in _MLFLOW and kind != "mlflow":
            continue
        here = _installed(name)
        pin = _PIN.match((_LINE.fullmatch(line) or {"spec": ""})["spec"] or "")
        if here is None:
            missing.append(f"{line} (not installed)")
        elif pin is not None and here.partition(".")[0] != pin[1]:
            missing.append(f"{line} (here: {here})")
    return missing


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return (
            version("mlflow-skinny") if name == "mlflow" and _installed("mlflow-skinny") else None
        )


def without_mlflow(lines: Sequence[str]) -> tuple[str, ...]:
    """Less what only MLflow's own loader needs."""
    return tuple(line for line in lines if name_of(line) not in _MLFLOW)


def complete(lines: Sequence[str], kind: str) -> tuple[str, ...]:
    """With what the runtime and the replica need beside it."""
    names = {name_of(line) for line in lines}
    if "mlflow-skinny" in names:
        names.add("mlflow")
    wanted = [name for name in (*RUNTIME[kind], *REPLICA) if name not in names]
    return tuple(sorted((*lines, *wanted)))


def environment_key(lines: Sequence[str]) -> str:
    """The same requirements on the same interpreter have the same environment."""
    text = "\n".join((platform.python_version(), platform.machine(), *lines))
    return hashlib.sha256(text.encode()).hexdigest()[:24]
