"""The files of a batch in a workflow: what it reads of its codesets, and what it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from volant.app.batches import DATASET
from volant.app.step_place import Checkout, CodesetInput, checked_out, is_codeset
from volant.domain.run import StepRequest
from volant.errors import InvalidInput

_OUTPUT = "output"  # the step's own folder for what it writes


def with_whole_paths(
    request: StepRequest, given: Mapping[str, Any], checkout: Checkout
) -> dict[str, Any]:
    """`given` with whole paths, and without the codesets, which are laid out now.

    The input is looked for in the step's first codeset, where a command would work; one
    that begins with a codeset's path (`/project`) is in that codeset, if it has such a
    file. The output is put into the step's own folder, which is there as long as the run.

    Raises `InvalidInput` for an input that isn't there, and for what leads out.
    """
    found = {name: value for name, value in given.items() if not is_codeset(value)}
    codesets = checked_out(request, checkout) if len(found) < len(given) else ()
    source, target = str(found["input"]), str(found["output"])
    if not source.startswith(DATASET):
        found["input"] = str(_read(request, source, codesets))
    if not target.startswith(DATASET) and not Path(target).is_absolute():
        found["output"] = str(_written(request, target))
    return found


def _read(request: StepRequest, given: str, codesets: Sequence[CodesetInput]) -> Path:
    path = PurePosixPath(given)
    if path.is_absolute():
        inside = (
            each.folder / path.relative_to(each.path)
            for each in codesets
            if path.is_relative_to(each.path)
        )
        return next((file for file in inside if file.is_file()), Path(given))
    if not codesets:
        raise InvalidInput(
            f"The input {given[:200]!r} isn't a whole path, and step {request.step.name} has no"
            " codeset that it could be in.",
            "Give the step an input with that codeset, or write a whole path on the server's"
            " machine, or dataset:NAME.",
            code="batch_input",
        )
    codeset = codesets[0]
    named = f"{codeset.project}/{codeset.name}"
    file = _below(codeset.folder, given)
    if file is None:
        raise InvalidInput(
            f"The input {given[:200]!r} leads out of the codeset {named}.",
            "Name a file from the codeset's top on, or a whole path on the server's machine.",
            code="batch_input",
        )
    if not file.is_file():
        raise InvalidInput(
            f"The codeset {named} has no file {given[:200]!r} in {codeset.version[:12]}.",
            "Check the path, which begins at the codeset's top, and that the file was pushed;"
            " or name data: dataset:NAME.",
            code="batch_input",
        )
    return file


def _written(request: StepRequest, given: str) -> Path:
    file = _below(request.workdir / _OUTPUT, given)
    if file is None:
        raise InvalidInput(
            f"The output {given[:200]!r} leads out of the step's folder.",
            "Name a file, such as priced.csv, or a whole path on the server's machine.",
            code="batch_output",
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _below(folder: Path, given: str) -> Path | None:
    """The file that a relative path names; None when it isn't in the folder."""
    top = folder.resolve()
    file = top if "\0" in given else (top / given).resolve()
    return file if file != top and file.is_relative_to(top) else None
