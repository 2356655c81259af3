"""Where a step of a registered workflow works, what its environment is, and what it leaves.

The contract is FuseML's: the codesets' files, the inputs and the extensions' settings as
environment, the outputs as files that a folder of results gets.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, cast

from volant.adapters.local.environment import input_text
from volant.domain.masking import masked, masked_value
from volant.domain.run import INPUT_FILES, StepRequest
from volant.errors import InvalidInput, StepFailed
from volant.faults import crash_point

NAMESPACE = "volant"
_CODE, _RESULTS = "code", "results"
_LONGEST = 1 << 20  # bytes of one output
_OWN = "secret://volant/"  # secrets that are made for the step
_URI = "MLFLOW_TRACKING_URI"
_at_work: dict[Path, object] = {}  # folders of input files, and whose each is now
_taking = threading.Lock()

Reveal = Callable[[str], str]


class Checkout(Protocol):
    def __call__(self, project: str, name: str, version: str, folder: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class CodesetInput:
    """A codeset of the step, and the folder with its files."""

    input: str
    project: str
    name: str
    version: str
    url: str
    path: str
    folder: Path


@dataclass(frozen=True, slots=True)
class OwnAccess:
    """How the step reaches this very server, with a token of its own."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Place:
    """`inputs` are those that aren't codesets, secrets revealed; `env` is all that the step
    finds beyond what every job does; `cwd` is the first codeset's folder; `mask` is what
    its log and its outputs don't keep."""

    cwd: Path
    results: Path
    inputs: Mapping[str, Any]
    env: Mapping[str, str]
    codesets: tuple[CodesetInput, ...]
    own: OwnAccess | None = None
    mask: tuple[str, ...] = ()

    @property
    def mounts(self) -> dict[str, Path]:
        """The codesets' folders by their paths in a container."""
        return {each.path: each.folder for each in self.codesets}

    def text(self, *names: str, default: str = "") -> str:
        """The first input of these that is given and not empty, as text."""
        found = (input_text(self.inputs[name]).strip() for name in names if name in self.inputs)
        return next((text for text in found if text), default)

    def flag(self, name: str) -> bool:
        return self.text(name).lower() in ("true", "yes", "1", "on")


def lay_out(
    request: StepRequest, checkout: Checkout, reveal: Reveal, own: OwnAccess | None = None
) -> Place:
    """A fresh copy of the step's codesets and an empty folder of results; what an earlier
    attempt left there is gone."""
    results = _emptied(request.workdir / _RESULTS)
    codesets = checked_out(request, checkout)
    crash_point("step.checked_out")
    inputs = {
        name: revealed(value, reveal)
        for name, value in request.inputs.items()
        if not is_codeset(value)
    }
    return Place(
        cwd=codesets[0].folder if codesets else request.workdir / _CODE,
        results=results,
        inputs=inputs,
        env=_environment(request, inputs, results, reveal, own),
        codesets=codesets,
        own=own,
    )


def checked_out(request: StepRequest, checkout: Checkout) -> tuple[CodesetInput, ...]:
    """A fresh copy of each codeset that the step has as input, in their order."""
    code = _emptied(request.workdir / _CODE)
    codesets = tuple(
        _codeset(code, name, value) for name, value in request.inputs.items() if is_codeset(value)
    )
    for each in codesets:
        checkout(each.project, each.name, each.version, each.folder)
    return codesets


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def input_files(request: StepRequest) -> Generator[None]:
    """Until the step's work ends, files of its inputs may lie in their folder, which who
    writes there makes. An attempt that was given up may end late: it leaves the folder to
    the one that began after it."""
    folder, mine = request.workdir / INPUT_FILES, object()
    with _taking:
        _at_work[folder] = mine
        shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        with _taking:
            if _at_work.get(folder, mine) is mine:
                _at_work.pop(folder, None)
                shutil.rmtree(folder, ignore_errors=True)


def forget_inputs(run: Path) -> None:
    """Remove the files of inputs that a run left in its folder: of a step that was at work
    when the server was killed, and that nobody did again."""
    for folder in (*run.glob(f"*/{INPUT_FILES}"), *run.glob(f"*/*/{INPUT_FILES}")):
        step = folder.parent
        # An element is `step/index`; what else lies in a step's folder is its own.
        if step.parent == run or step.name.isdecimal():
            shutil.rmtree(folder, ignore_errors=True)


def asks_for_own(request: StepRequest) -> bool:
    """Whether the step shall reach this server: a built-in service is bound to it."""
    bound = [text for each in request.step.extensions.values() for text in each.cfg.values()]
    return any(_OWN in text for text in (*bound, *request.step.env.values()))


