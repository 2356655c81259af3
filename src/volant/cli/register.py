"""A model's way to the server: packed, sent, and waited for."""

from __future__ import annotations

import json
import math
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from volant.cli.client import Client, named
from volant.cli.output import Output
from volant.cli.upload import check_files, upload_all
from volant.errors import InvalidInput, from_dict

POLL_S = 0.2
_SKIPPED = frozenset({"__pycache__", ".git", ".venv", ".DS_Store", ".ipynb_checkpoints"})


class Env(StrEnum):
    """Where a model is served; auto takes its own where Volant's doesn't do."""

    auto = "auto"
    own = "own"
    volant = "volant"


def wishes_of(
    example: Path | None,
    signature: Path | None,
    task: str | None,
    metrics: Sequence[str],
    env: Env,
) -> dict[str, Any]:
    """The request's body but for the upload. Raises `InvalidInput`."""
    body: dict[str, Any] = {"env": env.value, "task": task}
    if example is not None:
        form = "csv" if example.suffix.lower() == ".csv" else "json"
        body["example"] = {"text": _text(example), "format": form}
    if signature is not None:
        try:
            body["signature"] = json.loads(_text(signature))
        except ValueError as error:
            raise InvalidInput(f"{signature} isn't JSON: {error}.", "Correct the file.") from error
    body["metrics"] = dict(_metric(one) for one in metrics)
    return body


def _metric(text: str) -> tuple[str, float]:
    name, sign, value = text.partition("=")
    try:
        number = float(value)
        if not sign or not name or not math.isfinite(number):
            raise ValueError(text)
    except ValueError:
        raise InvalidInput(
            f"--metric {text!r} isn't NAME=NUMBER.",
            "Write it so, with a finite number: --metric rmse=11.2.",
        ) from None
    return name, number


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}.", "Give a file of text.") from error


def register(
    client: Client,
    out: Output,
    path: Path,
    name: str,
    wishes: dict[str, Any],
    *,
    trusted: bool = False,
) -> dict[str, Any]:
    """Send the model and wait until it is registered; returns the version."""
    if not path.is_dir():
        check_files([path], "Give the model's whole file, as its library wrote it.")
        upload = upload_all(client, out, name, [path], "models")[0]
    else:
        with tempfile.TemporaryDirectory(prefix="volant-") as folder:
            packed = Path(folder) / "model.tar"
            _pack(path, packed)
            upload = upload_all(client, out, name, [packed], "models")[0]
    versions = "trusted-versions" if trusted else "versions"
    state = client.post(f"/models/{named(name)}/{versions}", {**wishes, "upload": upload})
    state = awaited(client, out, state)
    if state["known"]:
        out.note(f"Version {state['version']} holds the same model already.")
    return client.get(f"/models/{named(name)}/versions/{state['version']}")


def prepare(
    client: Client,
    out: Output,
    name: str,
    version: str,
    wishes: dict[str, Any],
    *,
    trusted: bool = False,
) -> dict[str, Any]:
    """Have a registered version proven and wait for it; returns the version."""
    verb = "trusted-prepare" if trusted else "prepare"
    path = f"/models/{named(name)}/versions/{named(version)}"
    state = awaited(client, out, client.post(f"{path}/{verb}", wishes))
    found = client.get(f"/models/{named(name)}/versions/{state['version']}")
    if state["known"]:
        out.note(f"Version {state['version']} is prepared already: it is {found['stage']}.")
    return found


def awaited(client: Client, out: Output, state: dict[str, Any]) -> dict[str, Any]:
    """The registration once it is done; raises its error."""
    name, told = state["model"], ""
    while state["status"] == "running":
        if state["stage"] != told and not out.json and sys.stderr.isatty():
            told = state["stage"]
            print(f"{told} …", file=sys.stderr)  # noqa: T201 - progress, beside the output
        time.sleep(POLL_S)
        state = client.get(f"/models/{named(name)}/registrations/{state['id']}")
    if state["error"]:
        raise from_dict(state["error"])
    return state


def _pack(folder: Path, target: Path) -> None:
    """The folder's plain files as a tar, without owners and times."""
    inside = folder.resolve()
    try:
        with tarfile.open(target, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for here, folders, files in os.walk(folder):
                folders[:] = sorted(f for f in folders if f not in _SKIPPED)
                for file in sorted(set(files) - _SKIPPED):
                    path = Path(here) / file
                    # Hugging Face's cache has links to blobs beside the folder
                    if not path.is_file() or path.suffix == ".pyc":
                        continue
                    if path.is_symlink() and not _beside(path, inside):
                        raise InvalidInput(
                            f"{path} is a link out of the model's folder.",
                            "Put the file itself there.",
                        )
                    entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                    entry.size = path.stat().st_size
                    with path.open("rb") as source:
                        archive.addfile(entry, source)
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or folder} can't be packed: {error.strerror or error}.",
            "Check its permissions, and the room in the temporary folder.",
        ) from error


def _beside(path: Path, inside: Path) -> bool:
    """Within the folder, or in the cache that the folder is part of."""
    found = path.resolve()
    return found.is_relative_to(inside) or found.is_relative_to(inside.parent.parent / "blobs")
