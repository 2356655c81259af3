"""Models of scikit-learn in skops' form, made ones that this installation opens."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import yaml

from volant.adapters.local.environments import READY
from volant.app.jobs import job_of
from volant.app.step_rooms import Rooms, outputs_of
from volant.bounded_yaml import read_yaml
from volant.domain.run import StepRequest
from volant.training import thaw
from volant.workflows.images import ENVIRONMENT

_SKOPS, _PICKLE = ".skops", "model.pkl"
# What only skops' form, or MLflow's own way to ask the model, needs.
_DROPPED = re.compile(r"(?i)(?:skops|pandas|mlflow|mlflow-skinny|cloudpickle)(?:\W.*)?")

Tell = Callable[[str], None]


def thawed(rooms: Rooms, request: StepRequest, model: tuple[Path, str], tell: Tell) -> Path:
    """A copy of the model with a pickle in it, made by the environment that trained it;
    the folder itself where it isn't in skops' form, or that environment is gone. `model`
    is its folder and its environment.

    The copy is served by this installation if it has the model's libraries, and is then
    converted to ONNX where that is proven the same. pandas is one of these only for a model
    that has to be asked with a DataFrame.
    """
    source, env = model
    python = rooms.home.environments / env.removeprefix(ENVIRONMENT) / "bin" / "python"
    about = _about(source)
    flavor = about.get("flavors", {}).get("sklearn", {})
    name = str(flavor.get("pickled_model") or "")
    file = source / name
    here = env.startswith(ENVIRONMENT) and (python.parent.parent / READY).is_file()
    if not here or not name.endswith(_SKOPS) or Path(name).name != name or not file.is_file():
        return source
    copy, notes = request.workdir / "thawed", request.workdir / "thawed.json"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy, symlinks=True)
    words = [str(python), str(thaw.__file__), str(file), str(copy / _PICKLE), str(notes)]
    tell(f"{name} is written as a pickle, in the environment that made it")
    job = job_of(request, {}, command=f"exec {shlex.join(words)}", profile="command")
    outputs_of(request, rooms.compute.run(job))
    (copy / name).unlink()
    flavor |= {"pickled_model": _PICKLE, "serialization_format": "pickle"}
    about["flavors"].get("python_function", {})["model_path"] = _PICKLE
    (copy / "MLmodel").write_text(yaml.safe_dump(about))
    frame = bool(json.loads(notes.read_text())["frame"]) and find_spec("pandas") is None
    _trim(copy / "requirements.txt", ["pandas"] if frame else [])
    return copy


def _about(source: Path) -> dict[str, Any]:
    try:
        told = read_yaml(source / "MLmodel")
        flavors = cast("Mapping[str, Any]", told["flavors"])
        return {**told, "flavors": {k: dict(v) for k, v in flavors.items()}}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _trim(requirements: Path, wanted: list[str]) -> None:
    """Less what the pickle doesn't need, and with the line of what is `wanted` anyway."""
    if requirements.is_file() and not requirements.is_symlink():
        lines = requirements.read_text().splitlines()
        kept = [line for line in lines if not _DROPPED.fullmatch(line.strip())]
        asked = [_line_of(name, lines) for name in wanted]
        requirements.write_text("\n".join([*kept, *asked, ""]))


def _line_of(name: str, lines: list[str]) -> str:
    found = (line for line in lines if re.fullmatch(rf"(?i){name}(?:\W.*)?", line.strip()))
    return next(found, name)
