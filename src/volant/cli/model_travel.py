"""`volant models export|import`: a version as one file, to another Volant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volant.cli.client import Client, named
from volant.cli.model_text import Name, render_version
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.register import awaited
from volant.cli.saved import saved
from volant.cli.text import size
from volant.cli.upload import check_files, upload_all
from volant.errors import Conflict, InvalidInput, Unavailable
from volant.faults import crash_point


def add_to(app: typer.Typer) -> None:
    """Give `volant models` these commands."""
    app.command()(export)
    app.command(name="import")(import_)


def export(
    ctx: typer.Context,
    name: Name,
    version: Annotated[str, typer.Argument(help="A number, or an alias.")] = "champion",
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The file; else NAME-VERSION.volant.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    without_pickles: Annotated[
        bool,
        typer.Option("--without-pickles", help="Leave out the pickles that it isn't served by."),
    ] = False,
) -> None:
    """Write a version into one file that another Volant imports.

    The file holds the model and what is recorded of it; every byte is verified before it
    stands under its name.
    """
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/models/{named(name)}/versions/{named(version)}")
        number = found["version"]
        target = output or Path(f"{name}-{number}.volant")
        if target.exists() and not overwrite:
            raise Conflict(f"{target} is there already.", "Give another file, or --overwrite.")
        path = f"/models/{named(name)}/versions/{number}/export"
        count = _fetch(client, path, target, without_pickles)
    told = {"model": name, "version": number, "file": str(target), "bytes": count}
    out.document(
        told, lambda: out.line(f"Wrote {name} version {number} to {target} ({size(count)}).")
    )


def _fetch(client: Client, path: str, target: Path, without_pickles: bool) -> int:
    from volant.registry.archive import read

    with saved(target) as partial:
        client.download(path, partial, without_pickles=without_pickles or None)
        try:
            read(partial)
        except InvalidInput as error:
            raise Unavailable(
                "What arrived isn't the whole export.", "Try again.", code="connection_broke"
            ) from error
        crash_point("export.written")
        return partial.stat().st_size


def import_(
    ctx: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(help="What `volant models export` wrote.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The model's name here; else the same.")
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Vouch for the code in it (admins only).")
    ] = False,
) -> None:
    """Register a version that another Volant exported, after verifying it."""
    from volant.registry.archive import read

    if file.is_dir():
        raise InvalidInput(
            f"{file} is a folder, and no file that `volant models export` wrote.",
            "Give such a file; `volant models register` takes a model's folder.",
        )
    check_files([file])
    model = name or read(file).model
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        upload = upload_all(client, out, model, [file], "models")[0]
        verb = "trusted-imports" if trust_pickle else "imports"
        state = client.post(f"/models/{named(model)}/{verb}", {"upload": upload})
        state = awaited(client, out, state)
        if state["known"]:
            out.note(f"Version {state['version']} holds the same model already.")
        found = client.get(f"/models/{named(model)}/versions/{state['version']}")
    out.document(found, lambda: render_version(out, found))
