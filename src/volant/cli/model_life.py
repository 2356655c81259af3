"""`volant models delete|retire|tag|alias|verify|prune`: what becomes of versions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli import exits
from volant.cli.client import Client, named
from volant.cli.model_text import Name, render_version
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.errors import InvalidInput

Number = Annotated[str, typer.Argument(help="A number, or an alias.")]


def add_to(app: typer.Typer) -> None:
    """Give `volant models` these commands."""
    for command in (delete, retire, tag, alias, verify, prune):
        app.command()(command)


def _path(name: str, version: str) -> str:
    return f"/models/{named(name)}/versions/{named(version)}"


def delete(ctx: typer.Context, name: Name, version: Number) -> None:
    """Delete a version and its files, unless anything needs it."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        number = client.get(_path(name, version))["version"]
        client.delete(_path(name, str(number)))
    told = {"model": name, "version": number, "deleted": True}
    out.document(told, lambda: out.line(f"Deleted {name} version {number}."))


def retire(ctx: typer.Context, name: Name, version: Number) -> None:
    """Take a candidate, or a champion that nothing serves, out of use."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"{_path(name, version)}/retire")
    out.document(found, lambda: render_version(out, found))


def tag(
    ctx: typer.Context,
    name: Name,
    version: Number,
    tags: Annotated[list[str], typer.Argument(help="KEY=TEXT; KEY= removes it.")],
) -> None:
    """Set tags of a version: card.intended_use and card.limits stand on its card."""
    told: dict[str, str | None] = {}
    for each in tags:
        key, sign, text = each.partition("=")
        if not sign or not key:
            raise InvalidInput(f"{each!r} isn't KEY=TEXT.", "Write it so; KEY= removes a tag.")
        told[key] = text or None
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.post(f"{_path(name, version)}/tags", {"tags": told})
    rows = [(key, text) for key, text in found.items()]
    out.document(found, lambda: out.table(("tag", "text"), rows, "No tag."))


def alias(
    ctx: typer.Context,
    name: Name,
    word: Annotated[str, typer.Argument(metavar="ALIAS", help="Your word for a version.")],
    version: Annotated[str | None, typer.Argument(help="A number, or an alias.")] = None,
    *,
    remove: Annotated[bool, typer.Option("--delete", help="Remove the alias.")] = False,
) -> None:
    """Point an alias of yours at a version, whatever it pointed at before."""
    if remove == (version is not None):
        raise InvalidInput(
            "An alias points at one version, or is deleted.", "Give either VERSION or --delete."
        )
    path = f"/models/{named(name)}/aliases/{named(word)}"
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.delete(path) if remove else client.put(path, {"version": version})
    rows = [(key, str(number)) for key, number in sorted(found.items())]
    out.document(found, lambda: out.table(("alias", "version"), rows, "No alias."))


def verify(
    ctx: typer.Context,
    name: Name,
    version: Annotated[str | None, typer.Argument(help="A number or alias; all if none.")] = None,
) -> None:
    """Compare every file with the SHA-256 that was registered."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/models/{named(name)}/files", version=version)
    wrong = [each for each in found["items"] if each["state"] != "right"]
    out.document(found, lambda: _render_files(out, name, found["items"], wrong))
    if wrong:
        raise typer.Exit(exits.FAILED)


def _render_files(
    out: Output, name: str, files: list[dict[str, Any]], wrong: list[dict[str, Any]]
) -> None:
    rows = [(str(f["version"]), f["file"], out.status(f["state"])) for f in files]
    out.table(("version", "file", "state"), rows, "No files.")
    if wrong:
        out.note(
            f"{len(wrong)} of {len(files)} files of {name} aren't what was registered; such a "
            "version isn't loaded. Restore them from a backup."
        )


def prune(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest stay.")] = 10,
    apply: Annotated[bool, typer.Option("--apply", help="Delete; else only tell.")] = False,
) -> None:
    """Delete old versions that nothing needs; without --apply, show which."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        body = {"keep": keep, "model": name, "apply": apply}
        found = client.post("/model-retention", body)
    out.document(found, lambda: _render_pruned(out, found["items"], apply))


def _render_pruned(out: Output, items: list[dict[str, Any]], apply: bool) -> None:
    word = "deleted" if apply else "would go"
    rows = [
        (each["model"], str(each["version"]), each["stage"], _fate(each, word)) for each in items
    ]
    out.table(("model", "version", "stage", "fate"), rows, "No version yet.")
    going = sum(each["reason"] is None for each in items)
    if going and not apply:
        out.note(f"{going} of {len(items)} would go. Do it: add --apply.")


def _fate(each: dict[str, Any], word: str) -> str:
    return word if each["reason"] is None else f"stays: {each['reason']}"
