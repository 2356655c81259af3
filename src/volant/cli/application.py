"""`volant application`: list, get, delete."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import clock

app = new_app(help="What workflows have put to work.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="The application.")]


@app.command("list")
def list_applications(
    ctx: typer.Context,
    type: Annotated[
        str | None, typer.Option("--type", "-t", metavar="TYPE", help="Those of this type.")
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option("--workflow", "-w", metavar="NAME", help="Those that this workflow made."),
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", "-p", metavar="NAME", help="Those of this project.")
    ] = None,
) -> None:
    """List the applications."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/applications", type=type, workflow=workflow, project=project)
    columns = ("name", "type", "description", "url", "workflow")
    rows = [[each[column] for column in columns] for each in found["items"]]
    out.document(found, lambda: out.table(columns, rows, "There are no applications."))


@app.command()
def get(ctx: typer.Context, name: Name) -> None:
    """Show an application."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/applications/{named(name)}")
    out.document(found, lambda: _show(out, found))


@app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Delete an application, and the deployment that answers for it."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/applications/{named(name)}")
    told = f"Application {name} successfully deleted"
    out.document({"deleted": name}, lambda: out.line(told))


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(found["name"], "bold")
    for key in ("type", "description", "url", "workflow", "project", "deployment"):
        if found[key]:
            out.line(f"{key + ':':<13}{found[key]}")
    out.line(f"{'updated:':<13}{clock(found['updated_at'])}")
