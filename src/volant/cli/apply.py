"""`volant plan` and `volant apply`."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli.client import Client
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.errors import InvalidInput

plan_app = new_app()
apply_app = new_app()

MAX_SOURCE = 1 << 20
_CALL = re.compile(r"^\s*[\"']?call[\"']?\s*:|[{,]\s*[\"']?call[\"']?\s*:", re.MULTILINE)

File = Annotated[Path, typer.Argument(metavar="[FILE]", help="The loop's file.")]


@plan_app.command()
def plan(ctx: typer.Context, file: File = Path("volant.yaml")) -> None:
    """Show what applying a loop would change, and change nothing."""
    out = output_of(ctx)
    body = _read(file)
    with Client.of(options_of(ctx)) as client:
        found = _plan(client, file, body)
    out.document(found, lambda: _render(out, found))


@apply_app.command()
def apply(ctx: typer.Context, file: File = Path("volant.yaml")) -> None:
    """Create or change a loop. The same file again changes nothing.

    If the file has `call:`, its folder is sent along as the user's code.
    """
    out = output_of(ctx)
    body = _read(file)
    with Client.of(options_of(ctx)) as client:
        found = _plan(client, file, body)
        loop = client.put(f"/loops/{found['loop']}", body)

    def render() -> None:
        _render(out, found)
        same = not found["creates"] and not found["changes"]
        done = "is unchanged" if same else "created" if found["creates"] else "changed"
        out.line(f"Loop {loop['name']} {done} (generation {loop['generation']}).")
        if found["creates"]:
            dataset = loop["spec"]["data"]["dataset"]
            out.note(f"Give it data: volant data push {dataset} FILE")

    out.document(loop, render)


def _plan(client: Client, file: Path, body: dict[str, Any]) -> dict[str, Any]:
    """What applying would do. The server tells of a volant.yaml; here it has its own name."""
    try:
        return client.post("/loops/plan", body)
    except InvalidInput as error:
        told = error.details.get("file")
        if told is None:
            raise
        details = {**error.details, "file": str(file)}
        what = error.what.replace(f"{told}:", f"{file}:").replace(f"{told} has", f"{file} has")
        raise InvalidInput(what, error.fix, code=error.error_code, details=details) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        source = file.read_bytes()
    except FileNotFoundError as error:
        raise InvalidInput(
            f"There is no file {file}.",
            "Make one: volant init --from data.csv --target COLUMN",
            code="no_loop_file",
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"{file} can't be read: {error.strerror}.", "Give a volant.yaml."
        ) from error
    if len(source) > MAX_SOURCE:
        raise InvalidInput(f"{file} is larger than 1 MB.", "Give a volant.yaml, not data.")
    try:
        text = source.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file} is not UTF-8 at byte {error.start}.", "Save it as UTF-8."
        ) from error
    body: dict[str, Any] = {"source": text}
    if _CALL.search(text):
        from volant.cli.pack import pack

        body["code"] = base64.b64encode(pack(file.absolute().parent)).decode()
    return body


def _render(out: Output, found: dict[str, Any]) -> None:
    name = found["loop"]
    if found["creates"]:
        out.line(f"+ loop {name}", "green")
    elif found["changes"]:
        out.line(f"~ loop {name}", "yellow")
    else:
        out.line(f"No changes: loop {name} is as the file says.")
    for change in found["changes"]:
        _change(out, change)
    for warning in found.get("warnings", []):
        out.note(f"Warning: {warning}")


def _change(out: Output, change: dict[str, Any]) -> None:
    path, before, after = change["path"], change["before"], change["after"]
    if before is None:
        out.line(f"  + {path}: {_value(after)}", "green")
    elif after is None:
        out.line(f"  - {path}: {_value(before)}", "red")
    else:
        out.line(f"  ~ {path}: {_value(before)} → {_value(after)}", "yellow")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"
