"""MLflow's project file: its entry points, their parameters and commands.

The form is that of MLflow's documentation, "MLflow Projects".
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from volant.bounded_yaml import read_yaml
from volant.errors import InvalidInput
from volant.yamltext.problems import nearest

_FILE = "mlproject"  # whatever its case
_ARGUMENT = re.compile(r"([\w.-]+)=(.*)", re.DOTALL)
_RUNNERS = {".py": "python", ".sh": "bash"}
_KINDS = frozenset({"string", "float", "int", "path", "uri"})


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    type: str = "string"
    default: str | None = None


@dataclass(frozen=True, slots=True)
class EntryPoint:
    name: str
    command: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])


@dataclass(frozen=True, slots=True)
class Project:
    """`environment` is the file that the project names for it, relative to its folder."""

    name: str
    entry_points: Mapping[str, EntryPoint]
    environment: str | None = None


def project_file(folder: Path) -> Path | None:
    """`MLproject` in any case, a plain file inside the folder; None when there is none."""
    for path in sorted(folder.iterdir()):
        if path.name.lower() == _FILE and path.is_file() and not path.is_symlink():
            return path
    return None


def read_project(folder: Path) -> Project:
    """Raises `InvalidInput` when there is none, or one that can't be read."""
    path = project_file(folder)
    if path is None:
        raise InvalidInput(
            "The codeset has no MLproject file.",
            "Put one at its root that names an entry point `main` with its command.",
            code="mlproject.missing",
        )
    try:
        body = read_yaml(path)
        return _project(body if body is not None else {})
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path.name} can't be read: {str(error)[:300]}.",
            "Write it as MLflow's documentation of projects says.",
            code="mlproject.broken",
        ) from None


def _project(body: Any) -> Project:
    if not isinstance(body, dict):
        raise TypeError("it isn't a mapping")
    told = cast("dict[str, Any]", body)
    named = told.get("conda_env") or told.get("python_env")
    if told.get("docker_env"):
        raise ValueError(
            "it has a docker_env: give the workflow's step that image itself, with `image:`"
        )
    points = told.get("entry_points") or {}
    if not isinstance(points, dict):
        raise TypeError("entry_points isn't a mapping")
    entry_points = {
        str(name): _entry_point(str(name), point)
        for name, point in cast("dict[Any, Any]", points).items()
    }
    return Project(str(told.get("name") or ""), entry_points, str(named) if named else None)


def _entry_point(name: str, point: Any) -> EntryPoint:
    command = point.get("command")
    if not isinstance(command, str) or not command.strip():
        raise ValueError(f"the entry point {name} has no command")
    parameters = point.get("parameters") or {}
    found = {str(key): _parameter(str(key), told) for key, told in parameters.items()}
    return EntryPoint(name, command, found)


def _parameter(name: str, told: Any) -> Parameter:
    if not isinstance(told, dict):  # the short form: only its type
        return Parameter(name, str(told or "string"))
    given = cast("dict[str, Any]", told)
    default = given.get("default")
    return Parameter(
        name, str(given.get("type") or "string"), None if default is None else _text(default)
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def arguments_of(text: str) -> dict[str, str]:
    """`name=value` pairs, divided by spaces or commas. Raises `InvalidInput`."""
    found: dict[str, str] = {}
    try:
        # A comma divides only where another name= begins: a value may hold commas.
        words = [part for word in shlex.split(text) for part in re.split(r",(?=[\w.-]+=)|,$", word)]
    except ValueError as error:
        raise InvalidInput(
            f"mlflow_entrypoint_args can't be read: {error}.",
            "Write name=value pairs, divided by spaces or commas.",
            code="mlproject.arguments",
        ) from None
    for word in [word for word in words if word]:
        match = _ARGUMENT.fullmatch(word)
        if match is None:
            raise InvalidInput(
                f"mlflow_entrypoint_args holds {word[:120]!r}, which isn't name=value.",
                "Write name=value pairs, divided by spaces or commas.",
                code="mlproject.arguments",
            )
        found[match[1]] = match[2]
    return found


def entry_point(project: Project, name: str, folder: Path) -> EntryPoint:
    """The one of that name; a Python or shell file of the codeset is one, too. Raises
    `InvalidInput`."""
    if name in project.entry_points:
        return project.entry_points[name]
    runner = _RUNNERS.get(Path(name).suffix)
    inside = (folder / name).resolve().is_relative_to(folder.resolve())
    if runner and inside and (folder / name).is_file():
        return EntryPoint(name, f"{runner} {shlex.quote(name)}")
    known = sorted(project.entry_points)
    guess = nearest(name, known)
    there = f"There are: {', '.join(known) or 'none'}."
    raise InvalidInput(
        f"MLproject has no entry point {name[:80]!r}.",
        f"Did you mean {guess}?" if guess else there,
        code="mlproject.entry_point",
    )


def parameters_of(
    point: EntryPoint, given: Mapping[str, str], environment: Mapping[str, str], folder: Path
) -> dict[str, str]:
    """Each parameter's value: given, else the environment's FUSEML_NAME, else its default.

    Raises `InvalidInput` for one that is missing, isn't known, or isn't of its type.
    """
    for name in given:
        if point.parameters and name not in point.parameters:
            guess = nearest(name, list(point.parameters))
            raise InvalidInput(
                f"The entry point {point.name} has no parameter {name!r}.",
                f"Did you mean {guess}?" if guess else f"There are: {', '.join(point.parameters)}.",
                code="mlproject.parameter",
            )
    values = dict(given)
    for name, parameter in point.parameters.items():
        value = given.get(name)
        if value is None:
            value = environment.get(f"FUSEML_{name.upper()}")
        if value is None:
            value = parameter.default
        if value is None:
            raise InvalidInput(
                f"The entry point {point.name} needs the parameter {name}, and nothing gives it.",
                f"Give the step an input {name}, or the parameter a default.",
                code="mlproject.parameter",
            )
        values[name] = _checked(parameter, value, folder)
    return values


def _checked(parameter: Parameter, value: str, folder: Path) -> str:
    kind = parameter.type if parameter.type in _KINDS else "string"
    if kind in ("float", "int"):
        try:
            float(value) if kind == "float" else int(value)
        except ValueError:
            raise InvalidInput(
                f"The parameter {parameter.name} is {value[:80]!r}, which is no {kind}.",
                "Correct the step's input, or the type in MLproject.",
                code="mlproject.parameter",
            ) from None
    if kind == "path" and "://" not in value:
        return str((folder / value).resolve())
    return value


def command_of(point: EntryPoint, values: Mapping[str, str]) -> str:
    """The shell command: `{name}` is a parameter's value, quoted; those that the command
    doesn't name come behind it as `--name value`. Raises `InvalidInput`."""
    used: set[str] = set()
    try:
        parts = list(string.Formatter().parse(point.command))
    except ValueError as error:
        raise InvalidInput(
            f"The command of the entry point {point.name} can't be read: {error}.",
            "Write {name} for a parameter, {{ and }} for braces.",
            code="mlproject.command",
        ) from None
    text = ""
    for literal, name, _, _ in parts:
        text += literal
        if name is None:
            continue
        if name not in values:
            raise InvalidInput(
                f"The command of the entry point {point.name} names {{{name}}}, which is no"
                " parameter of it.",
                "Declare it under `parameters`.",
                code="mlproject.command",
            )
        used.add(name)
        text += shlex.quote(values[name])
    extra = [
        f" --{name} {shlex.quote(values[name])}"
        for name in values
        if name not in used and name not in point.parameters
    ]
    return text + "".join(extra)
