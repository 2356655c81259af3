"""`volant events`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from volant.cli.client import Client
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.text import clock

app = new_app()


@app.command()
def events(
    ctx: typer.Context,
    subject: Annotated[
        str | None, typer.Option(help="What they are about, like dataset/wine.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
) -> None:
    """What happened, newest first."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.pages("/events", limit, subject=subject)
    rows = [
        (clock(each["time"]), each["type"], each["subject"], json.dumps(each["data"]))
        for each in found["items"]
    ]
    out.document(
        found, lambda: out.table(("time", "type", "subject", "data"), rows, "No event yet.")
    )
