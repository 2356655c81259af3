"""`volant loops`: list, show, delete."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.text import ago

app = new_app(help="List, show and delete loops.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="The loop.")]


@app.callback()
def loops(ctx: typer.Context) -> None:
    """List the loops; `show` prints one's file, `delete` ends one."""
    if ctx.invoked_subcommand is not None:
        return
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/loops")
    columns = ("name", "dataset", "target", "triggers", "generation", "changed")
    out.document(
        found,
        lambda: out.table(
            columns,
            [_row(loop) for loop in found["items"]],
            empty="No loop yet. Make one: volant init --from data.csv --target COLUMN",
        ),
    )


def _row(loop: dict[str, Any]) -> tuple[str, ...]:
    spec = loop["spec"]
    triggers = ", ".join(each["cron"] or each["kind"] for each in spec["triggers"])
    return (
        loop["name"],
        spec["data"]["dataset"],
        spec["data"]["target"],
        triggers or "-",
        str(loop["generation"]),
        ago(loop["updated_at"]),
    )


@app.command()
def show(ctx: typer.Context, name: Name) -> None:
    """Print a loop's file as it was applied."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        loop = client.get(f"/loops/{named(name)}")
    out.document(loop, lambda: out.line(loop["source"].rstrip("\n")))


@app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Delete a loop. Its data, runs, models and deployment stay."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/loops/{named(name)}")
    out.document({"deleted": name}, lambda: out.line(f"Deleted loop {name}."))