def is_codeset(value: Any) -> bool:
    """Whether an input's value is a codeset with the path that it is wanted at."""
    return isinstance(value, Mapping) and {"project", "name", "version", "path"} <= set(
        cast("Mapping[str, Any]", value)
    )


def _codeset(code: Path, name: str, value: Mapping[str, Any]) -> CodesetInput:
    path = PurePosixPath("/") / str(value["path"] or value["name"])
    if ".." in path.parts or path == PurePosixPath("/") or "\0" in str(path):
        raise InvalidInput(
            f"The codeset {name!r} can't be laid out at {str(value['path'])[:200]!r}.",
            "Give its path as in /project.",
            code="step.codeset_path",
        )
    return CodesetInput(
        name,
        str(value["project"]),
        str(value["name"]),
        str(value["version"]),
        str(value.get("url") or ""),
        str(path),
        code / path.relative_to("/"),
    )


def revealed(value: Any, reveal: Reveal) -> Any:
    """The value with every text of it revealed."""
    if isinstance(value, str):
        return reveal(value)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        return {key: revealed(one, reveal) for key, one in given.items()}
    if isinstance(value, list):
        return [revealed(one, reveal) for one in cast("list[Any]", value)]
    return value


def _environment(
    request: StepRequest,
    inputs: Mapping[str, Any],
    results: Path,
    reveal: Reveal,
    own: OwnAccess | None,
) -> dict[str, str]:
    step = request.step
    env: dict[str, str] = {}
    for name, value in inputs.items():
        variable = f"FUSEML_{name.upper()}"
        env[variable] = input_text(value)
        # A shell can't name a variable with a hyphen, and some hand none of these on.
        env[variable.replace("-", "_")] = input_text(value)
    env["FUSEML_ENV_WORKFLOW_NAME"] = request.workflow
    env["FUSEML_ENV_WORKFLOW_NAMESPACE"] = NAMESPACE
    env["VOLANT_RESULTS_DIR"] = str(results)
    if step.outputs:
        env["TASK_RESULT"] = step.outputs[0]
    for binding in step.extensions.values():
        env.update({key: reveal(text) for key, text in binding.cfg.items()})
        if own and _URI in binding.cfg and any(_OWN in text for text in binding.cfg.values()):
            env[_URI] = own.url  # where it answers now; the run may be older than its port
    env.update({key: reveal(text) for key, text in step.env.items()})
    return env


def with_environment(env: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """`env` with the programs of a virtual environment first on the path."""
    if folder is None:
        return dict(env)
    path = env.get("PATH") or os.environ.get("PATH", os.defpath)
    return {
        **env,
        "PATH": f"{folder / 'bin'}{os.pathsep}{path}",
        "VIRTUAL_ENV": str(folder),
    }


def collected(request: StepRequest, place: Place, told: Mapping[str, Any]) -> dict[str, Any]:
    """All outputs: what was told as JSON, and a text for each file of results.

    Raises `StepFailed` for a declared output that nobody wrote, or one too long.
    """
    outputs = dict(told)
    # A step may have removed the folder, or left something else in its place.
    left = sorted(place.results.iterdir()) if place.results.is_dir() else ()
    for entry in left:
        if entry.is_file() and not entry.is_symlink():
            outputs[entry.name] = text = _read(request, entry)
            if (shown := masked(text, place.mask)) != text:
                entry.write_text(shown, encoding="utf-8")  # it stays as long as the run does
    missing = [name for name in request.step.outputs if name not in outputs]
    if missing:
        raise StepFailed(
            f"Step {request.step.name} didn't write its output {missing[0]}.",
            "Write it to the file $VOLANT_RESULTS_DIR/$TASK_RESULT, named as the output, or as"
            " JSON to $VOLANT_OUTPUTS; or don't declare it.",
            code="step.no_output",
            details={"missing": missing, "written": sorted(outputs)},
        )
    return masked_value(outputs, place.mask)


def _read(request: StepRequest, file: Path) -> str:
    if file.stat().st_size > _LONGEST:
        raise StepFailed(
            f"The output {file.name} of step {request.step.name} has more than"
            f" {_LONGEST >> 20} MiB.",
            "Write the data to a file elsewhere, and its address as the output.",
            code="step.output_too_long",
        )
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StepFailed(
            f"The output {file.name} of step {request.step.name} isn't text.",
            "Write UTF-8.",
            code="step.output_not_text",
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def as_declared(request: StepRequest, value: Any, default: str) -> dict[str, Any]:
    """A built-in step's one output, under the first name that the step declares."""
    return {request.step.outputs[0] if request.step.outputs else default: value}
