"""`volant runnable`: register, list, get, update, delete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.upload import check_files
from volant.errors import InvalidInput

app = new_app(help="Steps described once, used in many workflows.", no_args_is_help=True)

RunnableFile = Annotated[
    Path, typer.Argument(metavar="RUNNABLE_FILE", help="Its description, as YAML or JSON.")
]
Id = Annotated[str, typer.Option("--id", "-i", metavar="ID", help="The runnable.")]
_MOST = 100_000  # characters of a file


@app.command()
def register(ctx: typer.Context, file: RunnableFile) -> None:
    """Register a runnable."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        made = client.post("/runnables", {"source": _text(file), "file": file.name})
    out.document(made, lambda: out.line(f"Runnable {made['id']} successfully registered"))


@app.command("list")
def list_runnables(
    ctx: typer.Context,
    id: Annotated[
        str | None, typer.Option("--id", "-i", help="An id, or a regular expression for it.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", "-k", help="A kind, or a regular expression for it.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY:VALUE", help="A label; may be repeated."),
    ] = None,
) -> None:
    """List the runnables."""
    out = output_of(ctx)
    wanted = [("id", _pattern(id)), ("kind", _pattern(kind))]
    labels = [_label(each) for each in label or ()]
    with Client.of(options_of(ctx)) as client:
        found = client.get("/runnables")
    items = [
        each
        for each in found["items"]
        if all(pattern.fullmatch(each[key]) for key, pattern in wanted)
        and all(key in each["labels"] and p.fullmatch(each["labels"][key]) for key, p in labels)
    ]
    rows = [
        (each["id"], each["kind"], each["description"].strip(), _pairs(each["labels"]))
        for each in items
    ]
    columns = ("id", "kind", "description", "labels")
    document = {**found, "items": items}
    out.document(document, lambda: out.table(columns, rows, "There are no runnables."))


@app.command()
def get(ctx: typer.Context, id: Id) -> None:
    """Show a runnable: what it needs and what it gives."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/runnables/{named(id)}")
    out.document(found, lambda: _show(out, found))


@app.command()
def update(ctx: typer.Context, file: RunnableFile) -> None:
    """Change a runnable. Workflows use the new one from their next run on."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        changed = client.put("/runnables", {"source": _text(file), "file": file.name})
    told = f"Runnable {changed['id']} successfully updated, generation {changed['generation']}"
    out.document(changed, lambda: out.line(told))


@app.command()
def delete(ctx: typer.Context, id: Id) -> None:
    """Delete a runnable. Workflows that use it, which are named, can't start another run."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        # Before it goes: without it their steps can't be read.
        using = _workflows_with(client, id)
        client.delete(f"/runnables/{named(id)}")

    def render() -> None:
        out.line(f"Runnable {id} successfully deleted")
        for workflow in using:
            out.note(f"The workflow {workflow} uses it, and can't start another run without it.")

    out.document({"deleted": id, "workflows": using}, render)


def _workflows_with(client: Client, runnable: str) -> list[str]:
    """The names of the workflows whose newest version has a step that uses it."""
    return [
        each["name"]
        for each in client.get("/workflows")["items"]
        if any(step["uses"] == f"runnable/{runnable}" for step in each["steps"])
    ]


def _text(file: Path) -> str:
    check_files([file])
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text.", "Give a runnable's YAML file.") from error
    if len(text) > _MOST:
        raise InvalidInput(
            f"{file} has {len(text):,} characters; a runnable has at most {_MOST:,}.",
            "Give a runnable's YAML file.",
        )
    return text


def _pattern(text: str | None) -> re.Pattern[str]:
    try:
        return re.compile(".*" if text is None else text)
    except re.error as error:
        raise InvalidInput(
            f"{text!r} is neither a value nor a regular expression: {error}.",
            "Give a value as the list shows it.",
        ) from error


def _label(text: str) -> tuple[str, re.Pattern[str]]:
    key, colon, value = text.partition(":")
    if not key or not colon:
        raise InvalidInput(f"{text!r} is not a label.", "Give KEY:VALUE.")
    return key, _pattern(value)


def _pairs(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in labels.items())


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(f"{found['id']}  {found['kind']}, generation {found['generation']}", "bold")
    if found["description"]:
        out.line(found["description"])
    container = found["container"]
    out.line(f"Runs: {container['image'] or 'a process here'}  {container['entrypoint'] or ''}")
    if found["labels"]:
        out.line(f"Labels: {_pairs(found['labels'])}")
    columns = ("", "name", "type", "must be given", "default", "description")
    rows = [
        (
            side,
            name,
            port["type"],
            "no" if port["optional"] else "yes",
            port["default"] or "",
            port["description"],
        )
        for side in ("inputs", "outputs")
        for name, port in found[side].items()
    ]
    if rows:
        out.line()
        out.table(columns, rows)
