"""`volant run LOOP`."""

from __future__ import annotations

from typing import Annotated

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.watch import told_failure, verdict, watch

app = new_app()


@app.command()
def run(
    ctx: typer.Context,
    loop: Annotated[str, typer.Argument(help="The loop.")],
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Show it until it ends; exit 1 if it fails or is refused."
        ),
    ] = False,
) -> None:
    """Run a loop now, without waiting for one of its triggers."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        started = client.post(f"/loops/{named(loop)}/runs")
        if not wait:
            hint = f"volant runs show {started['id']} --watch"
            out.document(started, lambda: out.line(f"Started {started['id']}. Watch it: {hint}"))
            return
        view = watch(client, out, started["id"])
    out.document(view, lambda: told_failure(view, out))
    raise typer.Exit(verdict(view))
